"""For authors of plugins: packets of whole flows, put together by hand, and what an engine makes of them.

``cuts`` needs hypothesis, the fixtures of ``nfqdpi.pytest_plugin`` pytest: ``pip install nfqdpi[testing]``.
"""

from nfqdpi.testing.capture import captured, pcap_of
from nfqdpi.testing.dns import dns_answer, dns_query
from nfqdpi.testing.flows import FromServer, flow, segments
from nfqdpi.testing.http import request
from nfqdpi.testing.quic import quic_initial
from nfqdpi.testing.scatter import cuts, scattered
from nfqdpi.testing.tls import hello
from nfqdpi.testing.verdicts import Seen, assert_verdict, engine, verdict_of, verdicts

__all__ = ["FromServer", "Seen", "assert_verdict", "captured", "cuts", "dns_answer", "dns_query", "engine", "flow",
           "hello", "pcap_of", "quic_initial", "request", "scattered", "segments", "verdict_of", "verdicts"]
