"""HTTP before a strict engine, as transcripts: every request head on a flow is judged (E12)."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfqdpi.core.verdict import Reason, Verdict
from nfqdpi.testing.http import request, response
from tests.core.transcript import ALLOWED, BLOCKED, CLOSED, OPEN, OPENING, WATCHED, Talk, Talks, engine

YES, NO = "inspect default", "block rule"


def test_a_blocked_host(talk: Talks) -> None:
    """The request never passes."""
    flow = talk()
    assert [flow.opens(), flow.client(request(BLOCKED))] == [OPENING, NO]


def test_an_allowed_host(talk: Talks) -> None:
    """The request passes and the flow stays in the queue: the next one may name another host."""
    flow = talk()
    assert [flow.opens(), flow.client(request(ALLOWED)), flow.client(request(BLOCKED))] == [OPENING, YES, NO]
    assert [j.outcome.verdict for j in flow.judgements] == [Verdict.ACCELERATE, Verdict.BLOCK]


def test_no_host(talk: Talks) -> None:
    """A request without Host is what the policy's default says."""
    flow = talk()
    assert [flow.opens(), flow.client(request(None, version="1.0"))] == [OPENING, "inspect no_name"]
    listed = talk(default=Verdict.BLOCK, exceptions=CLOSED)
    assert [listed.opens(), listed.client(request(ALLOWED))] == [OPENING, "block default"]


def test_pipelined(talk: Talks) -> None:
    """Requests in one segment are judged one by one; one blocked name blocks the segment."""
    flow = talk()
    assert [flow.opens(), flow.client(request(ALLOWED) * 3), flow.client(request(ALLOWED) + request(BLOCKED))] == [
        OPENING, YES, NO]
    assert len(flow.judgements) == 5


def test_a_head_in_pieces(talk: Talks) -> None:
    """Only the segment that completes the name is withheld (E5): not a later one, for a server may log what it has of
    a head when the connection ends."""
    flow = talk()
    assert [flow.opens(), *flow.clients(b"GET / HT", b"TP/1.1\r\nHost: blocked", b".example\r\n", b"\r\n")] == [
        OPENING, OPENING, OPENING, NO, NO]
    flow = talk()
    assert [flow.opens(), *flow.clients(b"GET / HTTP/1.1\r\nHost: allowed", b".example\r\n", b"\r\n")] == [
        OPENING, OPENING, OPENING, YES]
    flow = talk()
    assert [flow.opens(), *flow.clients(b"GET http://blocked.example/ HTTP/1.1", b"\r\n")] == [OPENING, OPENING, NO]


@given(st.lists(st.integers(1, 300), max_size=10))
def test_cut_anywhere(cuts: list[int]) -> None:
    """Pipelined requests decide alike under any cut: all allowed heads pass, the blocked one does not."""
    data = (request(ALLOWED, "Content-Length: 5", method="POST") + b"hello" + request(ALLOWED) + request(BLOCKED))
    edges = [0, *sorted(cut for cut in set(cuts) if cut < len(data)), len(data)]
    flow = Talk(engine())
    flow.opens()
    answers = flow.clients(*(data[low:high] for low, high in pairwise(edges)))
    first = answers.index(NO)
    named = data.rindex(b"Host: blocked.example\r\n") + len(b"Host: blocked.example\r\n")
    assert edges[first] < named <= edges[first + 1]
    assert set(answers[first:]) == {NO}
    assert [j.outcome.verdict.blocks for j in flow.judgements] == [False, False, True]


@pytest.mark.parametrize("method", [b"{GET", b"\x81\x82", b"\x16\x04", b"GET\0", b"M" * 9000])
def test_a_method_that_is_none(talk: Talks, method: bytes) -> None:
    """To some servers it is one. So a flow of no known protocol is read until the server answers: it is a request when
    its first line says so, and none when that is over or answered."""
    for name, last in ((BLOCKED, NO), (ALLOWED, "block malformed")):
        flow = talk()
        pieces = method + b" /", b"x HTTP/1", b".1\r\n", b"Host: ", f"{name}\r\n\r\n".encode()
        assert [flow.opens(), *flow.clients(*pieces)] == [
            OPENING, "confirm unknown_protocol", "confirm need_more", OPENING, OPENING, last]
        assert flow.server(response()) == last
    answered = talk()
    assert [answered.opens(), answered.client(method + b" /")] == [OPENING, "confirm unknown_protocol"]
    assert answered.server(b"what?") == "accelerate confirmed"
    over = talk()
    assert [over.opens(), *over.clients(method + b" /", b"x\n", b" HTTP/1.1\n")] == [
        OPENING, "confirm unknown_protocol", "confirm need_more", "confirm need_more"]
    assert len(over.judgements) == 1
    assert over.server(b"what?", acks=len(method) + 2) == "accelerate confirmed"
    listed = talk(exceptions=CLOSED)
    assert [listed.opens(), listed.client(method)] == [OPENING, "block unknown_protocol"]


