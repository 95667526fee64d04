"""What the installed rules do with real packets; the listener on the queue says what the test wants, nothing more."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6

from nfqdpi.core.packet import Flags, Segment
from nfqdpi.core.verdict import MarkField, Verdict
from nfqdpi.kernel import conntrack, firewall, queues
from nfqdpi.kernel.ruleset import Family, RuleSet
from nfqdpi.lab.network import CLIENT, SERVER, Lab
from tests.kernel.datagrams import both_ends
from tests.kernel.listener import Listener
from tests.kernel.namespaces import BACK_ENDS, PROGRAM, back_end_path, hits
from tests.kernel.origin import Origin, Visitor

FAMILIES: tuple[Family, ...] = (4, 6)
FAST = RuleSet(strict=False)


@pytest.fixture(params=BACK_ENDS)
def back_end(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", back_end_path(tmp_path, request.param))


@pytest.fixture
def origin(lab: Lab) -> Iterator[Origin]:
    with Origin(lab.server) as listening:
        yield listening


def install(lab: Lab, ruleset: RuleSet) -> None:
    with lab.gateway.entered():
        firewall.install(ruleset)


def marks(lab: Lab, port: int, field: MarkField) -> list[int]:
    with lab.gateway.entered():
        return [entry.mark for entry in conntrack.dump(field) if entry.orig.sport == port]


def queued(lab: Lab) -> int:
    with lab.gateway.entered():
        return queues.queues()[0].packets


def confirming(segment: Segment) -> Verdict:
    """SYN+ACK: look on. The client's payload: allowed, but let the server confirm. The server's: passed."""
    if segment.flags & Flags.SYN:
        return Verdict.INSPECT
    return Verdict.CONFIRM if segment.key.dport == 80 else Verdict.ACCELERATE


def blocking(segment: Segment) -> Verdict:
    return Verdict.INSPECT if segment.flags & Flags.SYN else Verdict.BLOCK


def blocking_silently(segment: Segment) -> Verdict:
    return Verdict.INSPECT if segment.flags & Flags.SYN else Verdict.BLOCK_SILENT


@pytest.mark.usefixtures("back_end")
@pytest.mark.parametrize("family", FAMILIES)
def test_strict_queues_what_can_change_the_verdict(lab: Lab, origin: Origin, family: Family) -> None:
    """SYN+ACK, request and the answer's first payload are queued once each; no SYN, no pure ACK, nothing later."""
    install(lab, RuleSet())
    with Listener(lab.gateway, confirming) as listener, Visitor(lab.client, family) as visitor:
        assert [visitor.ask("example.com") for _ in range(20)] == ["ok"] * 20
        syn_ack, request, answer = listener.segments
        assert syn_ack.flags & (Flags.SYN | Flags.ACK) == Flags.SYN | Flags.ACK
        assert request.payload.startswith(b"GET / ")
        assert answer.payload.startswith(b"HTTP/1.1 200")
        assert queued(lab) == 3
        assert marks(lab, visitor.port, MarkField()) == [Verdict.ACCELERATE]


@pytest.mark.usefixtures("back_end")
@pytest.mark.parametrize("family", FAMILIES)
def test_fast_queues_one_packet(lab: Lab, origin: Origin, family: Family) -> None:
    """In fast mode the first payload is all that is queued of an accelerated flow."""
    install(lab, FAST)
    with Listener(lab.gateway, lambda _: Verdict.ACCELERATE) as listener, Visitor(lab.client, family) as visitor:
        assert [visitor.ask("example.com") for _ in range(20)] == ["ok"] * 20
        assert [segment.payload[:4] for segment in listener.segments] == [b"GET "]


@pytest.mark.usefixtures("back_end")
@pytest.mark.parametrize("family", FAMILIES)
def test_client_payload_is_queued_while_undecided(lab: Lab, origin: Origin, family: Family) -> None:
    """Under INSPECT every payload of the client is queued, and of the server none."""
    install(lab, RuleSet())
    with Listener(lab.gateway, lambda _: Verdict.INSPECT) as listener, Visitor(lab.client, family) as visitor:
        assert [visitor.ask("example.com", pieces=2) for _ in range(3)] == ["ok"] * 3
        _, *rest = listener.segments
        assert [segment.key.dport for segment in rest] == [80] * 6


