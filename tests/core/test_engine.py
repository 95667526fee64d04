"""What a strict engine does with a flow, whatever its protocol, as transcripts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfqdpi.core.decision import Decision, Path
from nfqdpi.core.verdict import Reason, Verdict
from nfqdpi.testing.http import request
from nfqdpi.testing.packets import ACK, CLIENT, FIN, PSH, RST, SERVER, SYN, URG, ip, tcp, udp
from nfqdpi.testing.tls import extension, hello, server_hello
from tests.core.transcript import (
    ALLOWED,
    BAD,
    BLOCKED,
    CLOSED,
    HELLO,
    JUNK,
    NO,
    OPENING,
    YES,
    Talk,
    Talks,
    engine,
    line,
)

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


def test_an_opening_sent_twice() -> None:
    """A SYN+ACK that comes again changes nothing, before the client's first word and after it."""
    talk = Talk(engine())
    assert [talk.opens(), talk.opens(), talk.client(HELLO)] == [OPENING, OPENING, YES]
    assert talk.opens() == "confirm need_more"
    assert talk.server(server_hello()) == "accelerate confirmed"


def test_an_end_before_the_beginning(talk: Talks) -> None:
    """A FIN below the stream's base is dropped, and ends nothing (E4)."""
    flow = talk()
    assert [flow.opens(), flow.client(b"", at=-10_000, flags=FIN | ACK)] == [OPENING, "drop out_of_window"]
    assert flow.client(HELLO, at=0) == YES


# --- whose word it is, by the interface ---


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


# --- great packets ---


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


# --- anything at all ---


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
