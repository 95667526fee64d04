"""The Initials of today's browsers, as `tests/data/capture_initials.py` wrote them down in November 2026.

chromium 156 and firefox ESR 153, which get no answer: the first flight, and what they send again.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from nfqdpi.core.classifier import NEED_MORE, Classification, Glimpse
from nfqdpi.core.wire import Reader
from tests.fuzz.quic import said

INITIALS = Path(__file__).parents[1] / "data" / "initials"


def sample(name: str) -> list[bytes]:
    reader = Reader((INITIALS / f"{name}.bin").read_bytes())
    datagrams = []
    while reader:
        datagrams.append(reader.vector(2))
    return datagrams


@pytest.mark.parametrize("name", ["chromium", "firefox"])
def test_read(name: str) -> None:
    """The hello takes two datagrams, its frames are in disorder; what is sent again, cut anew, is the same."""
    glimpse, whole, *again = said(sample(name))
    assert isinstance(glimpse, Glimpse)
    assert isinstance(whole, Classification)
    assert (whole.names, whole.flaw, whole.veiled) == (("allowed.example",), "", True)  # ECH, as GREASE
    assert (whole.attributes["quic"], whole.attributes["version"], whole.attributes["alpn"]) == ("1", "TLS 1.3", "h3")
    assert len(again) == len(sample(name)) - 2
    assert set(again) == {NEED_MORE}


@pytest.mark.parametrize("name", ["chromium", "firefox"])
def test_read_in_another_order(name: str) -> None:
    """Whichever of the two comes first, and if it comes again."""
    one, two = sample(name)[:2]
    for order in ([two, one], [two, two, one], [one, one, two]):
        *glimpses, whole = said(order)
        assert isinstance(whole, Classification)
        assert whole.names == ("allowed.example",)
        assert not any(isinstance(glimpse, Classification) for glimpse in glimpses)
