"""From the configuration to the firewall's rule set."""

from __future__ import annotations

from nfqdpi import plugins
from nfqdpi.config.model import Config
from nfqdpi.core.classifier import Classifier, DatagramClassifier
from nfqdpi.kernel.ruleset import RuleSet

_QUIC = 443  # whose rules are its own


def ruleset(config: Config) -> RuleSet:
    """The rules that the configuration and the plugins ask for. Raises ValueError where no rules can express it, and
    plugins.PluginError."""
    queue = config.queue
    readers = [one for offered in plugins.readers(config.plugin).values() for one in offered]
    tcp = {port for one in readers if isinstance(one, Classifier) for port in one.ports}
    udp = [one for one in readers if isinstance(one, DatagramClassifier)]
    both = {port for one in udp if one.both for port in one.ports} - {_QUIC}
    client = {port for one in udp for port in one.ports} - both - {_QUIC}
    read = any(_QUIC in one.ports for one in udp)
    return RuleSet(
        field=config.field,
        ports=tuple(dict.fromkeys((*queue.ports, *sorted(tcp)))),
        first_queue=queue.first,
        queues=config.worker_count,
        strict=config.inspect.mode == "strict",
        bypass=config.bypass,
        quic=queue.quic if read or queue.quic != "inspect" else "reject",
        udp=tuple(sorted(client)),
        udp_both=tuple(sorted(both)),
        lan=queue.lan,
        wan=queue.wan,
    )
