"""Requests to their hosts."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfqdpi.core.classifier import NO_MATCH, Classification, Glimpse, Pending, Reply, Step
from nfqdpi.plugins.http import classifier
from nfqdpi.testing.http import request
from tests.plugins import prefixes
from tests.plugins.prefixes import answer, settles

classify = classifier.classify
unit = partial(prefixes.unit, classify)


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
