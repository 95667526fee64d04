"""The reset of the far side, through conntrack and NAT."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nfqdpi.core.packet import Flags, Segment
from nfqdpi.core.verdict import Verdict
from nfqdpi.kernel import firewall
from nfqdpi.kernel.reset import Resetter
from nfqdpi.kernel.ruleset import Family, RuleSet
from nfqdpi.lab.network import Lab
from nfqdpi.testing.packets import ip, tcp
from tests.kernel.listener import Listener
from tests.kernel.namespaces import PROGRAM, fresh
from tests.kernel.origin import Origin, Visitor

FAMILIES: tuple[Family, ...] = (4, 6)


@pytest.fixture
def origin(lab: Lab) -> Iterator[Origin]:
    with Origin(lab.server) as listening:
        yield listening


def blocking(segment: Segment) -> Verdict:
    return Verdict.INSPECT if segment.flags & Flags.SYN else Verdict.BLOCK


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("translated", [False, True], ids=["routed", "masqueraded"])
def test_both_sides_of_a_blocked_flow_are_reset(lab: Lab, origin: Origin, family: Family, *, translated: bool) -> None:
    """The kernel's REJECT resets the client; the held request's own numbers reset the server, which read no byte."""
    if translated:
        lab.gateway.run([PROGRAM[family], "-t", "nat", "-A", "POSTROUTING", "-o", "wan0", "-j", "MASQUERADE"])
    with lab.gateway.entered():
        firewall.install(RuleSet())
        resetter = Resetter()
    with resetter, Listener(lab.gateway, blocking) as listener, Visitor(lab.client, family) as visitor:
        assert visitor.ask("blocked.example") == "reset"
        heard = origin.accepted()
        assert heard.end == "open"
        assert resetter.reset(listener.packets[-1])
        assert heard.ended.wait(1)
        assert (heard.end, heard.data) == ("reset", b"")


def test_odd_packets_are_refused_without_an_exception() -> None:
    """What is no TCP packet, and what the kernel cannot route, is answered with False."""
    with fresh(), Resetter() as resetter:
        assert not resetter.reset(b"")
        assert not resetter.reset(b"\x45" + bytes(60))
        assert not resetter.reset(ip(6, tcp(b"GET / ")))
