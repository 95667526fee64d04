"""What a strict engine does with a flow, whatever its protocol, as transcripts."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address, ip_network
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfqdpi.core.classifier import NEED_MORE, Classification, Classifier, DatagramClassifier, Pending
from nfqdpi.core.decision import Client, Decision, Path
from nfqdpi.core.engine import Engine
from nfqdpi.core.plugin import Advice, Adviser
from nfqdpi.core.table import FlowTable
from nfqdpi.core.verdict import Reason, Verdict
from nfqdpi.policy.clients import ClientGroup
from nfqdpi.policy.model import Policy, Rule, Ruling
from nfqdpi.policy.names import Pattern
from tests.builders import (
    ACK,
    CLIENT,
    FIN,
    PSH,
    RST,
    SERVER,
    SYN,
    URG,
    extension,
    hello,
    ip,
    request,
    response,
    server_hello,
    tcp,
    udp,
)
from tests.core.transcript import ALLOWED, BLOCKED, CLASSIFIERS, CLOSED, OPEN, Talk, engine, line

Talks = Callable[..., Talk]
OPENING = "inspect need_more"
YES, NO = "confirm default", "block rule"
HELLO, BAD = hello(ALLOWED), hello(BLOCKED)
JUNK = b"\x00\x01 another protocol"


# --- the base ---


def test_the_base_is_the_servers_word(talk: Talks) -> None:
    """What lies below the acknowledged number is no part of the stream (E1, E4)."""
    flow = talk()
    assert [flow.opens(), flow.client(BAD, at=-10_000)] == [OPENING, "drop out_of_window"]
    assert flow.client(b"below" + BAD, at=-5) == NO


def test_a_repeated_opening_changes_nothing(talk: Talks) -> None:
    """A SYN+ACK sent again leaves bytes and state as they are."""
    flow = talk()
    assert [flow.opens(), flow.client(BAD[:50]), flow.opens(), flow.client(BAD[50:])] == [OPENING, OPENING, OPENING, NO]
    flow = talk()
    assert [flow.opens(), flow.client(HELLO), flow.opens()] == [OPENING, YES, "confirm need_more"]


def test_a_tuple_used_again(talk: Talks) -> None:
    """After either verdict, new numbers are a new flow (E8)."""
    for name, server, end in ((ALLOWED, server_hello(), "accelerate confirmed"), (BLOCKED, b"", NO)):
        flow = talk()
        flow.opens()
        flow.client(hello(name))
        assert flow.server(server) == end
        flow.isn, flow.server_isn, flow.sent, flow.received = 5000, 80_000, 0, 0
        assert [flow.opens(), flow.client(BAD[:50]), flow.client(BAD[50:])] == [OPENING, OPENING, NO]


def test_a_tuple_used_again_with_the_clients_old_number(talk: Talks) -> None:
    """A client chooses its own first number, so it does not tell flows apart; the server's does."""
    flow = talk()
    flow.opens()
    flow.client(HELLO)
    assert flow.server(server_hello()) == "accelerate confirmed"
    flow.server_isn, flow.sent, flow.received = 80_000, 0, 0
    assert [flow.opens(), flow.client(BAD)] == [OPENING, NO]


def test_a_late_copy_of_the_opening(talk: Talks) -> None:
    """The same numbers from both sides are the same flow: its verdict stays."""
    flow = talk()
    flow.opens()
    flow.client(HELLO)
    flow.server(server_hello())
    assert flow.opens() == "accelerate confirmed"


def test_decided_flows_repeat_themselves(talk: Talks) -> None:
    """Packets that queued up behind the deciding one get its decision, wherever in the stream they lie, told once."""
    flow = talk()
    flow.opens()
    assert flow.client(BAD) == NO
    assert {flow.client(b"x", at=at) for at in (0, 5000, -1, 1 << 25, -(1 << 25))} == {NO}
    assert flow.server(b"x") == NO
    assert len(flow.judgements) == 1


# --- what is on record ---


def test_retransmissions_pass(talk: Talks) -> None:
    """Identical copies pass, before the name, while the server's answer is outstanding, and after the unit (E3)."""
    flow = talk()
    assert [flow.opens(), flow.client(HELLO[:50]), flow.client(HELLO[:50], at=0)] == [OPENING] * 3
    assert [flow.client(HELLO[50:]), flow.client(HELLO, at=0)] == [YES, "confirm need_more"]
    http = talk()
    http.opens()
    http.client(request(ALLOWED))
    assert http.client(request(ALLOWED), at=0) == OPENING


