"""TLS before a strict engine, as transcripts."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfqdpi.core.verdict import Reason, Verdict
from nfqdpi.testing.tls import (
    CHANGE_CIPHER_SPEC,
    GREASE,
    RETRY,
    extension,
    hello,
    hello_message,
    real_hello,
    record,
    records,
    server_hello,
)
from tests.core.transcript import ALLOWED, BLOCKED, CLOSED, OPEN, OPENING, SILENT, WATCHED, Talk, Talks, engine

BIG = {name: hello(name, quantum=True) for name in (ALLOWED, BLOCKED)}


@pytest.mark.parametrize("make", [hello, real_hello, lambda name: hello(name, quantum=True)],
                         ids=["by hand", "OpenSSL", "post-quantum"])
def test_a_blocked_name(talk: Talks, make: Callable[[str], bytes]) -> None:
    """The ClientHello never passes, and neither does anything behind it."""
    flow = talk()
    assert flow.opens() == OPENING
    assert flow.clients(make(BLOCKED), b"more") == ["block rule", "block rule"]
    assert flow.server(b"late") == "block rule"
    [judgement] = flow.judgements
    assert (judgement.outcome.rule, judgement.classification and judgement.classification.name) == ("no", BLOCKED)


def test_a_silently_blocked_name(talk: Talks) -> None:
    """The rule says how the block answers."""
    flow = talk()
    assert [flow.opens(), flow.client(hello(SILENT))] == [OPENING, "block_silent rule"]


def test_an_allowed_name(talk: Talks) -> None:
    """The kernel takes over only when the server has answered the ClientHello that was judged (E6)."""
    flow = talk()
    assert [flow.opens(), flow.client(hello(ALLOWED))] == [OPENING, "confirm default"]
    assert flow.server(server_hello()) == "accelerate confirmed"
    assert [flow.client(b"queued behind it"), flow.server(b"too")] == ["accelerate confirmed"] * 2


def test_no_name(talk: Talks) -> None:
    """A ClientHello without SNI is allowed or not by the policy's default."""
    flow = talk()
    assert [flow.opens(), flow.client(hello(None)), flow.server(server_hello())] == [
        OPENING, "confirm no_name", "accelerate confirmed"]
    strict = talk(exceptions=CLOSED)
    assert [strict.opens(), strict.client(hello(None))] == [OPENING, "block no_name"]


def test_allowlist(talk: Talks) -> None:
    """With default block, a name without a rule is blocked."""
    flow = talk(default=Verdict.BLOCK)
    assert [flow.opens(), flow.client(hello(ALLOWED))] == [OPENING, "block default"]


def test_a_server_hello_in_pieces(talk: Talks) -> None:
    """The reply may come in any order; it counts once its message is whole."""
    flow, reply = talk(), server_hello(padding=3000)
    flow.opens()
    flow.client(hello(ALLOWED))
    assert flow.server(reply[50:1400], at=50) == "confirm need_more"
    assert flow.server(reply[:30], at=0) == "confirm need_more"
    assert flow.server(reply[30:50], at=30) == "accelerate confirmed"


def test_a_reply_that_acknowledges_too_little(talk: Talks) -> None:
    """A server that does not have the whole ClientHello answers something else (E6)."""
    flow = talk()
    flow.opens()
    size = len(hello(ALLOWED))
    flow.client(hello(ALLOWED))
    assert flow.server(server_hello(), acks=size - 1) == "confirm need_more"
    assert flow.server(server_hello(), at=0) == "accelerate confirmed"


@pytest.mark.parametrize("reply", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", record(b"\x02\x28", kind=21), bytes(20),
                                   record(b"\x02\0", version=0x0303) + record(b"x", kind=21)])
def test_a_reply_that_is_no_server_hello(talk: Talks, reply: bytes) -> None:
    """The flow stays with us, whatever the server says instead."""
    flow = talk()
    flow.opens()
    flow.client(hello(ALLOWED))
    assert flow.server(reply) == "confirm need_more"
    assert flow.client(hello(BLOCKED), at=0) == "block overlap"


