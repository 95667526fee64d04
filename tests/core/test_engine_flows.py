"""Many flows before a strict engine: what it forgets, what it remembers of that, and what it may cost."""

from __future__ import annotations

import sys
from itertools import product

from nfqdpi.core.table import FlowTable
from nfqdpi.core.verdict import Verdict
from nfqdpi.testing.http import request, response
from nfqdpi.testing.packets import ACK, FIN, SERVER, SYN, ip, tcp
from nfqdpi.testing.tls import hello, server_hello
from tests.core.transcript import (
    ALLOWED,
    BAD,
    HELLO,
    JUNK,
    OPENING,
    YES,
    Talk,
    Talks,
    engine,
)


def test_a_forgotten_flow_is_not_midstream(talk: Talks) -> None:
    """Whoever floods the table with flows does not get a forgotten one believed, for as long as its mark may last: not
    an undecided one, not one that rests between two requests, and not by what its server says (E7)."""
    for before, behind in ((BAD[:50], BAD[50:]), (request(ALLOWED), JUNK), (b"", JUNK)):
        flow = talk(max_flows=16)
        assert [flow.opens(), flow.client(before)] == [OPENING, "inspect default" if b"GET" in before else OPENING]
        for sport in range(16):
            Talk(flow.engine, flow.six, sport).opens()
        assert flow.client(behind) == "block timeout"
    halves = talk(max_flows=16)
    assert [halves.opens(), halves.client(BAD[:-9])] == [OPENING, OPENING]
    for sport in range(16):
        Talk(halves.engine, halves.six, sport).opens()
    assert halves.client(HELLO) == "block timeout"  # the rest of a message may look like a whole one
    replies = talk(max_flows=16)
    assert [replies.opens(), replies.client(HELLO)] == [OPENING, YES]
    for sport in range(16):
        Talk(replies.engine, replies.six, sport).opens()
    assert replies.server(response()) == "block timeout"


def test_a_forgotten_flow_without_a_mark(talk: Talks) -> None:
    """conntrack forgets a reset flow in ten seconds, so a missing mark excuses nobody; only a full queue does (E7)."""
    for overflowed, end in ((False, "block timeout"), (True, "accelerate midstream")):
        flow = talk(max_flows=16)
        assert [flow.opens(), flow.client(BAD[:50])] == [OPENING, OPENING]
        for sport in range(16):
            Talk(flow.engine, flow.six, sport).opens()
        flow.mark = Verdict.UNSEEN
        if overflowed:
            flow.engine.overflow(flow.now - 1)
        assert flow.client(BAD[50:]) == end


def test_an_expired_flow_is_not_midstream(talk: Talks) -> None:
    """An undecided flow that nobody has heard of for hours is blocked when it goes on (E7)."""
    flow = talk()
    assert [flow.opens(), flow.client(request(ALLOWED))] == [OPENING, "inspect default"]
    flow.now += FlowTable.IDLE + 1
    Talk(flow.engine, flow.six, 99, now=flow.now).opens()
    assert flow.client(JUNK) == "block timeout"


def test_an_ended_flow_that_goes_on(talk: Talks) -> None:
    """A FIN may never have reached the server: two minutes after it the flow is not midstream, with a mark or without
    one, whatever rests on record (E7). It casts no doubt on its client's other flows."""
    for before, mark in product((b"", BAD[:50], request(ALLOWED)), (Verdict.INSPECT, Verdict.UNSEEN)):
        flow = talk()
        flow.opens()
        flow.client(before)
        flow.client(b"", flags=FIN | ACK)
        for passed in (FlowTable.ENDED + 1, 0):
            flow.now += passed
            Talk(flow.engine, flow.six, 99, now=flow.now).opens()
        flow.mark = mark
        assert flow.client(JUNK) == "block timeout"
        assert Talk(flow.engine, flow.six, 98, now=flow.now).client(JUNK) == "accelerate midstream"


def test_a_server_that_goes_on_keeps_no_other_flow() -> None:
    """What it sends on one that the client has ended leaves the others' time as it is."""
    judge = engine()
    for flow in (again := Talk(judge), Talk(judge, sport=99)):
        flow.opens()
        flow.client(b"", flags=FIN | ACK)
    again.now += FlowTable.ENDED
    again.server(b"x")
    Talk(judge, sport=98, now=again.now + 1).opens()
    assert len(judge.flows) == 2


def test_a_full_table_of_ended_flows() -> None:
    """What was queued behind the deciding packet is still known, though the table is full of flows that are over."""
    judge = engine(max_flows=16)
    for port in range(20):
        over = Talk(judge, sport=20000 + port, dport=80)
        assert [over.opens(), over.client(request(ALLOWED)), over.client(b"", flags=ACK | FIN)] == [
            "inspect need_more", "inspect default", "inspect need_more"]
    talk = Talk(judge)
    assert [talk.opens(), talk.client(hello(ALLOWED))] == ["inspect need_more", "confirm default"]
    waiting = talk.mark
    assert talk.server(server_hello()) == "accelerate confirmed"
    Talk(judge, sport=30000, dport=80).opens()
    talk.mark = waiting
    assert talk.server(b"more of the reply") == "accelerate confirmed"
    assert judge.flows.evicted == 0


def test_memory_is_bounded() -> None:
    """Twenty thousand unfinished ClientHellos cost no more than the first that fill the table."""
    judge, half, full = engine(max_flows=2048), HELLO[:100], 0
    opening = tcp(seq=9, ack=1, flags=SYN | ACK, sport=443, dport=1)
    for n in range(20_000):
        client = f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}"
        judge.process(ip(6, opening, SERVER, client), 0.0)
        judge.process(ip(6, tcp(half, seq=1, ack=10, sport=1), client, SERVER), 0.0)
        if n == 12_000:  # what is remembered of evicted flows is full as well
            full = sys.getallocatedblocks()
    assert len(judge.flows) == 2048
    assert sys.getallocatedblocks() < full + 2048
    assert sum(len(flow.stream.head) for flow in judge.flows) == 2048 * len(half)