def test_copies_that_differ_block(talk: Talks) -> None:
    """A decoy that the server never gets meets the real bytes, in whatever state the flow is (E3)."""
    for first in (HELLO[:50], HELLO, request(ALLOWED), JUNK):
        flow = talk()
        flow.opens()
        flow.client(first)
        assert flow.client(bytes(len(first)), at=0) == "block overlap"


@pytest.mark.parametrize("at", [0, 20, 40])
def test_overlaps_that_differ_by_a_byte(talk: Talks, at: int) -> None:
    """In front, inside and behind: one byte is enough."""
    flow = talk()
    assert [flow.opens(), flow.client(HELLO[20:60], at=20)] == [OPENING, OPENING]
    copy = bytearray(HELLO[at : at + 40])
    copy[-1 if at == 0 else 0] ^= 1
    assert flow.client(bytes(copy), at=at) == "block overlap"


def test_keep_alive_probes_are_dropped(talk: Talks) -> None:
    """A garbage byte below the next one is no evidence, but a server that missed the real one would take it."""
    flow = talk()
    assert [flow.opens(), flow.client(HELLO[:30])] == [OPENING, OPENING]
    assert flow.client(b"\0", at=29) == "drop out_of_window"
    assert flow.client(HELLO[30:]) == YES


def test_far_ahead_is_dropped(talk: Talks) -> None:
    """Beyond a gap nothing past the limit is taken; it will be sent again if it is real (E4)."""
    flow = talk(max_bytes=1000)
    assert [flow.opens(), flow.client(HELLO, at=900), flow.client(HELLO, at=1 << 20)] == [
        OPENING, "drop out_of_window", "drop out_of_window"]


def test_urgent_data_is_dropped(talk: Talks) -> None:
    """A server takes the urgent byte out of the stream and would read another name than we did (E13)."""
    flow = talk()
    assert [flow.opens(), flow.client(HELLO, flags=ACK | URG)] == [OPENING, "drop malformed"]


def test_signed_data_is_dropped(talk: Talks) -> None:
    """A server that expects no signature discards the segment, and would read the next copy of its bytes (E13)."""
    flow = talk()
    assert [flow.opens(), flow.client(HELLO, options=b"\x13\x12" + bytes(18)), flow.client(BAD, at=0)] == [
        OPENING, "drop malformed", "block rule"]


def test_fin_and_rst_end_nothing(talk: Talks) -> None:
    """They may never reach the server, so they free nothing; what was sent before may come again, nothing new (E7)."""
    for flags in (FIN | ACK, RST, RST | ACK):
        flow = talk()
        assert [flow.opens(), flow.client(BAD[:50]), flow.client(b"", flags=flags)] == [OPENING] * 3
        assert [flow.client(BAD[20:50], at=20), flow.client(b"", at=50, flags=flags)] == [OPENING] * 2
        assert [flow.client(BAD[50:], at=50), flow.client(BAD, at=0)] == ["drop out_of_window"] * 2
        assert flow.client(b"other", at=0) == "block overlap"


def test_the_first_end_counts(talk: Talks) -> None:
    """A later FIN does not make room again; one with the last bytes takes them along."""
    flow = talk()
    flow.opens()
    assert [flow.client(b"", at=10, flags=RST), flow.client(b"", at=500, flags=FIN | ACK)] == [OPENING] * 2
    assert flow.client(BAD) == "drop out_of_window"
    flow = talk()
    assert [flow.opens(), flow.client(BAD, flags=FIN | ACK | PSH)] == [OPENING, NO]


def test_old_acknowledgements_are_dropped(talk: Talks) -> None:
    """Linux discards a segment that acknowledges what lies before the connection; nobody honest sends one."""
    flow = talk()
    flow.opens()
    old = flow.packet(True, flow.isn + 1, flow.server_isn + 1 - 66000, HELLO, ACK)
    assert line(flow.engine.process(old, flow.now)) == "drop out_of_window"
    assert flow.client(BAD) == NO


