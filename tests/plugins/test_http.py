"""Requests to their hosts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfqdpi.core.classifier import NEED_MORE, NO_MATCH, Answer, Classification, Classify, Glimpse, Pending, Reply, Step
from nfqdpi.plugins.http import classifier
from nfqdpi.testing.http import request, response
from tests.plugins.prefixes import answer, settles

classify = classifier.classify


def unit(data: bytes) -> Classification:
    """The one request that ``data`` is, fed in every way."""
    found = answer(classify, data)
    assert isinstance(found, Classification)
    assert found.length == len(data)
    return found


def host(*lines: str, eol: str = "\r\n") -> bytes:
    """A GET with these lines behind the first."""
    return request(None, *lines, eol=eol)


@pytest.mark.parametrize(("data", "names"), [
    pytest.param(request("a.example"), ("a.example",), id="plain"),
    pytest.param(request("A.Example"), ("a.example",), id="upper case"),
    pytest.param(request("a.example."), ("a.example",), id="trailing dot"),
    pytest.param(request("a.example:8080"), ("a.example",), id="port"),
    pytest.param(request("a.example:"), ("a.example",), id="empty port"),
    pytest.param(request("[fd00::1]:80"), ("fd00::1",), id="IPv6 literal"),
    pytest.param(request("10.0.0.1"), ("10.0.0.1",), id="IPv4 literal"),
    pytest.param(request("under_score.example"), ("under_score.example",), id="underscore"),
    pytest.param(host("HOST:a.example"), ("a.example",), id="no space"),
    pytest.param(host("hOsT:\t \ta.example \t"), ("a.example",), id="tabs and spaces"),
    pytest.param(host("Host : a.example"), ("a.example",), id="space before the colon"),
    pytest.param(host("X-Host: b.example", "Host: a.example"), ("a.example",), id="another field"),
    pytest.param(host("Host: a.example", "Host: A.example."), ("a.example",), id="twice the same"),
    pytest.param(host("Host: a.example", "Host: b.example"), ("a.example", "b.example"), id="two hosts"),
    pytest.param(host("Host: a.example", eol="\n"), ("a.example",), id="LF"),
    pytest.param(b"\r\n\n\r\n" + request("a.example"), ("a.example",), id="blank lines first"),
    pytest.param(host("no field", ": y", "X y: z", "Host: a.example"), ("a.example",), id="lines that are no fields"),
    pytest.param(host("Host\x0b: a.example"), ("a.example",), id="VT before the colon"),
    pytest.param(b" \t" + request("a.example"), ("a.example",), id="blanks first"),
    pytest.param(b"GET \t /  HTTP/1.1 \r\nHost: a.example\r\n\r\n", ("a.example",), id="more blanks"),
    pytest.param(b"GET\x0b/\x0cHTTP/1.1\r\nHost: a.example\r\n\r\n", ("a.example",), id="VT and FF (RFC 9112, 3)"),
    pytest.param(b"GET /a b HTTP/1.1\r\nHost: a.example\r\n\r\n", ("a.example",), id="blank in the target"),
    pytest.param(request("a.example", method="get"), ("a.example",), id="lower-case method"),
    pytest.param(request("a.example", method="M" * 300), ("a.example",), id="long method"),
    pytest.param(request("a.example", method="1M-SEARCH"), ("a.example",), id="digit first"),
    pytest.param(request("a.example", version="1.0"), ("a.example",), id="HTTP/1.0"),
    pytest.param(request(None), (), id="no host"),
    pytest.param(request(""), (), id="empty host"),
    pytest.param(request(None, target="http://a.example/x?y=//b"), ("a.example",), id="absolute target"),
    pytest.param(request(None, target="HTTPS://u:p@a.example:1#x"), ("a.example",), id="absolute, user and port"),
    pytest.param(request("a.example", target="http://b.example"), ("a.example", "b.example"), id="target and host"),
    pytest.param(request("a.example", target="/http://b.example"), ("a.example",), id="path that looks absolute"),
    pytest.param(request(None, method="CONNECT", target="a.example:443"), ("a.example",), id="CONNECT"),
])
def test_hosts(data: bytes, names: tuple[str, ...]) -> None:
    """Every name that a server could take is found, however it is written."""
    found = unit(data)
    assert (found.names, found.flaw) == (names, "")


@pytest.mark.parametrize("data", [
    pytest.param(request("a b"), id="blank in the host"),
    pytest.param(request("a.example..."), id="more dots than one"),
    pytest.param(request(".a.example"), id="dot first"),
    pytest.param(request("a..example"), id="empty label"),
    pytest.param(request("a.example:80:80"), id="two ports"),
    pytest.param(request("a.example/"), id="path"),
    pytest.param(request("x@a.example"), id="user"),
    pytest.param(request("a\0.example"), id="NUL"),
    pytest.param(request("b\xfccher.example"), id="not ASCII"),
    pytest.param(request("%61.example"), id="percent"),
    pytest.param(request("a." * 127 + "a"), id="255 bytes"),
    pytest.param(request("a.example", target="http://u@b@c.example/"), id="two users"),
    pytest.param(host("Host:", " a.example"), id="folded"),
    pytest.param(host("X: y\rHost: b.example", "Host: a.example"), id="bare CR in a field"),
    pytest.param(host("Host: a.example\r"), id="CR CR LF"),
    pytest.param(b"GET / HTTP/1.1\r\n\rHost: b.example\r\nHost: a.example\r\n\r\n", id="bare CR before a field"),
    pytest.param(host("Host: a.example", "X: \0y"), id="NUL in a field"),
    pytest.param(request("a.example", version="2.0"), id="HTTP/2"),
    pytest.param(request("a.example", version="1.10"), id="two-digit minor"),
    pytest.param(b"GET / http/1.1\r\nHost: a.example\r\n\r\n", id="lower-case HTTP"),
    pytest.param(b"GET / HTTP/1.1 x\r\nHost: a.example\r\n\r\n", id="words behind the version"),
    pytest.param(b"GET HTTP/1.1\r\nHost: a.example\r\n\r\n", id="no target"),
    pytest.param(request("a.example", "Content-Length: 5", "Content-Length: 6"), id="two lengths"),
    pytest.param(request("a.example", "Content-Length: 5, 5"), id="a list of lengths"),
    pytest.param(request("a.example", "Content-Length: +5"), id="signed length"),
    pytest.param(request("a.example", "Content-Length:"), id="empty length"),
    pytest.param(request("a.example", "Content-Length: " + "9" * 19), id="length past 2^63"),
    pytest.param(request("a.example", "Content-Length: 5", "Transfer-Encoding: chunked"), id="length and chunks"),
    pytest.param(request("a.example", "Transfer-Encoding: chunked", version="1.0"), id="chunks in HTTP/1.0"),
    pytest.param(request("a.example", "Transfer-Encoding: gzip"), id="not chunked"),
    pytest.param(request("a.example", "Transfer-Encoding: chunked", "Transfer-Encoding: x"), id="chunked not last"),
    pytest.param(request("a.example", "Transfer-Encoding: xchunked"), id="almost chunked"),
    pytest.param(b"\r\n" * 4097 + request("a.example"), id="8 KiB of empty lines"),
])
def test_flaws(data: bytes) -> None:
    """Where servers differ in what they read, the request is flawed."""
    found = settles(classify, data)
    assert isinstance(found, Classification)
    assert found.flaw


@pytest.mark.parametrize("data", [
    b"\x16\n", b"\0\1\2\3 anything\r\n", b"{\n", b'{"a": "HTTP/1.1"}\n', b"SSH-2.0-x\r\n", b"EHLO a.example\r\n",
    b"M" * 9000 + b"\n", b"GET\r\n", b"HTTP/1.1 200 OK\r\n", b"{" * 65536,
])
def test_other_protocols(data: bytes) -> None:
    """What no HTTP/1 server would answer as a request with a host is not ours."""
    assert settles(classify, data) is NO_MATCH


@pytest.mark.parametrize("method", [
    b"{GET", b"G(T", b"@", b"GET,", b"GET\0", b"/", b"\x81\x82", b"\x16\x03\x01", b"\xe9", b"\xef\xbb\xbfGET",
    b"M" * 9000,
])
def test_a_method_that_is_none(method: bytes) -> None:
    """Python's own server takes any word for one. Until the line ends, it is another protocol's most likely."""
    for blank in (b" ", b"\x1c", b"\xa0"):
        line = method + blank + b"http://b.example/" + blank + b"HTTP/1.1"
        doubt = classify(line)
        assert isinstance(doubt, Glimpse)
        assert (doubt.protocol, doubt.names) == ("", ())
        found = settles(classify, line + b"\r\nHost: a.example\r\n\r\n")
        assert isinstance(found, Classification)
        assert found.flaw == "not a request line of HTTP/1"
        assert found.names == ("a.example", "b.example")[: 2 if blank == b" " else 1]


def test_attributes() -> None:
    """Events show the method and the target, in ASCII."""
    assert unit(request("a.example", method="POST", target="/\xff")).attributes == {"method": "POST", "url": "/\\xff"}


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


def test_replies_to_an_upgrade() -> None:
    """101 accepts, any other final status refuses, interim ones are passed over (RFC 9110, 15.2)."""
    confirm = unit(request("a.example", "Upgrade: websocket")).confirm
    assert confirm is not None
    early = response("103 Early Hints", "Link: x")
    for status, accepted in (("101 Switching Protocols", True), ("200 OK", False), ("500 Oops", False)):
        data = early + response(status)
        assert {confirm(data[:n]) for n in range(len(data))} == {NEED_MORE}
        assert confirm(data + b"body") == Reply(accepted, len(data), 0 if accepted else None)
    assert confirm(b"SSH-2.0-x\r\n\r\n") is NEED_MORE


def test_replies_to_connect() -> None:
    """A 2xx opens the tunnel, unless it has a body or can have none: the server then took CONNECT for a request like
    any other, and goes on speaking HTTP (RFC 9110, 9.3.6 and 15.3.5)."""
    confirm = unit(request(None, method="CONNECT", target="a.example:443")).confirm
    assert confirm is not None
    for status, accepted in (("200 OK", True), ("299 x", True), ("407 x", False), ("101 x", False), ("204 x", False),
                             ("205 x", False)):
        skip = 0 if accepted or status == "204 x" else None
        assert confirm(response(status)) == Reply(accepted, len(response(status)), skip)
    for field, skip in (("Content-Length: 0", 0), ("content-length : 7", 7), ("Transfer-Encoding: chunked", None),
                        ("X: y\r\nContent-Length: 0", 0)):
        assert confirm(response("200 OK", field)) == Reply(False, len(response("200 OK", field)), skip)
    early = response("103 x", "Content-Length: 0") + response()
    assert confirm(early) == Reply(True, len(early))


@pytest.mark.parametrize(("method", "status", "fields", "skip"), [
    ("GET", "200 OK", ("Content-Length: 5",), 5),
    ("GET", "200 OK", (), None),
    ("HEAD", "200 OK", ("Content-Length: 5",), 0),
    ("GET", "304 x", ("Content-Length: 5",), 0),
    ("GET", "204 x", (), 0),
    ("GET", "200 x", ("Content-Length: -1",), None),
    ("GET", "200 x", ("Content-Length: 5", "Content-Length: 6"), None),
    ("GET", "200 x", ("Content-Length: 2147483648",), None),
    ("GET", "200 x", ("Content-Length: 5", "Transfer-Encoding: chunked"), None),
])
def test_where_a_refusal_ends(method: str, status: str, fields: tuple[str, ...], skip: int | None) -> None:
    """By RFC 9112, 6.3; what is not certain is not guessed."""
    confirm = unit(request("a.example", "Upgrade: websocket", method=method)).confirm
    assert confirm is not None
    head = response(status, *fields)
    assert confirm(head + b"12345") == Reply(False, len(head), skip)


def test_upgrades() -> None:
    """A request to leave HTTP/1 holds what follows; HTTP/2 in the clear is never left to (RFC 9110, 7.8)."""
    assert unit(request("a.example", "upgrade: WebSocket")).hold
    for offer in ("h2c", "H2C", "websocket, h2c"):
        assert not unit(request("a.example", f"Upgrade: {offer}")).hold


@given(st.binary(max_size=300) | st.lists(st.sampled_from([
    b"GET", b" ", b"/", b"HTTP/1.1", b"\r\n", b"\n", b"\r", b"Host:", b"a.example", b"\0",
    b"Transfer-Encoding: chunked", b"Content-Length: 3", b"0", b"5;", b"Upgrade: x", b"\t", b":"]),
    max_size=25).map(b"".join))
def test_any_bytes_have_an_answer(data: bytes) -> None:
    """Whatever a client sends: never an exception, and every reader behind a unit is as total as the first."""
    readers = [classify]
    seen = 0
    while data and readers and seen < 50:
        found = readers.pop()(data)
        seen += 1
        if isinstance(found, Classification) and found.confirm is not None:
            assert isinstance(found.confirm(data), Reply | Pending)
        if isinstance(found, Classification | Step):
            assert 0 < found.length <= len(data)
            data = data[found.length + found.skip :]
            if found.then is not None:
                readers.append(found.then)


@pytest.mark.parametrize(("line", "names"), [
    (b"GET /", ()), (b"get /x", ()), (b"FOO http://a.example/", ("a.example",)), (b"GET / XTTP/x", ()),
    (b"OPTIONS rtsp://a.example/ RTSP/1.0", ()), (b"GET x", ()), (b"GET SIP/2.0", ()),
    (b"CONNECT a.example", ("a.example",)), (b"FOO http://a.example", ("a.example",)),
])
def test_a_request_line_without_a_version(line: bytes, names: tuple[str, ...]) -> None:
    """A tolerant server answers at once for the host in it (nginx), or reads the Host behind it (Node.js): it is flawed
    HTTP, not an unknown protocol."""
    found = classify(line + b"\r\n")
    assert isinstance(found, Classification)
    assert (found.names, bool(found.flaw)) == (names, True)


@pytest.mark.parametrize("blank", [b"\x1c", b"\x1d", b"\x1e", b"\x1f", b"\x85", b"\xa0"])
def test_blanks_that_only_some_know(blank: bytes) -> None:
    """Python's own server splits a request line at whatever is a blank in Latin-1."""
    found = settles(classify, request("a.example").replace(b" ", blank, 2))
    assert isinstance(found, Classification)
    assert found.flaw
    assert settles(classify, b"x" + blank + b"y\r\n") is NO_MATCH
    found = settles(classify, b"GET" + blank + b"y\r\nHost: b.example\r\n\r\n")
    assert isinstance(found, Classification)
    assert found.flaw
    assert unit(blank + request("a.example")).names == ("a.example",)


def test_a_host_in_another_protocols_head() -> None:
    """SIP has no Host field: what has one is a request with a wrong version. Nobody can tell before the head's end."""
    for blank in (b"", b"\r\n\r\n"):
        found = settles(classify, blank + b"GET / SIP/2.0\r\nX: y\r\nhost: b.example\r\n\r\n")
        assert isinstance(found, Classification)
        assert (found.names, bool(found.flaw)) == (("b.example",), True)
        assert answer(classify, blank + b"OPTIONS sip:a@a.example SIP/2.0\r\nVia: x\r\n\r\n") is NO_MATCH


@pytest.mark.parametrize("line", [
    b"EHLO a.example", b"MAIL FROM:<a@a.example>", b"HELP", b"NICK a/b", b'CONNECT {"tls":0}',
])
def test_lines_of_other_protocols(line: bytes) -> None:
    """What has no path where a request has one is none."""
    assert classify(line + b"\r\n") is NO_MATCH