def test_hello_retry_request(talk: Talks) -> None:
    """The second ClientHello is judged like the first (RFC 8446, 4.1.4)."""
    for name, end in ((ALLOWED, "confirm default"), (BLOCKED, "block rule")):
        flow = talk()
        assert [flow.opens(), flow.client(hello(ALLOWED)), flow.server(server_hello(RETRY))] == [
            OPENING, "confirm default", OPENING]
        assert flow.clients(CHANGE_CIPHER_SPEC, hello(name)) == [OPENING, end]
    flow = talk()
    flow.opens()
    flow.client(hello(ALLOWED))
    flow.server(server_hello(RETRY) + CHANGE_CIPHER_SPEC)
    flow.client(CHANGE_CIPHER_SPEC + record(bytes(100), kind=23) + hello(ALLOWED))
    assert flow.server(server_hello()) == "accelerate confirmed"


def test_after_a_retry_nothing_else_will_do(talk: Talks) -> None:
    """What is no second ClientHello could be anything."""
    flow = talk()
    flow.opens()
    flow.client(hello(ALLOWED))
    flow.server(server_hello(RETRY))
    assert flow.client(b"GET / HTTP/1.1\r\n") == "block malformed"


def test_cut_at_every_byte(talk: Talks) -> None:
    """Wherever a 1.9 kB ClientHello is cut in two, and whichever half comes first, the decision is the same."""
    for name, end in ((ALLOWED, "confirm default"), (BLOCKED, "block rule")):
        data = BIG[name]
        assert 1900 <= len(data) < 2000
        for cut in range(1, len(data)):
            first, second = talk(), talk()
            assert [first.opens(), *first.clients(data[:cut], data[cut:])] == [OPENING, OPENING, end]
            assert [second.opens(), second.client(data[cut:], at=cut), second.client(data[:cut], at=0)] == [
                OPENING, OPENING, end]


@given(st.sampled_from([ALLOWED, BLOCKED]), st.lists(st.integers(1, 1899), max_size=12), st.randoms(),
       st.lists(st.integers(0, 12), max_size=6), st.integers(0, (1 << 32) - 1))
def test_any_pieces_in_any_order(name: str, cuts: list[int], order: object, twice: list[int], isn: int) -> None:
    """Many pieces, shuffled and repeated, decide as the whole does, with the piece that makes it whole."""
    data, flow = BIG[name], Talk(engine(), isn=isn)
    edges = [0, *sorted(set(cuts)), len(data)]
    pieces = list(pairwise(edges))
    pieces += [pieces[n % len(pieces)] for n in twice]
    order.shuffle(pieces)  # type: ignore[attr-defined]  # hypothesis's own random
    flow.opens()
    answers, there = [], set[tuple[int, int]]()
    for low, high in pieces:
        answers.append(flow.client(data[low:high], at=low))
        there.add((low, high))
        if len(there) < len(edges) - 1:
            assert answers[-1] == OPENING
    assert ("block rule" if name == BLOCKED else "confirm default") in answers
    assert len(flow.judgements) == 1


@pytest.mark.parametrize("size", [1, 2, 7, 100, 1000])
def test_cut_over_records(talk: Talks, size: int) -> None:
    """A ClientHello over many records is one ClientHello (RFC 8446, 5.1)."""
    flow = talk()
    assert [flow.opens(), flow.client(records(hello(BLOCKED)[5:], size))] == [OPENING, "block rule"]


@pytest.mark.parametrize("data", [
    pytest.param(record(b"\x01", kind=20) + hello(ALLOWED), id="change_cipher_spec first"),
    pytest.param(record(b"") + hello(ALLOWED), id="empty record first"),
    pytest.param(record(hello(ALLOWED)[5:9]) + record(b"\x01", kind=20) + record(hello(ALLOWED)[9:]), id="broken off"),
    pytest.param(record(hello_message() + b"x"), id="bytes behind it in its record"),
])
def test_malformed_hellos_are_blocked(talk: Talks, data: bytes) -> None:
    """What some servers overlook and others do not is blocked, not guessed at."""
    flow = talk()
    assert [flow.opens(), flow.client(data)] == [OPENING, "block malformed"]