@pytest.mark.usefixtures("back_end")
@pytest.mark.parametrize("family", FAMILIES)
def test_a_blocked_flow_is_reset_at_once(lab: Lab, origin: Origin, family: Family) -> None:
    """The client sees the reset without a timeout, the server's application no byte, the queue no further packet."""
    install(lab, RuleSet())
    with Listener(lab.gateway, blocking), Visitor(lab.client, family) as visitor:
        started = time.monotonic()
        assert visitor.ask("blocked.example") == "reset"
        assert time.monotonic() - started < 0.5
        assert marks(lab, visitor.port, MarkField()) == [Verdict.BLOCK]
        assert queued(lab) == 2
    assert origin.read == b""


@pytest.mark.usefixtures("back_end")
@pytest.mark.parametrize("family", FAMILIES)
def test_a_silently_blocked_flow_gets_no_answer(lab: Lab, origin: Origin, family: Family) -> None:
    """BLOCK_SILENT drops: neither reset nor data, and retransmissions do not reach the queue."""
    install(lab, RuleSet())
    with Listener(lab.gateway, blocking_silently), Visitor(lab.client, family, timeout=0.5) as visitor:
        assert visitor.ask("blocked.example") == "silence"
        assert queued(lab) == 2
    assert origin.read == b""


@pytest.mark.usefixtures("back_end")
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("mask", [0xF, 0x70, 0xF0000000])
def test_foreign_mark_bits_never_change(lab: Lab, origin: Origin, family: Family, mask: int) -> None:
    """Bits that another program set in both marks are the same after every verdict, on the packet and in conntrack."""
    field = MarkField(mask)
    others = 0x5A5A5A5A & ~mask
    for table_chain, rule in (
        ("PREROUTING", f"-j MARK --set-xmark {others:#x}/{~mask & 0xFFFFFFFF:#x}"),
        ("PREROUTING", f"-j CONNMARK --set-xmark {others:#x}/{~mask & 0xFFFFFFFF:#x}"),
        ("POSTROUTING", f"-p tcp -m mark --mark {others:#x}"),
        ("POSTROUTING", f"-p tcp -m mark ! --mark {others:#x}"),
    ):
        lab.gateway.run([PROGRAM[family], "-t", "mangle", "-A", table_chain, *rule.split()])
    install(lab, RuleSet(field))
    with Listener(lab.gateway, confirming, field=field) as listener, Visitor(lab.client, family) as visitor:
        assert [visitor.ask("example.com") for _ in range(3)] == ["ok"] * 3
        assert len(listener.segments) == 3
        assert marks(lab, visitor.port, field) == [others | field.value(Verdict.ACCELERATE)]
    assert hits(lab.gateway, family, "POSTROUTING", f"-m mark --mark {others:#x}") > 9
    assert hits(lab.gateway, family, "POSTROUTING", f"-m mark ! --mark {others:#x}") == 0


def send(lab: Lab, family: Family, *, from_client: bool, flags: str, sport: int, dport: int, payload: bytes = b"",
         ) -> None:
    """One TCP packet, made by hand, from the client's namespace or the server's."""
    src, dst = (CLIENT, SERVER) if from_client else (SERVER, CLIENT)
    layer = IP if family == 4 else IPv6
    segment = TCP(sport=sport, dport=dport, flags=flags, seq=7) / payload
    packet = bytes(layer(src=src[family], dst=dst[family]) / segment)
    with (lab.client if from_client else lab.server).entered():
        raw = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
    with raw:
        raw.sendto(packet, (dst[family], 0))


@pytest.mark.usefixtures("back_end")
@pytest.mark.parametrize("family", FAMILIES)
def test_strict_drops_what_comes_from_the_wrong_side(lab: Lab, family: Family) -> None:
    """Conntrack lets a simultaneous open by; the rules drop the server's SYN and the client's SYN+ACK of it."""
    lab.server.run([PROGRAM[family], "-A", "INPUT", "-p", "tcp", "-j", "DROP"])
    install(lab, RuleSet())
    send(lab, family, from_client=True, flags="S", sport=5555, dport=443)
    send(lab, family, from_client=False, flags="S", sport=443, dport=5555)
    assert hits(lab.gateway, family, "NFQDPI", "FIN,SYN,RST,ACK SYN -m conntrack --ctdir REPLY -j DROP") == 1
    send(lab, family, from_client=True, flags="SA", sport=5555, dport=443)
    assert hits(lab.gateway, family, "NFQDPI", "SYN,ACK SYN,ACK -m conntrack --ctdir ORIGINAL -j DROP") == 1


