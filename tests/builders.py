"""Nouns for tests: what authors of plugins have too, and what only we need."""

from __future__ import annotations

import ssl

from hypothesis import HealthCheck, settings

from nfqdpi.testing.http import *  # noqa: F403
from nfqdpi.testing.packets import *  # noqa: F403
from nfqdpi.testing.tls import *  # noqa: F403

# The same examples in every run: a failure here is about the change at hand. 10 000 examples by hand find new ones.
settings.register_profile("pure", deadline=None, derandomize=True, max_examples=60, print_blob=True,
                          suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("pure")


def real_hello(name: str | None) -> bytes:
    """What the local OpenSSL sends first."""
    settings_ = ssl.create_default_context()
    settings_.check_hostname = False
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        settings_.wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a handshake without a server")