def test_watched_names_stay_in_the_queue(talk: Talks) -> None:
    """A rule that says inspect passes the flow and keeps it, through the whole handshake of any version."""
    flow = talk()
    assert [flow.opens(), flow.client(hello(WATCHED)), flow.server(server_hello(padding=100))] == [
        OPENING, "confirm rule", "inspect confirmed"]
    assert flow.clients(record(b"\x10" + bytes(70)), CHANGE_CIPHER_SPEC, record(bytes(900), kind=23)) == [OPENING] * 3
    assert flow.client(bytes(1400), at=1 << 20) == OPENING
    retried = talk()
    assert [retried.opens(), retried.client(hello(WATCHED)), retried.server(server_hello(RETRY)),
            retried.client(hello(BLOCKED))] == [OPENING, "confirm rule", OPENING, "block rule"]


def test_a_second_hello_before_the_reply(talk: Talks) -> None:
    """A server that will ask for another hello reads it at once if it is there already: it must not be."""
    flow = talk()
    assert [flow.opens(), *flow.clients(hello(ALLOWED), hello(BLOCKED))] == [
        OPENING, "confirm default", "block malformed"]
    together = talk()
    assert [together.opens(), together.client(hello(ALLOWED) + hello(BLOCKED))] == [OPENING, "block malformed"]
    ahead = talk()
    size = len(hello(ALLOWED))
    assert [ahead.opens(), ahead.client(hello(BLOCKED), at=size), ahead.client(hello(ALLOWED), at=0)] == [
        OPENING, OPENING, "block malformed"]


def test_early_data_passes(talk: Talks) -> None:
    """What a client may send before the reply passes: 0-RTT data, and an alert where it gives up (RFC 8446, 2.3)."""
    flow = talk()
    flow.opens()
    assert flow.client(hello(ALLOWED) + CHANGE_CIPHER_SPEC + record(bytes(50), kind=23)) == "confirm default"
    assert flow.clients(record(bytes(500), kind=23)[:200], bytes(305), record(b"\x01\0", kind=21)) == [
        "confirm need_more"] * 3
    assert flow.server(server_hello()) == "accelerate confirmed"


def test_a_server_that_asks_twice(talk: Talks) -> None:
    """However often a server asks for another ClientHello, each one is judged."""
    flow = talk()
    flow.opens()
    for _ in range(3):
        assert [flow.client(hello(ALLOWED)), flow.server(server_hello(RETRY))] == ["confirm default", OPENING]
    assert flow.client(hello(BLOCKED)) == "block rule"


def test_a_reply_that_got_by(talk: Talks) -> None:
    """What the client has read and we have not seen went past a full queue, if ours was: the flow is as one older than
    we are. If it was not, the client has forged its acknowledgement."""
    for exceptions, end in ((OPEN, "accelerate midstream"), (CLOSED, "block midstream")):
        flow = talk(exceptions=exceptions)
        assert [flow.opens(), flow.client(hello(ALLOWED))] == [OPENING, "confirm default"]
        flow.unseen(server_hello())
        flow.engine.overflow(flow.now - 5)
        assert flow.client(b"\x16\x03\x03\x00\x01\x10") == end


def test_a_flawed_hello_with_a_blocked_name(talk: Talks) -> None:
    """Whatever malformed input gets: a name that a rule blocks is blocked by that rule."""
    flow = talk(exceptions={**OPEN, Reason.MALFORMED: Verdict.ACCELERATE})
    data = hello(BLOCKED, extension(GREASE))  # twice
    assert [flow.opens(), flow.client(data)] == [OPENING, "block rule"]


def test_a_reply_that_cannot_have_got_by(talk: Talks) -> None:
    """Without a full queue, an acknowledgement of what we have not seen excuses nothing."""
    flow = talk()
    assert [flow.opens(), flow.client(hello(ALLOWED))] == [OPENING, "confirm default"]
    flow.unseen(server_hello())
    assert flow.client(hello(BLOCKED), at=0) == "block overlap"


def test_no_end_of_records_before_the_answer() -> None:
    """Records that no server heeds, behind a hello that none has answered: a few hundred at most."""
    for number, expected in ((200, "confirm need_more"), (300, "block malformed")):
        talk = Talk(engine())
        talk.opens()
        talk.client(hello(ALLOWED))
        assert talk.client(CHANGE_CIPHER_SPEC * number) == expected