def test_pure_acknowledgements_are_nothing(talk: Talks) -> None:
    """They decide nothing on either side, in any state."""
    flow = talk()
    assert [flow.opens(), flow.client(b""), flow.server(b"")] == [OPENING] * 3
    assert [flow.client(HELLO), flow.client(b""), flow.server(b"")] == [YES, "confirm need_more", "confirm need_more"]


def test_server_payload_before_a_name_is_nothing(talk: Talks) -> None:
    """A server that speaks first has accepted no name."""
    flow = talk()
    assert [flow.opens(), flow.server(b"220 ready\r\n"), flow.client(BAD)] == [OPENING, OPENING, NO]


# --- limits ---


def test_too_big(talk: Talks) -> None:
    """A unit longer than the limit is blocked, not forwarded unread (E2)."""
    flow = talk(max_bytes=2000)
    head = b"GET / HTTP/1.1\r\nX: "
    assert [flow.opens(), flow.client(head), flow.client(bytes(1000)), flow.client(bytes(1000))] == [
        OPENING, OPENING, OPENING, "block too_big"]


def test_too_many_segments(talk: Talks) -> None:
    """A unit in more segments than the limit is blocked; more than as many behind a gap are not taken."""
    flow = talk(max_segments=8)
    flow.opens()
    assert flow.clients(*(HELLO[n : n + 1] for n in range(9))) == [OPENING] * 8 + ["block too_big"]
    gaps = talk(max_segments=8)
    gaps.opens()
    assert [gaps.client(b"x", at=2 * n) for n in range(1, 10)] == [OPENING] * 8 + ["drop out_of_window"]


def test_too_late(talk: Talks) -> None:
    """A unit that drips past the timeout is blocked; a flow that says nothing is not (E11)."""
    flow = talk(timeout=30.0)
    flow.opens()
    flow.now += 1000
    assert flow.client(HELLO[:10]) == OPENING
    flow.now += 30
    assert flow.client(HELLO[10:20]) == OPENING
    flow.now += 1
    assert flow.client(HELLO[20:]) == "block timeout"
    kept = talk(timeout=30.0)
    kept.opens()
    assert kept.client(request(ALLOWED)) == "inspect default"
    kept.now += 1000
    assert kept.client(request(ALLOWED)) == "inspect default"


# --- other protocols, and flows older than the engine ---


def test_unknown_protocols_need_an_answer(talk: Talks) -> None:
    """The server's reply to the bytes shows that it got them; nobody is believed before (E6)."""
    flow = talk()
    assert [flow.opens(), flow.client(JUNK), flow.client(b"more")] == [
        OPENING, "confirm unknown_protocol", "confirm need_more"]
    assert flow.server(b"what?", at=10, acks=5) == "confirm need_more"
    assert flow.server(b"what?", at=10, acks=len(JUNK)) == "accelerate confirmed"


def test_unknown_protocols_in_an_allowlist(talk: Talks) -> None:
    """Where only listed names pass, what has none does not."""
    flow = talk(exceptions=CLOSED)
    assert [flow.opens(), flow.client(JUNK)] == [OPENING, "block unknown_protocol"]


def test_midstream(talk: Talks) -> None:
    """A flow whose opening was not seen is what fail.midstream says, unless it names itself."""
    for data in (JUNK, b"\x17\x03\x03\0\x05hello", HELLO[50:]):
        assert talk().client(data) == "accelerate midstream"
        assert talk(exceptions=CLOSED).client(data) == "block midstream"
    assert talk().client(BAD) == NO
    assert talk().client(request(BLOCKED)) == NO
    named = talk()
    assert [named.client(HELLO), named.server(server_hello())] == [YES, "accelerate confirmed"]


def test_a_syn_counts_one(talk: Talks) -> None:
    """The first byte behind a SYN is the second number (RFC 9293, 3.4)."""
    assert talk().client(BAD, at=-1, flags=SYN) == NO


def test_no_flow_at_all() -> None:
    """UDP, other transports and broken packets are decided by themselves."""
    judge = engine()
    assert line(judge.process(ip(17, udp(b"x")), 0.0)) == "accelerate unknown_protocol"
    assert line(judge.process(ip(132, bytes(20)), 0.0)) == "accelerate unknown_protocol"
    assert line(judge.process(ip(6, b""), 0.0)) == "block malformed"
    assert line(judge.process(ip(6, tcp(b"x"))[:-1], 0.0)) == "block truncated"
    assert line(judge.process(b"", 0.0)) == "block truncated"
    assert len(judge.flows) == 0


