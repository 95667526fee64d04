"""The matrix, HTTP: how a request can be written, and where on a connection it can stand."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from nfqdpi.testing.http import request
from nfqdpi.testing.packets import RST
from tests.evasion.case import ALLOWED, BLOCKED, DECOY, Attempt, Fate, Server, Trick, accepted, get, page, whole
from tests.evasion.packets import DIES, How
from tests.evasion.stream import RawStream

Text = Callable[[str], bytes]

_BOTH = (BLOCKED, ALLOWED)
_FORGOTTEN = 11.0  # seconds after a reset (nf_conntrack_tcp_timeout_close is 10)


def row(what: str, text: Text, nginx: Fate, plain: Fate | None, *, only: tuple[str, ...] = _BOTH) -> list[Trick]:
    """A request: what becomes of the allowed name at nginx, and at a server that takes anything (None: not asked,
    since it would not know where the request ends)."""

    def attempts(name: str) -> list[Attempt]:
        return [Attempt(text(name), text(DECOY), accepted(), whole)]

    rows = [Trick(what, Server.HTTP, attempts, nginx, names=only)]
    return rows if plain is None else [*rows, Trick(what, Server.PLAIN, attempts, plain, names=only)]


def head(*lines: str, eol: str = "\r\n") -> bytes:
    return eol.join((*lines, "", "")).encode("latin-1")


def host(field: str) -> Text:
    """A request whose Host field is written like this; ``{}`` is the name."""
    return lambda name: head("GET / HTTP/1.1", field.format(name))


def line(words: str, field: str = "Host: another.example") -> Text:
    """A request whose first line is written like this."""
    return lambda name: head(words.format(name), field.format(name))


HOSTS: tuple[tuple[str, Text, Fate, Fate | None], ...] = (
    ("hOsT", host("hOsT: {}"), "works", "works"),
    ("HOST, upper-case name", lambda name: head("GET / HTTP/1.1", f"HOST: {name.upper()}"), "works", "works"),
    ("mixed-case name", lambda name: head("GET / HTTP/1.1", f"Host: {name.title()}"), "works", "works"),
    ("no space", host("Host:{}"), "works", "works"),
    ("many spaces", host("Host:          {}"), "works", "works"),
    ("a tab", host("Host:\t{}"), "closed", "works"),
    ("a space behind the name", host("Host: {} "), "works", "works"),
    ("a tab behind the name", host("Host: {}\t"), "closed", "works"),
    ("a space before the colon", host("Host : {}"), "closed", "works"),
    ("a tab before the colon", host("Host\t: {}"), "closed", "works"),
    ("a trailing dot", host("Host: {}."), "works", "works"),
    ("a port", host("Host: {}:80"), "works", "works"),
    ("a port and a trailing dot", host("Host: {}.:8080"), "works", "works"),
    ("a colon without a port", host("Host: {}:"), "works", "works"),
    ("user information", host("Host: user@{}"), "closed", "closed"),
    ("two names with a comma", host("Host: {}, another.example"), "closed", "closed"),
    ("a NUL behind the name", host("Host: {}\0"), "closed", "closed"),
    ("a control character in front", host("Host: \x01{}"), "closed", "closed"),
    ("a vertical tab in front", host("Host: \x0b{}"), "closed", "closed"),
    ("brackets", host("Host: [{}]"), "closed", "closed"),
    ("over 255 bytes", lambda name: head("GET / HTTP/1.1", f"Host: {'a.' * 130}{name}"), "closed", "closed"),
    ("the same twice", lambda name: head("GET / HTTP/1.1", *[f"Host: {name}"] * 2), "closed", "works"),
    ("another one first", lambda name: head("GET / HTTP/1.1", f"Host: {DECOY}", f"Host: {name}"), "closed", "works"),
    ("another one second", lambda name: head("GET / HTTP/1.1", f"Host: {name}", f"Host: {DECOY}"), "closed", "works"),
    ("an empty one first", lambda name: head("GET / HTTP/1.1", "Host:", f"Host: {name}"), "closed", "works"),
    ("on a line of its own", host("Host:\r\n {}"), "closed", "closed"),
    ("folded behind another field", host("X: 1\r\n Host: {}"), "closed", "closed"),
    ("on a line that begins with a space", host("X: 1\r\n Host: {}"), "closed", "closed"),
    ("behind a bare CR", host("X: 1\rHost: {}"), "closed", "closed"),
    ("before a bare CR", host("Host: {}\rX: 1"), "closed", "closed"),
    ("with LF alone", lambda name: head("GET / HTTP/1.1", f"Host: {name}", eol="\n"), "works", "works"),
    ("with LF alone behind the first line", lambda name: head(f"GET / HTTP/1.1\nHost: {name}"), "works", "works"),
    ("with CR CR LF", lambda name: f"GET / HTTP/1.1\r\r\nHost: {name}\r\r\n\r\r\n\r\n".encode(), "closed", None),
    ("behind 20 KiB of fields", lambda name: head("GET / HTTP/1.1", *["X: " + "x" * 1000] * 20, f"Host: {name}"),
     "works", "works"),
    ("behind 60 KiB of fields", lambda name: head("GET / HTTP/1.1", *["X: " + "x" * 1000] * 59, f"Host: {name}"),
     "works", "works"),
    ("behind 64 KiB of fields", lambda name: head("GET / HTTP/1.1", *["X: " + "x" * 1000] * 66, f"Host: {name}"),
     "closed", "closed"),
)

LINES: tuple[tuple[str, Text, Fate, Fate | None], ...] = (
    ("absolute URI", line("GET http://{}/ HTTP/1.1"), "works", "works"),
    ("absolute URI, Host the same", line("GET http://{0}/ HTTP/1.1", "Host: {0}"), "works", "works"),
    ("absolute URI of another, Host the name", line("GET http://another.example/ HTTP/1.1", "Host: {}"), "works",
     "works"),
    ("absolute URI with a port", line("GET http://{}:80/ HTTP/1.1"), "works", "works"),
    ("absolute URI with user information", line("GET http://another.example@{}/ HTTP/1.1"), "closed", "works"),
    ("absolute URI in upper case", lambda name: head(f"GET HTTP://{name.upper()}/ HTTP/1.1", f"Host: {DECOY}"), "works",
     "works"),
    ("absolute URI of https", line("GET https://{}/ HTTP/1.1"), "works", "works"),
    ("absolute URI without Host", lambda name: head(f"GET http://{name}/ HTTP/1.1"), "closed", "works"),
    ("authority without a scheme", line("GET //{}/ HTTP/1.1", "Host: {}"), "works", "works"),
    ("CONNECT", line("CONNECT {}:443 HTTP/1.1"), "closed", "works"),
    ("lower-case method", line("get / HTTP/1.1", "Host: {}"), "closed", "works"),
    ("an invented method", line("FROBNICATE / HTTP/1.1", "Host: {}"), "works", "works"),
    ("extra spaces", line("GET    /    HTTP/1.1", "Host: {}"), "works", "works"),
    ("a tab between", line("GET\t/\tHTTP/1.1", "Host: {}"), "closed", "works"),
    ("a space behind the version", line("GET / HTTP/1.1 ", "Host: {}"), "works", "works"),
    ("a space in front", line(" GET / HTTP/1.1", "Host: {}"), "closed", "works"),
    ("a space in the target", line("GET /a b HTTP/1.1", "Host: {}"), "closed", "works"),
    ("no target", line("GET HTTP/1.1", "Host: {}"), "closed", "closed"),
    ("no version", line("GET /", "Host: {}"), "closed", "closed"),
    ("version 1.0", line("GET / HTTP/1.0", "Host: {}"), "works", "works"),
    ("version 1.2", line("GET / HTTP/1.2", "Host: {}"), "works", "works"),
    ("version 2.0", line("GET / HTTP/2.0", "Host: {}"), "closed", "closed"),
    ("version 1", line("GET / HTTP/1", "Host: {}"), "closed", "closed"),
    ("version in lower case", line("GET / http/1.1", "Host: {}"), "closed", "closed"),
    ("no version number", line("GET / HTTP/", "Host: {}"), "closed", "closed"),
    ("an empty line first", line("\r\nGET / HTTP/1.1", "Host: {}"), "works", None),
    ("twenty empty lines first", line("\r\n" * 20 + "GET / HTTP/1.1", "Host: {}"), "works", None),
    ("empty lines of LF first", line("\n\n\nGET / HTTP/1.1", "Host: {}"), "works", None),
    ("PRI * HTTP/2.0", lambda name: head("PRI * HTTP/2.0", "", "SM", "") + head("GET / HTTP/1.1", f"Host: {name}"),
     "closed", None),
    ("Upgrade: h2c", lambda name: request(name, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c",
                                          "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA"), "works", "works"),
    ("Upgrade: websocket", lambda name: request(name, "Connection: Upgrade", "Upgrade: websocket"), "works", "works"),
)


# --- where on the connection ---


def in_turn(first: bytes, play: Callable[[bytes, RawStream, bytes, bytes], None], what: str, allowed: Fate = "works",
            ) -> Trick:
    """A request for another name, and one for the name in question behind it."""

    def attempts(name: str) -> list[Attempt]:
        return [Attempt(first + request(name), first + request(DECOY), page(name), partial(play, first))]

    return Trick(what, Server.HTTP, attempts, allowed)


def kept_alive(first: bytes, s: RawStream, text: bytes, _: bytes) -> None:
    s.open().send(first)
    s.await_answer()
    s.send(text[len(first) :])


def late(first: bytes, s: RawStream, text: bytes, _: bytes) -> None:
    """The second request after a pause."""
    s.open().send(first)
    s.await_answer()
    time.sleep(4)
    s.send(text[len(first) :])


def pipelined(_first: bytes, s: RawStream, text: bytes, _: bytes) -> None:
    s.open().send(text)


def straddling(first: bytes, s: RawStream, text: bytes, _: bytes) -> None:
    """A segment that ends the first and begins the second."""
    cut = len(first) + 10
    s.open().send(text[:cut])
    s.await_answer()
    s.send(text[cut:])


def fake_second(first: bytes, s: RawStream, text: bytes, decoy: bytes) -> None:
    """A fake second request that dies, then the real one."""
    s.open().send(first)
    s.await_answer()
    s.send(decoy[len(first) :], at=len(first), how=How(ttl=DIES))
    time.sleep(0.05)
    s.send(text[len(first) :])


def server_goes_on(first: bytes, s: RawStream, text: bytes, _: bytes) -> None:
    """A reset that dies has conntrack forget the flow; then the server, whose answer nobody has acknowledged, speaks
    first, so that the ends may have changed places."""
    s.open()
    s.deaf = True
    s.send(first)
    time.sleep(0.3)
    s.send(how=How(flags=RST, ttl=DIES))
    time.sleep(_FORGOTTEN)
    s.deaf = False
    s.await_answer(seconds=15)
    s.send(text[len(first) :])


def repeated_answer(s: RawStream, text: bytes, _: bytes) -> None:
    """A page that looks like the answer to an upgrade, which is asked for while the server sends the page again."""
    s.open().send(_SWITCH)
    s.await_answer()
    head = s.got[: s.got.find(b"\r\n\r\n") + 4]
    s.deaf = True
    s.send(_SWITCH)
    time.sleep(0.1)
    s.got += head  # and no more of it is acknowledged
    s.send(_WEBSOCKET)
    time.sleep(0.5)  # it does so after 0.2 s
    s.send(text[s.end :])
    s.deaf = False


def body(data: bytes, *fields: str) -> bytes:
    """A request for another name with a body."""
    return request(DECOY, *fields, method="POST") + data


_CHUNKS = b"5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\n"
_HIDDEN = request(ALLOWED)
_WEBSOCKET = request(DECOY, "Connection: Upgrade", "Upgrade: websocket")
_SWITCH = request(DECOY, target="/switch")
_SWITCHES = _SWITCH + _SWITCH + _WEBSOCKET

FIRST: tuple[tuple[str, bytes, Fate], ...] = (
    ("a request", request(DECOY), "works"),
    ("a body with Content-Length", body(bytes(3000), "Content-Length: 3000"), "works"),
    ("a chunked body", body(_CHUNKS + b"\r\n", "Transfer-Encoding: chunked"), "works"),
    ("a chunked body with a trailer", body(_CHUNKS + b"X: 1\r\n\r\n", "Transfer-Encoding: chunked"), "works"),
    ("Content-Length 0", body(b"", "Content-Length: 0"), "works"),
    ("the same Content-Length twice", body(b"xx", "Content-Length: 2", "Content-Length: 2"), "closed"),
    ("two Content-Lengths", body(b"xx", "Content-Length: 2", f"Content-Length: {2 + len(_HIDDEN)}"), "closed"),
    ("Content-Length with a sign", body(b"xx", "Content-Length: +2"), "closed"),
    ("Content-Length in hexadecimal", body(b"xx", "Content-Length: 0x2"), "closed"),
    ("Content-Length beyond 64 bits", body(b"xx", "Content-Length: 18446744073709551618"), "closed"),
    ("Content-Length and chunked", body(_CHUNKS + b"\r\n", "Content-Length: 9", "Transfer-Encoding: chunked"),
     "closed"),
    ("an unknown transfer coding", body(b"", "Transfer-Encoding: identity"), "closed"),
    ("chunked under another name", body(_CHUNKS + b"\r\n", "Transfer-Encoding: xchunked"), "closed"),
    ("a chunk size with a sign", body(b"+5\r\nhello\r\n0\r\n\r\n", "Transfer-Encoding: chunked"), "closed"),
    ("chunks that end with LF", body(b"5\nhello\n0\n\n", "Transfer-Encoding: chunked"), "closed"),
    ("Upgrade: h2c", request(DECOY, "Connection: Upgrade", "Upgrade: h2c"), "works"),
    ("HEAD", request(DECOY, method="HEAD"), "works"),
)


def lying(length: int) -> Trick:
    """Content-Length counts so many bytes more than the body has: nginx waits for them, as we do."""
    what = f"after a body that is {length} bytes short"
    return in_turn(body(b"", f"Content-Length: {length}"), kept_alive, what, "closed")


def methodless(word: str) -> list[Trick]:
    """A word that is no method, before a request's target: whole, in two segments, and for a body."""
    def text(name: str) -> bytes:
        return head(f"{word} / HTTP/1.1", f"Host: {name}")

    def in_two(s: RawStream, data: bytes, _: bytes) -> None:
        s.open().send(data[:2])
        time.sleep(0.1)
        s.send(data[2:])

    def body_of(name: str) -> bytes:
        return request(DECOY, f"Content-Length: {len(text(name))}") + text(name)

    ways = (("", text, whole), (", in two segments", text, in_two), (", for a body", body_of, whole))
    return [Trick(f"{word[:9]!a} for a method{how}", Server.STANDARD, partial(_alone, made, play), "closed")
            for how, made, play in ways]


