"""The ClientHellos of today's programs, as `tests/data/capture_hellos.py` wrote them down in November 2026.

chromium 156, firefox ESR 153, curl 7.88 and openssl 3.0, Python 3.11's ssl, wget 1.21 with GnuTLS 3.7.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from nfqdpi.core.classifier import Classification
from nfqdpi.lab.cases import LONG_ALPN
from nfqdpi.plugins.tls import classifier
from nfqdpi.testing.tls import records
from tests.plugins.prefixes import answer, waits

HELLOS = Path(__file__).parents[1] / "data" / "hellos"
EXPECTED = {  # version and protocols on offer
    "chromium": ("TLS 1.3", "h2,http/1.1"),
    "chromium-http1": ("TLS 1.3", "http/1.1"),
    "curl": ("TLS 1.3", "h2,http/1.1"),
    "curl-http1": ("TLS 1.3", "http/1.1"),
    "curl-tls12": ("TLS 1.2", "h2,http/1.1"),
    "firefox": ("TLS 1.3", "h2,http/1.1"),
    "gnutls": ("TLS 1.3", None),
    "openssl": ("TLS 1.3", None),
    "openssl-long": ("TLS 1.3", LONG_ALPN),
    "openssl-nameless": ("TLS 1.3", None),
    "openssl-resumed": ("TLS 1.3", None),
    "openssl-tls12": ("TLS 1.2", None),
    "python": ("TLS 1.3", None),
}


def sample(name: str) -> bytes:
    return (HELLOS / f"{name}.bin").read_bytes()


def test_every_sample_is_expected() -> None:
    """No sample lies there unread."""
    assert {path.stem for path in HELLOS.glob("*.bin")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_read(name: str) -> None:
    """Name, version and protocols; each prefix says that more is needed, and a tail changes nothing."""
    found = answer(classifier.classify, sample(name))
    assert isinstance(found, Classification)
    assert not found.flaw
    assert found.names == (() if name == "openssl-nameless" else ("allowed.example",))
    assert (found.attributes["version"], found.attributes.get("alpn")) == EXPECTED[name]
    assert found.length == len(sample(name))


@pytest.mark.parametrize("name", EXPECTED)
def test_read_over_records(name: str) -> None:
    """The same hello cut in two records at every byte, as the packet splitters do it."""
    whole = classifier.classify(sample(name))
    assert isinstance(whole, Classification)
    message = sample(name)[5:]
    for size in range(1, len(message)):
        data = records(message[:size], size) + records(message[size:], len(message))
        assert waits(classifier.classify(data[:-1]))
        found = classifier.classify(data)
        assert isinstance(found, Classification)
        assert (found.names, found.attributes, found.flaw) == (whole.names, whole.attributes, "")


@pytest.mark.parametrize("name", ["chromium", "chromium-http1", "firefox", "openssl-long"])
def test_two_segments(name: str) -> None:
    """Browsers' post-quantum hellos do not fit into one segment: strict mode must live with that every day."""
    assert len(sample(name)) > 1460