def test_a_rule_without_names_decides_all(six: bool) -> None:
    """A rule for certain clients needs no name to decide, whatever the protocol."""
    kids = ClientGroup((ip_network("fd00::/64"), ip_network("10.0.0.0/24")))
    for data in (JUNK, hello(None), HELLO):
        judge = Engine(CLASSIFIERS, Policy([Rule("kids", Verdict.BLOCK, groups=(kids,))]), OPEN)
        flow = Talk(judge, six)
        assert [flow.opens(), flow.client(data)] == [OPENING, "block rule"]


# --- plugins ---


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


# --- many flows ---


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


packets = st.binary(max_size=100) | st.builds(
    lambda payload, seq, ack, flags, ports, back: ip(
        6, tcp(payload, seq=seq, ack=ack, flags=flags, sport=ports[back], dport=ports[not back]),
        *((SERVER, CLIENT) if back else (CLIENT, SERVER))),
    st.sampled_from([b"", HELLO, BAD, HELLO[:50], HELLO[50:], request(ALLOWED), request(BLOCKED), server_hello(), JUNK,
                     request(ALLOWED, "Upgrade: x"), request(ALLOWED, "Transfer-Encoding: chunked"), b"5\r\n",
                     b"0\r\n\r\n"])
    | st.binary(max_size=20),
    st.sampled_from([0, 1, 50, 51, 192, 193, 1000, (1 << 32) - 1, 1 << 31]), st.sampled_from([0, 1, 100, 193, 1 << 30]),
    st.sampled_from([0, ACK, ACK | PSH, SYN, SYN | ACK, FIN | ACK, RST, URG | ACK]) | st.integers(0, 255),
    st.sampled_from([(1, 443), (2, 80)]), st.booleans())


@given(st.lists(st.tuples(packets, st.floats(0, 50)), max_size=30), st.booleans(), st.binary(max_size=3),
       st.integers(0, 60))
def test_any_packets_have_a_decision(script: list[tuple[bytes, float]], strict: bool, patch: bytes, at: int) -> None:
    """Whatever packets come in whatever order, whole or damaged: one decision each, and never an exception."""
    judge, now = engine(strict=strict, max_flows=16, max_segments=8), 0.0
    for n, (packet, passed) in enumerate(script):
        now += passed
        data = packet if n % 2 else packet[:at] + patch + packet[at + len(patch) :]
        decision = judge.process(data, now)
        assert isinstance(decision, Decision)
        assert decision.verdict is not Verdict.UNSEEN
        assert decision.reason in Reason
        assert len(judge.flows) <= 16


def test_the_clients_network_does_not_speak_for_the_server() -> None:
    """A reply that comes in by the client's interface is forged (E6); a gateway with one arm cannot tell."""
    for server, forged in ((2, "drop out_of_window"), (1, "accelerate confirmed")):
        flow = Talk(engine())
        opening = flow.packet(False, flow.server_isn, flow.isn + 1, b"", SYN | ACK)
        flow.engine.process(opening, 0.0, Path(server, 1))
        flow.engine.process(flow.packet(True, flow.isn + 1, flow.server_isn + 1, HELLO, ACK), 0.0, Path(1, server))
        reply = flow.packet(False, flow.server_isn + 1, flow.isn + 1 + len(HELLO), server_hello(), ACK)
        assert line(flow.engine.process(reply, 0.0, Path(1, 1))) == forged


def test_the_clients_network_opens_first() -> None:
    """A SYN+ACK that goes back where it came from is no server's word on a flow that goes elsewhere: nothing of the
    client's passes behind it, and the server's own begins the flow (E1)."""
    up, down, turned = Path(1, 2), Path(2, 1), Path(1, 1)
    for opened in (True, False):
        flow = Talk(engine())
        says = flow.engine.process
        says(flow.packet(False, flow.server_isn - 500, flow.isn + 1, b"", SYN | ACK), 0.0, turned)
        if opened:
            says(flow.packet(False, flow.server_isn, flow.isn + 1, b"", SYN | ACK), 0.0, down)
        decoy = line(says(flow.packet(True, flow.isn + 1, flow.server_isn + 1, HELLO, ACK), 0.0, up))
        reply = flow.packet(False, flow.server_isn + 1, flow.isn + 1 + len(HELLO), server_hello(), ACK)
        assert decoy == ("confirm default" if opened else "drop out_of_window")
        assert line(says(reply, 0.0, turned)) == ("drop out_of_window" if opened else OPENING)
        if not opened:
            says(flow.packet(False, flow.server_isn, flow.isn + 1, b"", SYN | ACK), 0.0, down)
            assert line(says(flow.packet(True, flow.isn + 1, flow.server_isn + 1, BAD, ACK), 0.0, up)) == NO