@pytest.mark.usefixtures("back_end")
@pytest.mark.parametrize("family", FAMILIES)
def test_strict_drops_data_in_a_syn_and_what_is_invalid(lab: Lab, family: Family) -> None:
    """A SYN with payload and a SYN+ACK that belongs to nothing do not pass."""
    install(lab, RuleSet())
    send(lab, family, from_client=True, flags="S", sport=5555, dport=443, payload=b"data")
    assert hits(lab.gateway, family, "NFQDPI", "FIN,SYN,RST,ACK SYN -j DROP") == 1
    send(lab, family, from_client=True, flags="SA", sport=5556, dport=443)
    assert hits(lab.gateway, family, "NFQDPI", "INVALID -j DROP") == 1


@pytest.mark.usefixtures("back_end")
@pytest.mark.parametrize("family", FAMILIES)
def test_a_syn_on_a_marked_tuple(lab: Lab, origin: Origin, family: Family) -> None:
    """In strict mode it changes nothing: the server's SYN+ACK begins a flow, and is queued whatever the mark. In fast
    mode, which queues no SYN+ACK, it takes the verdict back. Foreign bits stay."""
    for strict, before, after in ((True, 0x52, 0x52), (False, 0x54, 0x50)):
        install(lab, RuleSet(strict=strict))
        lab.gateway.run([PROGRAM[family], "-t", "mangle", "-F", "PREROUTING"])
        lab.gateway.run([PROGRAM[family], "-t", "mangle", "-A", "PREROUTING", "-j", "CONNMARK", "--set-xmark",
                         "0x50/0xf0"])
        with Listener(lab.gateway, confirming), Visitor(lab.client, family) as visitor:
            assert visitor.ask("example.com") == "ok"
            assert marks(lab, visitor.port, MarkField()) == [before]
            send(lab, family, from_client=True, flags="S", sport=visitor.port, dport=80)
            assert marks(lab, visitor.port, MarkField()) == [after]


@pytest.mark.parametrize(
    ("ruleset", "expected"),
    [
        (RuleSet(lan=("lan0",)), 3),
        (RuleSet(wan=("wan0",)), 3),
        (RuleSet(lan=("lan0",), wan=("wan0",)), 3),
        (RuleSet(lan=("lan0", "wan0")), 3),
        (RuleSet(lan=("guest0",)), 0),
        (RuleSet(lan=("lan0",), wan=("dsl0",)), 0),
    ],
)
def test_interfaces_restrict_and_no_packet_is_queued_twice(lab: Lab, origin: Origin, ruleset: RuleSet, expected: int,
                                                           ) -> None:
    """Flows over other interfaces pass unseen; one that several lines match is queued as if one did."""
    install(lab, ruleset)
    with Listener(lab.gateway, confirming), Visitor(lab.client, 4) as visitor:
        assert [visitor.ask("example.com") for _ in range(3)] == ["ok"] * 3
        assert queued(lab) == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_bypass_decides_what_happens_without_a_listener(lab: Lab, origin: Origin, family: Family) -> None:
    """With bypass a flow passes where nobody listens; without, it does not even open in strict mode."""
    install(lab, RuleSet(bypass=True))
    with Visitor(lab.client, family) as visitor:
        assert visitor.ask("example.com") == "ok"
    install(lab, RuleSet(bypass=False))
    with pytest.raises(TimeoutError):
        Visitor(lab.client, family, timeout=0.3)


@pytest.mark.parametrize("family", FAMILIES)
def test_quic_is_turned_away(lab: Lab, family: Family) -> None:
    """UDP 443 gets port unreachable at once; it passes where the rules leave QUIC alone."""
    with both_ends(lab, 443, family) as (client, server):
        install(lab, RuleSet())
        client.send(b"initial")
        with pytest.raises(ConnectionRefusedError):
            client.recv(100)
        install(lab, RuleSet(quic="ignore"))
        client.send(b"initial")
        assert server.recv(100) == b"initial"
