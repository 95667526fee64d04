"""Plugins that fail, want no more, or advise, before a strict engine."""

from __future__ import annotations

import pytest

from nfqdpi.core.classifier import NEED_MORE, Classification, Classifier, DatagramClassifier, Pending
from nfqdpi.core.decision import Path
from nfqdpi.core.plugin import Advice, Adviser
from nfqdpi.core.verdict import Verdict
from nfqdpi.testing.packets import ACK, ip, tcp, udp
from nfqdpi.testing.tls import server_hello
from tests.core.transcript import (
    ALLOWED,
    BAD,
    CLASSIFIERS,
    CLOSED,
    HELLO,
    NO,
    OPEN,
    OPENING,
    YES,
    Talk,
    Talks,
    engine,
    line,
)


def broken(_: bytes) -> Pending:
    raise ZeroDivisionError


BROKEN = Classifier("broken", "x", "1", 1000, broken)


def test_a_plugin_that_raises(talk: Talks) -> None:
    """Its exception comes out; giving up decides the flow, and it stays decided."""
    for exceptions, end in ((OPEN, "accelerate plugin_error"), (CLOSED, "block plugin_error")):
        flow = talk(classifiers=[BROKEN], exceptions=exceptions)
        flow.opens()
        with pytest.raises(ZeroDivisionError):
            flow.client(HELLO)
        packet = flow.packet(True, flow.isn + 1, 0, HELLO, ACK)
        given_up = flow.engine.give_up(packet, flow.now)
        assert line(given_up) == end
        assert [judgement.packets for judgement in given_up.judgements] == [1]
        assert [flow.client(b"x"), flow.server(b"x")] == [end, end]


@pytest.mark.parametrize("strict", [True, False])
def test_what_is_told_of_a_flow_whose_first_packet_is_given_up_on(strict: bool) -> None:
    """All that it has brought, and nothing of an earlier flow's on the same tuple."""
    once = Classifier("once", "x", "1", 1000, lambda seen: broken(seen) if seen == HELLO else Classification("x"))
    flow = Talk(engine(strict=strict, classifiers=[once]))
    if not strict:
        flow.client(b"GET")
        flow.now += 60
    packet = flow.packet(True, flow.isn + 9, 0, HELLO, ACK)
    with pytest.raises(ZeroDivisionError):
        flow.engine.process(packet, flow.now, Path(3, 4, b"sender"))
    [told] = flow.engine.give_up(packet, flow.now).judgements
    assert (told.packets, told.since, told.base) == (1, flow.now, flow.isn + 9)
    assert (told.client.mac, told.client.interface) == (b"sender", 3)


def test_giving_up_on_anything() -> None:
    """A reply, an unknown flow, a datagram and no packet at all: each gets a decision."""
    flow = Talk(engine())
    flow.opens()
    reply = flow.packet(False, 1, 1, b"x", ACK)
    assert line(flow.engine.give_up(reply, 0.0)) == "accelerate plugin_error"
    assert flow.client(BAD) == "accelerate plugin_error"
    for packet in (ip(6, tcp(sport=9)), ip(17, udp()), b"", b"\x45"):
        assert line(flow.engine.give_up(packet, 0.0)) == "accelerate plugin_error"


def test_a_plugin_gets_no_more_than_it_needs(talk: Talks) -> None:
    """A classifier that still has no answer at its own limit has none at all."""
    patient = Classifier("patient", "x", "1", 20, lambda _: NEED_MORE)
    flow = talk(classifiers=[patient])
    assert [flow.opens(), flow.client(bytes(19)), flow.client(b"x")] == [OPENING, OPENING, "confirm unknown_protocol"]


def test_a_unit_after_which_nothing_follows(talk: Talks) -> None:
    """Where a plugin has nothing to confirm and nothing to read on, any reply of the server's that acknowledges it
    decides; what a client sends in its place meanwhile is compared with it (E6)."""
    once = Classifier("once", "x", "1", 20, lambda _: Classification("x", (ALLOWED,)))
    flow = talk(classifiers=[once])
    assert [flow.opens(), flow.client(b"xyz")] == [OPENING, YES]
    assert [flow.server(b"yes", acks=2), flow.client(b"on"), flow.server(b"yes")] == [
        "confirm need_more", "confirm need_more", "accelerate confirmed"]
    decoy = talk(classifiers=[once])
    assert [decoy.opens(), decoy.client(b"xyz"), decoy.client(BAD, at=0)] == [OPENING, YES, "block overlap"]


def test_a_unit_in_front_of_what_nobody_knows(talk: Talks) -> None:
    """It is told of, though the same packet ends in bytes that decide the flow in another way."""
    units = Classifier("units", "x", "1", 20, lambda prefix: Classification(
        "x", (ALLOWED,), length=3, then=lambda _: Pending.NO_MATCH) if prefix[:3] == b"xyz" else NEED_MORE)
    flow = talk(classifiers=[units], exceptions=CLOSED)
    flow.opens()
    assert flow.client(b"xyz?") == "block unknown_protocol"
    assert [judgement.outcome.verdict.name for judgement in flow.judgements] == ["ACCELERATE", "BLOCK"]


def _advising(verdict: Verdict, name: str = "adviser") -> Adviser:
    return Adviser(name, "1", lambda found, client, server: Advice(verdict, "so") if found.names else None)


@pytest.mark.parametrize(("advice", "answer"), [
    ((), "confirm default"),
    ((Verdict.ACCELERATE,), "confirm default"),
    ((Verdict.ACCELERATE, Verdict.BLOCK, Verdict.INSPECT), "block advice"),
    ((Verdict.INSPECT, Verdict.ACCELERATE), "confirm advice"),
])
def test_advice(advice: tuple[Verdict, ...], answer: str) -> None:
    """Any block blocks, and a flow is accelerated only where nobody wants to look on; nobody overrules a block."""
    judge = engine(classifiers=(*CLASSIFIERS, *map(_advising, advice)))
    flow = Talk(judge)
    assert [flow.opens(), flow.client(HELLO)] == ["inspect need_more", answer]
    found = flow.judgements[0].classification
    assert found is not None
    assert found.attributes.get("advice", "") == ("adviser: so" if answer.endswith("advice") else "")
    if flow.mark is Verdict.CONFIRM:
        assert flow.server(server_hello()) == ("inspect confirmed" if Verdict.INSPECT in advice else
                                               "accelerate confirmed")
    blocked = Talk(judge, sport=2)
    assert [blocked.opens(), blocked.client(BAD)] == ["inspect need_more", NO]


def test_advice_on_datagrams() -> None:
    """The same of UDP."""
    reader = DatagramClassifier("any", "any", "1", lambda data: Classification("any", ("x.example",)), (443,))
    judge = engine(classifiers=(reader, _advising(Verdict.BLOCK)))
    assert line(judge.process(ip(17, udp(b"x")), 0.0)) == "block advice"


def test_a_plugin_that_is_left_out() -> None:
    """What nobody knows may be its: it is treated as plugin_error says until it is back."""
    judge = engine(exceptions=CLOSED)
    judge.use(CLASSIFIERS, lacking=True)
    flow = Talk(judge)
    assert [flow.opens(), flow.client(b"\0\1\2\3 anything\n")] == ["inspect need_more", "block plugin_error"]
    judge.use(CLASSIFIERS)
    after = Talk(judge, sport=2)
    assert [after.opens(), after.client(b"\0\1\2\3 anything\n")] == ["inspect need_more", "block unknown_protocol"]