def test_a_simulated_condition(talk: Talks) -> None:
    """Every flow is treated as if the condition were true of it."""
    judge = Engine(CLASSIFIERS, Policy(), CLOSED, simulate=Reason.MIDSTREAM)
    flow = Talk(judge)
    assert [flow.opens(), flow.client(HELLO)] == [OPENING, "block midstream"]


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


def test_an_end_before_the_beginning(talk: Talks) -> None:
    """A FIN below the stream's base is dropped, and ends nothing (E4)."""
    flow = talk()
    assert [flow.opens(), flow.client(b"", at=-10_000, flags=FIN | ACK)] == [OPENING, "drop out_of_window"]
    assert flow.client(HELLO, at=0) == YES


@pytest.mark.parametrize("number", [0, -2000, 5000])
@pytest.mark.parametrize("before", [b"", HELLO[:50]], ids=["nothing said", "half a hello"])
def test_the_clients_network_does_not_open_for_the_server(number: int, before: bytes) -> None:
    """A second SYN+ACK, with another base, that comes in by the client's interface begins no new flow (E1, E8)."""
    flow = Talk(engine())
    opening = flow.packet(False, flow.server_isn, flow.isn + 1, b"", SYN | ACK)
    flow.engine.process(opening, flow.now, Path(2, 1))
    if before:
        flow.engine.process(flow.packet(True, flow.isn + 1, flow.server_isn + 1, before, ACK), flow.now, Path(1, 2))
    forged = flow.packet(False, flow.server_isn + number, flow.isn + 51, b"", SYN | ACK)
    assert line(flow.engine.process(forged, flow.now, Path(1, 1), Verdict.INSPECT)) == "drop out_of_window"
    flow.mark = Verdict.INSPECT
    assert flow.client(BAD, at=0) == NO


def test_hellos_with_an_encrypted_one(talk: Talks) -> None:
    """They are judged by the outer name, unless the operator wants none of them; a blocked name stays the rule's."""
    outer = hello(ALLOWED, extension(0xFE0D, bytes(200)))
    flow = talk()
    assert [flow.opens(), flow.client(outer)] == [OPENING, YES]
    for name, answer in ((ALLOWED, "block ech"), (BLOCKED, NO)):
        strictly = talk(exceptions={**OPEN, Reason.ECH: Verdict.BLOCK})
        assert [strictly.opens(), strictly.client(hello(name, extension(0xFE0D, bytes(200))))] == [OPENING, answer]


def test_two_answers_to_one_syn(talk: Talks) -> None:
    """A network may copy the SYN, and the server answer each copy with another number: the client's acknowledgement
    says which it took."""
    for first in (True, False):
        flow = talk()
        flow.opens()
        other = replace(flow, server_isn=flow.server_isn + 16_000_000, judgements=[])
        assert other.opens() == OPENING
        chosen = flow if first else other
        assert [chosen.client(HELLO), chosen.server(server_hello())] == [YES, "accelerate confirmed"]


def test_the_policy_hears_who_asks() -> None:
    """Address, hardware address and interface are those of the client's first packet, not of the server's SYN+ACK."""
    asked: list[Client] = []

    class Listening:
        revision = None

        def decide(self, name: str | None, client: Client, protocol: str = "") -> Ruling:
            asked.append(client)
            return Ruling(Verdict.ACCELERATE)

    judge = Engine(CLASSIFIERS, Listening(), OPEN)
    talk = Talk(judge)
    judge.process(talk.packet(False, talk.server_isn, talk.isn + 1, b"", SYN | ACK), 0.0, Path(2, 1, b"server\0\0"))
    first = request(ALLOWED)
    for at, sender in ((0, b"client\0\0"), (9, b"other!\0\0")):
        packet = talk.packet(True, talk.isn + 1 + at, talk.server_isn + 1, first[at : at + 9 if at == 0 else None], ACK)
        judge.process(packet, 0.0, Path(1, 2, sender))
    assert asked == [Client(ip_address(CLIENT).packed, b"client", 1)]