def test_a_method_that_is_none_where_unknown_protocols_are_watched(talk: Talks) -> None:
    """They are read until the server answers, and then no more; in fast mode they are not."""
    watched = {**OPEN, Reason.UNKNOWN_PROTOCOL: Verdict.INSPECT}
    flow = talk(exceptions=watched)
    assert [flow.opens(), flow.client(b"{GET"), flow.client(request(BLOCKED))] == [
        OPENING, "confirm unknown_protocol", NO]
    for strict, first in ((True, "confirm unknown_protocol"), (False, "inspect unknown_protocol")):
        flow = talk(exceptions=watched, strict=strict)
        assert [flow.opens(), flow.client(b"{")] == [OPENING, first]
        assert flow.server(b"x")[:7] == "inspect"
        assert {flow.client(bytes(1000))[:7] for _ in range(100)} == {"inspect"}
        assert len(flow.judgements) == 1


@pytest.mark.parametrize("first", [b"\0", b"\x16\x04", b"\x01\0\0\0\x03x"])
def test_a_binary_protocol_by_the_byte(talk: Talks, first: bytes) -> None:
    """It is known to be no other as soon as before, whether a line ends in it or not."""
    flow = talk()
    flow.opens()
    said = flow.clients(*(bytes((byte,)) for byte in first + bytes(300)))
    assert said[:2].count("confirm unknown_protocol") == 1
    assert set(said[2:]) == {"confirm need_more"}
    assert flow.server(b"x") == "accelerate confirmed"


def test_behind_a_body_with_content_length(talk: Talks) -> None:
    """A body is skipped by its length, in whatever order it comes; what follows is a request."""
    flow = talk()
    head = request(ALLOWED, "Content-Length: 20", method="POST")
    assert [flow.opens(), flow.client(head + b"12345"), flow.client(b"1234567890")] == [OPENING, YES, OPENING]
    assert flow.client(b"67890" + request(BLOCKED)[:10]) == OPENING
    assert flow.client(request(BLOCKED)[10:]) == NO


@pytest.mark.parametrize(("body", "line"), [
    (b"{GET /x HTTP/1.1\r\nHost: b.example\r\n\r\n", True), (b"\r\n\x81\x82 /x\xa0HTTP/1.1\n", True),
    (b"{" * 60_000 + b" /x HTTP/1.1\n", True), (b'{"q": 1}\n/ HTTP/1.1\n', False), (b'{"q": "GET / HTTP/1.1"}', False),
])
def test_a_line_of_a_body_where_none_belongs(talk: Talks, body: bytes, line: bool) -> None:
    """Its first may not be a request's, whatever stands for a method, in any pieces."""
    for cut in {0, *range(1, min(len(body), 50)), len(body) - 2, len(body) - 9}:
        flow = talk()
        flow.opens()
        head = request(ALLOWED, f"Content-Length: {len(body)}")
        said = flow.clients(head, body[:cut], body[cut:], request(BLOCKED)) if cut else flow.clients(head + body)
        assert said[0] == (YES if cut or not line else "block malformed")
        assert not cut or said[1:] == ([OPENING] * 2 + [NO], [said[1], "block malformed", "block malformed"])[line]


def test_a_line_that_ends_behind_a_body(talk: Talks) -> None:
    """An empty line there ends what some server may have taken for a request's; another request makes it none."""
    for behind, verdict in ((request(ALLOWED), YES), (b"\r\n" + request(ALLOWED), "block malformed")):
        flow, body = talk(), b"{GET http://blocked.example/ HTTP/1.1"
        flow.opens()
        assert flow.client(request(ALLOWED, f"Content-Length: {len(body)}") + body) == YES
        assert flow.client(behind) == verdict