def _alone(text: Text, play: Callable[[RawStream, bytes, bytes], None], name: str) -> list[Attempt]:
    return [Attempt(text(name), b"", page(name), play)]


def _framed(name: str) -> bytes:
    """A request behind a WebSocket that a server refuses, in a frame."""
    rest = head(" / HTTP/1.1", f"Host: {name}")
    return request(DECOY) + _WEBSOCKET + bytes((0x81, 0x80 | len(rest))) + b"abcd" + rest


def smuggled(what: str, *lines: str, method: str = "POST") -> Trick:
    """The request is the body of another one: so it is to us, and to the server that sees the length as well."""

    def attempts(name: str) -> list[Attempt]:
        hidden = request(name)
        fields = [line.format(len(hidden)) for line in lines]
        return [Attempt(request(DECOY, *fields, method=method) + hidden, b"", page(name), whole)]

    return Trick(f"a request for a body, {what}", Server.STANDARD, attempts, "closed")


def unknown(server: Server, what: str, text: Text, allowed: Fate = "works") -> Trick:
    return Trick(what, server, lambda name: [Attempt(text(name), text(DECOY), accepted(), whole)], allowed,
                 names=(ALLOWED,))


TRICKS = [
    *(trick for what, text, nginx, plain in HOSTS for trick in row(f"Host: {what}", text, nginx, plain)),
    *(trick for what, text, nginx, plain in LINES for trick in row(what, text, nginx, plain)),
    *row("version 1.0, no Host", lambda _: head("GET / HTTP/1.0"), "works", "works", only=(ALLOWED,)),
    *(in_turn(first, play, f"{what}, then {how} the next", fate) for what, first, fate in FIRST
      for how, play in (("in turn", kept_alive), ("pipelined", pipelined), ("straddling", straddling))),
    # Nothing passes between an Upgrade and its answer.
    in_turn(_WEBSOCKET, kept_alive, "Upgrade: websocket, then in turn the next"),
    in_turn(_WEBSOCKET, pipelined, "Upgrade: websocket, then pipelined the next", "closed"),
    in_turn(_WEBSOCKET, straddling, "Upgrade: websocket, then straddling the next", "closed"),
    Trick("an answer to an upgrade that is another page, sent again", Server.HTTP,
          lambda name: [Attempt(_SWITCHES + request(name), b"", page(name), repeated_answer)], "works"),
    in_turn(body(b"", "Content-Length: 1"), kept_alive, "after a body that is a byte short: the method loses one"),
    *(lying(length) for length in (41, 1000)),
    smuggled("by a length", "Content-Length: {}"),
    smuggled("by a length behind a line without a colon", "no field", "Content-Length: {}"),
    smuggled("by a length behind a name with a space", "a b: x", "Content-Length: {}"),
    smuggled("by a length behind a name of eight bits", "\xe9: x", "Content-Length: {}"),
    smuggled("by a length with a space before the colon", "Content-Length : {}"),
    smuggled("by a length with a tab before the colon", "Content-Length\t: {}"),
    smuggled("by a length behind a vertical tab", "\x0bContent-Length: {}"),
    *(smuggled(f"of {method}", "Content-Length: {}", method=method) for method in ("GET", "post")),
    *(trick for word in ("{GET", "\x81\x82", "@", "M" * 9000) for trick in methodless(word)),
    Trick("a request in a frame", Server.STANDARD,
          partial(_alone, _framed, partial(kept_alive, request(DECOY) + _WEBSOCKET)), "closed"),
    Trick("as an honest client sends it, to Python's server", Server.STANDARD, get(whole), "works"),
    Trick("the second request after conntrack has forgotten the flow, and the server spoken", Server.HTTP,
          lambda name: [Attempt(request(DECOY) + request(name), b"", page(name),
                                partial(server_goes_on, request(DECOY)))], "closed", wait=_FORGOTTEN),
    Trick("the second request after 4 s", Server.HTTP,
          lambda name: [Attempt(request(DECOY) + request(name), b"", page(name), partial(late, request(DECOY)))],
          "works", wait=4),
    in_turn(request(DECOY), fake_second, "a fake second request that dies, then the real one", "closed"),
    Trick("HTTP on port 443", Server.HTTP_ON_443, get(whole), "works"),
    *(unknown(server, "neither HTTP nor TLS", lambda _: b"SSH-2.0-any\r\n\r\n") for server in
      (Server.PLAIN, Server.PLAIN_ON_443)),
    *(unknown(server, "bytes of no protocol", lambda _: b"\0\1\2\3 anything\r\n\r\n") for server in
      (Server.PLAIN, Server.PLAIN_ON_443)),
]

