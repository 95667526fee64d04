"""Bodies and chunks to where the next request begins."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfqdpi.core.classifier import Answer, Classification, Classify, Step
from nfqdpi.plugins.http import classifier
from nfqdpi.testing.http import request
from tests.plugins import prefixes
from tests.plugins.prefixes import answer, settles

classify = classifier.classify
unit = partial(prefixes.unit, classify)


def after(found: Answer) -> tuple[int, int]:
    """(what the unit takes, what it skips)."""
    assert isinstance(found, Classification | Step)
    return found.length, found.skip


def test_a_body_by_its_length() -> None:
    """The body is skipped, never read."""
    head = request("a.example", "Content-Length: 17", "content-length: 17", method="POST")
    assert after(unit(head)) == (len(head), 17)


@pytest.mark.parametrize("line", ["foo", "Content-Length : 5", "Content-Length\t: 5", "\x0bContent-Length: 5", ": x",
                                  "a b: x", "\xe9: x", "\x1cContent-Length: 5"])
@pytest.mark.parametrize("framing", ["Content-Length: 5", "Transfer-Encoding: chunked"])
def test_a_line_that_is_no_field_beside_a_length(line: str, framing: str) -> None:
    """Some servers stop reading the head there, and see no length behind it (RFC 9112, 5.1)."""
    assert unit(request("a.example", line, framing, method="POST")).flaw
    assert not unit(request("a.example", "X!#$%&'*+-.^_`|~9: 5", framing, method="POST")).flaw


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "post"])
@pytest.mark.parametrize(("body", "flaw"), [
    (b'{"query": "GET / HTTP/1.1"}', False), (b"word", False), (b"\r\n", False), (b"a=b c=d\r\n", False),
    (b"two words\r\n", False), (request("b.example"), True), (b"\r\n" + request("b.example"), True),
    (b"GET http://b.example/ HTTP/1.1", True), (b"GET\x1chttp://b.example/\x1cHTTP/1.1", True),
    (b"GET http://b.example/\r\n", True),
])
def test_a_body_where_none_belongs(method: str, body: bytes, flaw: bool) -> None:
    """A server that does not read it takes it for the next request; so it may not be one."""
    data = request("a.example", f"Content-Length: {len(body)}", method=method)
    then = unit(data).then
    assert then is not None
    found = settles(then, body + request("c.example"))
    assert isinstance(found, Classification) is flaw
    assert isinstance(found, Step) is not flaw
    assert not isinstance(found, Step) or found.length + found.skip == len(body)
    assert unit(request("a.example", "Upgrade: websocket", "Content-Length: 5", method=method)).flaw


def test_a_body_in_chunks() -> None:
    """Each chunk is a step: its header, its data, the line end; the last one leads to the next request."""
    reader = unit(request("a.example", "Transfer-Encoding: Gzip,\tChunked")).then
    assert reader is not None
    for data, step in ((b"1F;x=\"y\"\r\n", (10, 31)), (b"\r\n", (2, 0)), (b"0\r\nA: b\r\nC: d\r\n\r\n", (17, 0)),
                       (request("b.example"), (len(request("b.example")), 0))):
        found = answer(reader, data)
        assert after(found) == step
        assert isinstance(found, Classification | Step)
        assert found.then is not None
        reader = found.then


@given(st.lists(st.integers(1, 40), max_size=20), st.integers(1, 300))
def test_small_chunks_are_read_together(sizes: list[int], cut: int) -> None:
    """As many as are there, in one step; what is read in pieces ends where the whole does."""
    then = unit(request("a.example", "Transfer-Encoding: chunked")).then
    assert then is not None
    body = b"".join(b"%x\r\n" % size + b"\n" * size + b"\r\n" for size in sizes) + b"0\r\n\r\n"
    assert _read_on(then, body) == _read_on(then, body[:cut], body[cut:]) == len(body)
    small = next((number for number, size in enumerate(sizes) if size > 32), len(sizes))
    first = then(body)
    assert isinstance(first, Step)
    assert not small or first.length == sum(len(b"%x" % size) + size + 4 for size in sizes[:small])


def _read_on(then: Classify, *pieces: bytes) -> int:
    """How many bytes of a body are behind us when another request may begin."""
    read, prefix, skip = 0, b"", 0
    for piece in pieces:
        prefix += piece
        while prefix[skip:] and isinstance(found := then(prefix[skip:]), Step):
            prefix, skip = prefix[skip + found.length :], found.skip
            read, then = read + found.length + found.skip, found.then
            prefix, skip = prefix[skip:], max(0, skip - len(prefix))
    return read


def test_no_chunk() -> None:
    """A chunk's header that never ends is not waited for."""
    reader = unit(request("a.example", "Transfer-Encoding: chunked")).then
    assert reader is not None
    for data in (b"g\r\n", b"1" * 17 + b"\r\n", b"5\n", b"5;\nx\r\n", b"\r\n", b"0\r\n\n", b"0\r\nA: b\rC: d\r\n\r\n",
                 b"0\r\nA: b\n", b"0\r\nA: b\r\r\n\r\n", b"0\r\n\r\r\n\r\n"):
        found = settles(reader, data)
        assert isinstance(found, Classification), data
        assert found.flaw
    assert isinstance(reader(b"5;" + bytes(70_000)), Classification)
    trailers = b"0\r\n" + b"X: y\r\n" * 1365
    assert isinstance(answer(reader, trailers + b"\r\n"), Step)
    assert isinstance(settles(reader, trailers + b"X: y\r\n\r\n"), Classification)
