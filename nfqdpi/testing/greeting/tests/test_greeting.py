"""What the classifier makes of clients."""

from __future__ import annotations

from hypothesis import given
from nfqdpi_greeting import Settings, make

from nfqdpi.testing import FromServer, assert_verdict, cuts, flow, request, verdict_of

CLASSIFIERS = make(Settings())
NO = {"name": "no", "action": "block", "domains": ["blocked.example"]}


def test_a_name() -> None:
    """It is told, and the default lets it pass once the server has answered."""
    packets = flow(b"GREETING allowed.example\n", FromServer(b"welcome\n"), port=7070)
    assert_verdict(packets, "accelerate", *CLASSIFIERS, name="allowed.example", rules=[NO])


@given(packets=cuts(flow(b"GREETING www.blocked.example\r\n", port=7070)))
def test_a_blocked_name(packets: list[bytes]) -> None:
    """A rule blocks it, however it is cut and in whatever order it comes."""
    assert_verdict(packets, "block", *CLASSIFIERS, name="www.blocked.example", rules=[NO])


def test_what_breaks_the_rules() -> None:
    """Is blocked, as [fail] malformed says."""
    assert verdict_of(flow(b"GREETING ?\n"), *CLASSIFIERS).reason == "malformed"


def test_other_protocols() -> None:
    """Are left to others."""
    assert verdict_of(flow(request("a.example")), *CLASSIFIERS).proto == ""