def test_a_long_body(talk: Talks) -> None:
    """A body longer than what is ever recorded passes."""
    flow = talk()
    flow.opens()
    size = 300_000
    assert flow.client(request(ALLOWED, f"Content-Length: {size}", method="POST")) == YES
    assert set(flow.clients(*[bytes(1000)] * (size // 1000))) == {OPENING}
    assert flow.client(request(BLOCKED)) == NO


def test_behind_a_chunked_body(talk: Talks) -> None:
    """A body is skipped chunk by chunk, with extensions and trailers (RFC 9112, 7.1)."""
    flow = talk()
    flow.opens()
    assert flow.client(request(ALLOWED, "Transfer-Encoding: chunked", method="POST")) == YES
    body = b"5\r\nhello\r\nA;name=value\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n"
    assert set(flow.clients(*(body[n : n + 1] for n in range(len(body))))) == {OPENING}
    assert flow.client(request(BLOCKED)) == NO
    once = talk()
    once.opens()
    assert once.client(request(ALLOWED, "Transfer-Encoding: gzip, chunked") + body + request(BLOCKED)) == NO


@pytest.mark.parametrize("body", [b"5\r\nhello!\r\n", b"x\r\n", b"-1\r\n", b"5\nhello", b"\r\n", b"5\r\nhello\n",
                                  b"5;\nx\r\nhello"])
def test_a_broken_chunk(talk: Talks, body: bytes) -> None:
    """A body whose end cannot be found hides the next request."""
    flow = talk()
    flow.opens()
    flow.client(request(ALLOWED, "Transfer-Encoding: chunked", method="POST"))
    assert flow.client(body) == "block malformed"


@pytest.mark.parametrize("chunk", [10, 100, 1000, 16000])
def test_a_chunked_upload_sent_again(talk: Talks, chunk: int) -> None:
    """Any segment of a window may be lost behind us and come again, the first of a GSO packet included: it passes, and
    what differs from it where it was read does not."""
    flow = talk()
    flow.opens()
    assert flow.client(request(ALLOWED, "Transfer-Encoding: chunked", method="POST")) == YES
    first, one = flow.sent, b"%x\r\n" % chunk + b"a" * chunk + b"\r\n"
    upload = one * ((128 if chunk < 100 else 1024) * 1024 // len(one))
    size = 40_000
    for at in range(0, len(upload), size):
        assert flow.client(upload[at : at + size]) in (OPENING, YES)
    for at in (*range(0, len(upload), 97 * 1448), len(upload) - 1448):
        assert flow.client(upload[at : at + 1448], at=first + at) == OPENING
    assert flow.client(b"9" + one[1:], at=first) == "block overlap"


def test_no_request_where_one_should_begin(talk: Talks) -> None:
    """Bytes behind the declared body are not a request: a lying length fails closed."""
    flow = talk()
    flow.opens()
    assert flow.client(request(ALLOWED, "Content-Length: 3", method="POST") + b"12345\0\r\n") == "block malformed"


def test_an_accepted_upgrade(talk: Talks) -> None:
    """After 101 the flow speaks another protocol, with the host that was judged."""
    flow = talk()
    flow.opens()
    assert flow.client(request(ALLOWED, "Upgrade: websocket")) == "confirm default"
    assert flow.server(response("101 Switching Protocols", "Upgrade: websocket")) == "accelerate confirmed"
    assert flow.client(b"\x81\x05hello") == "accelerate confirmed"


def test_an_upgrade_on_a_used_flow(talk: Talks) -> None:
    """Nobody has read the answers before it, so which one is its own cannot be told: HTTP goes on."""
    flow = talk()
    flow.opens()
    assert flow.client(request(ALLOWED)) == YES
    flow.unseen(response() + bytes(100_000))
    assert flow.client(request(ALLOWED, "Upgrade: websocket")) == YES
    assert flow.client(request(BLOCKED)) == NO
    switched = talk()
    switched.opens()
    assert switched.clients(request(ALLOWED), request(ALLOWED, "Upgrade: websocket"), b"\x81\x05hello") == [
        YES, YES, "block malformed"]


def test_a_websocket_on_a_used_flow(talk: Talks) -> None:
    """Its frames pass unread, in any pieces; a request behind one is judged; and nothing is accelerated."""
    flow = talk()
    frames = b"\x81\x85abcdhell\n" + b"\x82\xfe\x01\x00abcd" + bytes(256) + b"\xc1\x80abcd" + b"\x89\x80abcd"
    assert [flow.opens(), flow.client(request(ALLOWED))] == [OPENING, YES]
    flow.unseen(response())
    assert flow.client(request(ALLOWED, "Connection: Upgrade", "Upgrade: WebSocket")) == YES
    flow.unseen(response("101 Switching Protocols"))
    assert set(flow.clients(*(frames[n : n + 1] for n in range(len(frames))), frames * 50)) == {OPENING}
    assert flow.client(b"\x82\xff" + (1 << 20).to_bytes(8, "big") + b"abcd" + request(BLOCKED)) == OPENING
    assert set(flow.clients(*[bytes(1 << 14)] * 63, bytes((1 << 14) - len(request(BLOCKED))))) == {OPENING}
    assert [flow.client(request(ALLOWED)), flow.client(request(BLOCKED))] == [YES, NO]


@pytest.mark.parametrize("frames", [
    b"\x81\xacabcd /secret HTTP/1.1\r\nHost: blocked.example\r\n\r\n",
    b"\x81\x83abcd /x" + b"\x81\xfe HTTP/1.1\r\nHost: blocked.example",
    b"\x82\xff\0\0\0\0\0\1\0\0abcd" + b"x" * 65_000 + b" /x HTTP/1.1\r\n",
])
def test_frames_that_are_a_request(talk: Talks, frames: bytes) -> None:
    """A server that has not changed to WebSocket may take their first line for one, in any pieces."""
    for cut in range(1, 40):
        flow = talk()
        flow.opens()
        assert flow.clients(request(ALLOWED), request(ALLOWED, "Upgrade: websocket")) == [YES, YES]
        assert flow.clients(frames[:cut], frames[cut:])[1] == "block malformed"


@pytest.mark.parametrize("frame", [b"\x81\x05hello", b"\x83\x85abcdhello", b"\x0a\x80abcd", b"\x41\x85abcdhello",
                                   b"\x0a", b"\x88\xfe\0\x80abcd", b"\xf1\x85abcdhello"])
@pytest.mark.parametrize("offer", ["websocket", "websocket, x", "x"])
def test_what_is_no_frame(talk: Talks, frame: bytes, offer: str) -> None:
    """A client's frames are masked and have no bits that nobody knows, and no other protocol has frames (RFC 6455)."""
    flow = talk()
    assert [flow.opens(), flow.client(request(ALLOWED)), flow.client(request(ALLOWED, f"Upgrade: {offer}"))] == [
        OPENING, YES, YES]
    sent = frame if offer == "websocket" else b"\x81\x85abcdhello"
    assert flow.client(sent + request(BLOCKED))[:5] == "block"


@pytest.mark.parametrize("unacknowledged", [True, False])
def test_an_answer_repeated_for_another(talk: Talks, unacknowledged: bool) -> None:
    """E6: a server repeats what it was sent, and sends again what is not acknowledged. No part of an answer before
    counts as the answer to an upgrade, read or not."""
    switch = response("101 Switching Protocols")
    upgrade = request(ALLOWED, "Upgrade: websocket", f"Content-Length: {len(switch)}", method="POST") + switch
    echo = response("200 OK", f"Content-Length: {len(switch)}")
    read = talk()
    assert [read.opens(), read.client(upgrade), read.server(echo + switch)] == [OPENING, "confirm default", OPENING]
    end = read.received
    read.received = 0 if unacknowledged else end
    assert read.client(upgrade) == "confirm default"
    assert read.server(switch, at=len(echo)) == "confirm need_more"
    assert read.server(echo + switch, at=0) == "confirm need_more"
    assert read.server(switch, at=end) == "accelerate confirmed"
    unread = talk()
    assert [unread.opens(), unread.client(request(ALLOWED))] == [OPENING, YES]
    unread.received = 0 if unacknowledged else len(echo)
    assert unread.client(upgrade) == YES
    assert unread.server(switch, at=len(echo)) == OPENING
    assert unread.client(request(BLOCKED)) == NO


@pytest.mark.parametrize("fields", [(), ("Transfer-Encoding: chunked",), ("Content-Length: 1", "Content-Length: 2"),
                                    ("Content-Length: 9999999999",), ("Content-Length: x",)])
def test_a_refusal_without_a_certain_end(talk: Talks, fields: tuple[str, ...]) -> None:
    """Where the next answer begins is not known then, so none is waited for."""
    flow = talk()
    asks = request(ALLOWED, "Upgrade: websocket")
    assert [flow.opens(), flow.client(asks)] == [OPENING, "confirm default"]
    assert flow.server(response("426 Upgrade Required", *fields)) == OPENING
    assert [flow.client(asks), flow.client(request(BLOCKED))] == [YES, NO]


@pytest.mark.parametrize(("method", "status"), [("HEAD", "200 OK"), ("GET", "304 Not Modified"), ("GET", "204 No")])
def test_a_refusal_without_a_body(talk: Talks, method: str, status: str) -> None:
    """Whatever length it says (RFC 9112, 6.3), the next answer begins behind its head."""
    flow = talk()
    asks = request(ALLOWED, "Upgrade: websocket", method=method)
    assert [flow.opens(), flow.client(asks)] == [OPENING, "confirm default"]
    assert flow.server(response(status, "Content-Length: 9")) == OPENING
    assert flow.client(asks) == "confirm default"
    assert flow.server(response("101 Switching Protocols")) == "accelerate confirmed"


def test_methods_are_spelled_in_capitals(talk: Talks) -> None:
    """To a server "head" is another method than HEAD, whose answer may have a body: the next answer begins behind it
    (RFC 9110, 9.1). What answers "connect" opens no tunnel."""
    flow, body = talk(), response("101 Switching Protocols")
    assert [flow.opens(), flow.client(request(ALLOWED, "Upgrade: websocket", method="head"))] == [
        OPENING, "confirm default"]
    assert flow.server(response("200 OK", f"Content-Length: {len(body)}")) == OPENING
    end = flow.received
    assert flow.client(request(ALLOWED, "Upgrade: websocket")) == "confirm default"
    assert flow.server(body, at=end) == "confirm need_more"
    tunnel, asks = talk(), request(ALLOWED, method="connect", target=f"{ALLOWED}:443")
    assert [tunnel.opens(), tunnel.client(asks)] == [OPENING, YES]


def test_a_refused_upgrade(talk: Talks) -> None:
    """Any other final answer goes on with HTTP, and so do we; interim answers decide nothing (RFC 9110, 15.2)."""
    flow = talk()
    flow.opens()
    assert flow.client(request(ALLOWED, "Upgrade: websocket")) == "confirm default"
    assert flow.server(response("103 Early Hints")) == "confirm need_more"
    assert flow.server(response("200 OK", "Content-Length: 4") + b"bo") == OPENING
    flow.unseen(b"dy")
    assert flow.client(request(ALLOWED, "Upgrade: websocket")) == "confirm default"
    assert flow.server(response("426 Upgrade Required")) == OPENING
    assert flow.client(request(BLOCKED)) == NO


def test_nothing_follows_an_open_upgrade(talk: Talks) -> None:
    """A server that refuses would take what follows for a request, so it waits for the answer, or is blocked where it
    cannot be told apart from the request."""
    asks = request(ALLOWED, "Upgrade: websocket")
    flow = talk()
    flow.opens()
    assert flow.client(asks) == "confirm default"
    assert flow.client(request(BLOCKED)) == "drop out_of_window"
    assert flow.client(asks, at=0) == "confirm need_more"
    assert flow.server(response()) == OPENING
    assert flow.client(request(BLOCKED), at=len(asks)) == NO
    together = talk()
    assert [together.opens(), together.client(asks + request(BLOCKED))] == [OPENING, "block malformed"]
    ahead = talk()
    assert [ahead.opens(), ahead.client(request(BLOCKED), at=len(asks)), ahead.client(asks, at=0)] == [
        OPENING, OPENING, "block malformed"]


def test_connect(talk: Talks) -> None:
    """A tunnel is asked for by name; a refused one leaves HTTP behind (RFC 9110, 9.3.6)."""
    flow = talk()
    assert [flow.opens(), flow.client(request(None, method="CONNECT", target=f"{BLOCKED}:443"))] == [OPENING, NO]
    flow = talk()
    flow.opens()
    tunnel = request(None, method="CONNECT", target=f"{ALLOWED}:443")
    assert flow.client(tunnel) == "confirm default"
    assert flow.server(response("407 Proxy Authentication Required", "Content-Length: 1") + b"x") == OPENING
    assert flow.client(tunnel) == "confirm default"
    assert flow.server(response("200 Connection established")) == "accelerate confirmed"


def test_http2_in_the_clear(talk: Talks) -> None:
    """A server that switches to HTTP/2 would read any authority there, so an upgrade to it leads nowhere."""
    flow = talk()
    flow.opens()
    assert flow.client(request(ALLOWED, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c")) == YES
    assert flow.client(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") == "block malformed"
    known = talk()
    assert [known.opens(), known.client(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")] == [OPENING, "block malformed"]


def test_watched_hosts(talk: Talks) -> None:
    """A rule that says inspect keeps the flow in the queue, and every request is still judged."""
    flow = talk()
    assert [flow.opens(), flow.client(request(WATCHED)), flow.client(request(BLOCKED))] == [OPENING, "inspect rule", NO]


def test_any_blocked_name_blocks(talk: Talks) -> None:
    """Servers differ in which of several names they take."""
    for data in (request(ALLOWED, f"Host: {BLOCKED}"), request(ALLOWED, target=f"http://{BLOCKED}/"),
                 request(BLOCKED, target=f"http://{ALLOWED}/"),
                 request(ALLOWED, method="CONNECT", target=f"{BLOCKED}:80")):
        flow = talk()
        assert [flow.opens(), flow.client(data)] == [OPENING, NO]