def test_a_policy_that_changes_before_the_answer_counts() -> None:
    """A name that was allowed when it was asked for, and is not when the server answers, never gets its answer."""
    for name, blocked in ((ALLOWED, True), ("other.example", False)):
        judge = engine()
        talk = Talk(judge)
        assert [talk.opens(), talk.client(hello(name))] == ["inspect need_more", "confirm default"]
        judge.govern(Policy((Rule("new", Verdict.BLOCK, (Pattern.parse(ALLOWED),)),)), OPEN)
        assert talk.server(server_hello()) == ("block rule" if blocked else "accelerate confirmed")
        assert talk.judgements[-1].outcome.rule == ("new" if blocked else None)
    talk = Talk(engine())
    assert [talk.opens(), talk.client(HELLO)] == [OPENING, YES]
    talk.engine.govern(Policy((Rule("new", Verdict.INSPECT, (Pattern.parse(ALLOWED),)),)), OPEN)
    assert talk.server(server_hello()) == "inspect confirmed"


def test_a_nameless_flow_meets_the_new_policy_too() -> None:
    """Another protocol, let by until the policy's default has changed."""
    talk = Talk(engine())
    talk.opens()
    assert talk.client(b"\0\1\2\3") == "confirm unknown_protocol"
    talk.engine.govern(Policy((), Verdict.BLOCK), CLOSED)
    assert talk.server(b"x") == "block unknown_protocol"
    assert talk.judgements[-1].classification is None


def test_the_client_frees_a_blocked_flow_s_port() -> None:
    """A reset that conntrack takes for a new flow's passes, for it carries nothing; the blocked flow stays blocked."""
    talk = Talk(engine())
    talk.opens()
    assert talk.client(BAD) == NO
    assert talk.client(b"", flags=RST) == NO
    talk.mark = Verdict.UNSEEN
    assert talk.client(BAD, at=0, flags=RST) == NO
    talk.mark = Verdict.UNSEEN
    assert talk.client(b"", flags=RST) == OPENING
    assert talk.client(HELLO) == NO


def test_an_opening_sent_twice() -> None:
    """A SYN+ACK that comes again changes nothing, before the client's first word and after it."""
    talk = Talk(engine())
    assert [talk.opens(), talk.opens(), talk.client(HELLO)] == [OPENING, OPENING, YES]
    assert talk.opens() == "confirm need_more"
    assert talk.server(server_hello()) == "accelerate confirmed"


GREAT = 60_000  # bytes of a packet that GSO has put together


@pytest.mark.parametrize("text", [
    request(ALLOWED, "Content-Length: 50000", method="POST") + bytes(50_000) + request(BLOCKED),
    request(ALLOWED, "Content-Length: 50000", method="POST") + bytes(50_000) + request(ALLOWED),
    request(ALLOWED, "X: " + "y" * 5000) * 10 + request(BLOCKED),
    request(ALLOWED, "Content-Length: 99999", method="POST") + bytes(50_000),
    hello(ALLOWED, extension(21, bytes(20_000))), hello(BLOCKED, extension(21, bytes(20_000))),
    b"X-" * 25_000,
])
@pytest.mark.parametrize("max_bytes", [2048, 65536])
def test_what_gso_has_put_together(text: bytes, max_bytes: int) -> None:
    """One great packet, behind a small one, meets the verdicts that its segments would meet."""
    ends = []
    for size in (GREAT, 1400):
        talk = Talk(engine(max_bytes=max_bytes, max_segments=1000))
        talk.opens()
        said = [talk.client(text[:30])]
        for at in range(30, len(text), size):
            if said[-1][:5] not in ("block", "drop "):
                said.append(talk.client(text[at : at + size]))
        told = [(j.outcome.reason, j.classification and j.classification.names) for j in talk.judgements]
        ends.append((said[-1].split()[0], told))
    assert ends[0] == ends[1]


def test_a_great_reply() -> None:
    """The answer to a hello may come with all that the server has to say, as one packet."""
    talk = Talk(engine())
    assert [talk.opens(), talk.client(HELLO)] == [OPENING, YES]
    assert talk.server(server_hello() + bytes(GREAT)) == "accelerate confirmed"


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
