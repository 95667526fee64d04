"""The inputs that cost most, as long as one likes, and what they cost: ``python -m tests.fuzz.worst`` prints a table.

Whoever can make the gateway work more than twice as long by sending twice as much can stop it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from functools import partial
from time import process_time
from typing import NamedTuple

from nfqdpi.core.classifier import Classification, Classify, Step
from nfqdpi.core.packet import parse
from nfqdpi.core.verdict import Verdict
from nfqdpi.plugins import dns_answer, http, quic, tls
from nfqdpi.plugins.dns_message import parse as message
from nfqdpi.replay.fragments import Fragments
from nfqdpi.testing import dns as dns_wire
from nfqdpi.testing.dns import ASKED, resource, service
from nfqdpi.testing.http import request, response
from nfqdpi.testing.packets import ACK, CLIENT6, SERVER6, ip, tcp
from nfqdpi.testing.quic import crypto, initial, varint
from nfqdpi.testing.tls import (
    CHANGE_CIPHER_SPEC,
    alpn,
    extension,
    handshake,
    hello,
    hello_message,
    record,
    records,
    server_hello,
    server_name,
    vector,
)
from tests.core.transcript import ALLOWED, Talk, engine
from tests.fuzz.quic import said
from tests.fuzz.units import confirm, then, unit

_CHUNKED = request(ALLOWED, "Transfer-Encoding: chunked", method="POST")
_SEGMENT = 1400  # bytes


class Worst(NamedTuple):
    """``make`` gives about so many bytes, ``prepare`` turns them into what is to be done."""

    make: Callable[[int], bytes]
    prepare: Callable[[bytes], Callable[[], object]]


def seconds(worst: Worst, size: int, times: int = 5) -> tuple[float, int]:
    """(processor time, the best of some; the input's length)."""
    data = worst.make(size)
    best = float("inf")
    for _ in range(times):
        work = worst.prepare(data)
        started = process_time()
        work()
        best = min(best, process_time() - started)
    return best, len(data)


# --- what is done with an input ---


def _once(read: Callable[[bytes], object]) -> Callable[[bytes], Callable[[], object]]:
    return lambda data: lambda: read(data)


def _walk(read: Classify) -> Callable[[bytes], Callable[[], object]]:
    """Every unit, one behind the other."""
    def work(data: bytes) -> None:
        reader: Classify | None = read
        while data and reader is not None and isinstance(found := reader(data), Classification | Step):
            data, reader = data[found.length + found.skip :], found.then

    return _once(work)


def _flow(size: int = _SEGMENT, *, first: bytes = b"", order: Callable[[int], Iterator[int]] | None = None,
          twice: bool = False) -> Callable[[bytes], Callable[[], object]]:
    """A flow in segments of ``size`` bytes behind the one that is ``first``, in any order, through a strict engine."""
    def prepare(data: bytes) -> Callable[[], object]:
        talk = Talk(engine())
        talk.opens()
        if first:
            talk.client(first)
        starts = range(0, len(data), size)
        if order is not None:
            starts = [starts[n] for n in order(len(starts))]  # type: ignore[assignment]  # a sequence, too
        base = talk.isn + 1 + talk.sent
        packets = [talk.packet(True, base + at, talk.server_isn + 1, data[at : at + size], ACK) for at in starts]
        packets += packets * twice

        def work() -> None:
            for packet in packets:
                talk.engine.process(packet, talk.now, state=Verdict.INSPECT)

        return work

    return prepare


def _gap_first(count: int) -> Iterator[int]:
    """All but the first, then the first."""
    yield from range(1, count)
    yield 0


def _backwards(count: int) -> Iterator[int]:
    yield from reversed(range(count))


def _replies(data: bytes) -> Callable[[], object]:
    """A server that goes on and on, and never answers."""
    talk = Talk(engine())
    talk.opens()
    talk.client(hello(ALLOWED))
    base = talk.server_isn + 1
    packets = [talk.packet(False, base + at, talk.isn + 1 + talk.sent, data[at : at + 9], ACK)
               for at in range(0, len(data), 9)]

    def work() -> None:
        for packet in packets:
            talk.engine.process(packet, talk.now, state=Verdict.CONFIRM)

    return work


def _fragments(data: bytes) -> Callable[[], object]:
    """A packet in pieces of eight bytes, as a capture file may have it."""
    last = len(data) // 8 - 1
    pieces = [ip(6, data[:8], fragment=(0x2000 if n < last else 0) | n) for n in range(last + 1)]

    def work() -> None:
        fragments = Fragments()
        assert [fragments.whole(piece, 0.0) for piece in pieces][-1] is not None

    return work


def _datagrams(message: bytes) -> Callable[[], object]:
    """A handshake message in frames of ten bytes, a datagram for each."""
    sent = [initial(crypto(message[at : at + 10], at), number=at // 10 % 60, pad=0)
            for at in range(0, len(message), 10)]
    return lambda: said(sent)


# --- the inputs ---


_http, _tls = http.classifier.classify, tls.classifier.classify
_chunk = then(unit(_http(_CHUNKED)))
_hello = unit(_tls(hello(ALLOWED)))
_upgrade = unit(_http(request(ALLOWED, "Upgrade: x")))


def _head(*parts: bytes) -> Callable[[int], bytes]:
    """A request with so many of this in its fields; with two, a line of the first around many of the second."""
    line, inside = (parts[0], b"") if len(parts) == 1 else parts

    def make(size: int) -> bytes:
        body = line * (size // len(line)) if not inside else line + inside * (size // len(inside)) + b"\r\n"
        return b"GET / HTTP/1.1\r\n" + body + b"\r\n"

    return make


def _numbered(line: bytes) -> Callable[[int], bytes]:
    return lambda size: b"GET / HTTP/1.1\r\n" + b"".join(line % n for n in range(size // len(line % 0))) + b"\r\n"


def _unfinished(make: Callable[[int], bytes]) -> Callable[[int], bytes]:
    return lambda size: make(size)[:-3]


def _tiny_records(size: int) -> bytes:
    return records(hello_message(server_name(b"a.example"), extension(21, bytes(min(size // 6, 60_000)))), 1)


def _extensions(*of: bytes) -> Callable[[int], bytes]:
    return lambda size: records(hello_message(*of * (min(size, 60_000) // sum(map(len, of)))), 1 << 14)


def _resources(make: Callable[[int], bytes], first: bytes = b"") -> Callable[[int], bytes]:
    """An answer with as many records as fit; ``make`` is told where its record stands."""
    def whole(size: int) -> bytes:
        data, count = dns_wire.question("a") + first, 1 if first else 0
        while (record := make(12 + len(data))) and len(data) + len(record) < size - 12:
            data, count = data + record, count + 1
        return struct.pack("!6H", 1, dns_wire.ANSWER, 1, count, 0, 0) + data

    return whole


def _pointer(at: int) -> bytes:
    return (0xC000 | min(at, 0x3FFF)).to_bytes(2, "big")


_LABELS = resource(b"\1a" * 126 + b"\0", dns_wire.A, bytes(4))  # 126 names that end alike


CASES: dict[str, Worst] = {
    # parsers, whole inputs
    "http: fields": Worst(_head(b"X: y\r\n"), _once(_http)),
    "http: hosts": Worst(_numbered(b"Host: %06d\r\n"), _once(_http)),
    "http: lengths": Worst(_numbered(b"Content-Length: %06d\r\n"), _once(_http)),
    "http: colons": Worst(_head(b"X", b":"), _once(_http)),
    "http: dots in a host": Worst(_head(b"Host: ", b"a."), _once(_http)),
    "http: colons in a host": Worst(_head(b"Host: ", b"a:"), _once(_http)),
    "http: brackets in a host": Worst(_head(b"Host: ", b"["), _once(_http)),
    "http: folded lines": Worst(_head(b" z\r\n"), _once(_http)),
    "http: bare CR": Worst(_head(b"X: ", b"\r"), _once(_http)),
    "http: codings": Worst(_head(b"Transfer-Encoding: ", b"x,"), _once(_http)),
    "http: blank lines": Worst(lambda size: b"\r\n" * (size // 2) + request(ALLOWED), _once(_http)),
    "http: words": Worst(lambda size: b"GET " + b"a " * (size // 2) + b"HTTP/1.1\r\n\r\n", _once(_http)),
    "http: at signs": Worst(lambda size: b"GET x://" + b"@" * size + b" HTTP/1.1\r\n\r\n", _once(_http)),
    "http: schemes": Worst(lambda size: b"GET " + b"x:/" * (size // 3) + b" HTTP/1.1\r\n\r\n", _once(_http)),
    "http: requests": Worst(lambda size: b"G / HTTP/1.1\n\n" * (size // 14), _walk(_http)),
    "chunk: extension": Worst(lambda size: b"5;" + b"x" * min(size, 60_000) + b"\r\n", _once(_chunk)),
    "chunk: blanks": Worst(lambda size: b"5" + b" " * min(size, 60_000) + b"\r\n", _once(_chunk)),
    "chunk: trailers": Worst(lambda size: b"0\r\n" + b"X: y\r\n" * (size // 6) + b"\r\n", _once(_chunk)),
    "chunk: chunks": Worst(lambda size: b"1\r\nx\r\n" * (size // 6) + b"0\r\n\r\n", _walk(_chunk)),
    "tls: 1-byte records": Worst(_tiny_records, _once(_tls)),
    "tls: extensions": Worst(_extensions(extension(1000)), _once(_tls)),
    "tls: different extensions": Worst(lambda size: record(hello_message(*(
        extension(kind) for kind in range(min(size, 16_000) // 4, 0, -1)))), _once(_tls)),
    "tls: protocols": Worst(lambda size: record(hello_message(alpn(*[b"h2"] * (min(size, 16_000) // 3)))), _once(_tls)),
    "tls: names": Worst(lambda size: record(hello_message(server_name(*[b"abc"] * (min(size, 16_000) // 6)))),
                        _once(_tls)),
    "tls: ciphers": Worst(lambda size: record(handshake(1, b"\3\3" + bytes(33) + vector(2, bytes(min(size, 16_000)))
                                                        + b"\1\0")), _once(_tls)),
    "tls: records between two hellos": Worst(lambda size: CHANGE_CIPHER_SPEC * (size // 6), _walk(then(_hello))),
    "dns: records": Worst(_resources(lambda _: resource(ASKED, dns_wire.A, bytes(4))), _once(message)),
    "dns: ends of a name": Worst(_resources(
        lambda at: resource(_pointer(19 + at // 16 % 126 * 2), dns_wire.A, bytes(4)), _LABELS), _once(message)),
    "dns: names of labels": Worst(_resources(lambda _: _LABELS), _once(message)),
    "dns: pointers to pointers": Worst(_resources(lambda at: resource(_pointer(at - 12 if at > 19 else 12), 10, b"")),
                                       _once(message)),
    "dns: odd bytes": Worst(_resources(lambda _: resource((b"\x3e" + b"\xff" * 62) * 4 + b"\0", 10, b"")),
                            _once(message)),
    "dns: parameters": Worst(lambda size: dns_wire.answer("a", dns_wire.HTTPS, resource(
        ASKED, dns_wire.HTTPS, service(*((n, b"") for n in range(size // 4))))), _once(message)),
    "dns: keys of hellos": Worst(_resources(lambda _: resource(ASKED, dns_wire.HTTPS, service((5, b"")))),
                                 lambda data: partial(dns_answer.without_ech, message(data))),
    "quic: pings": Worst(lambda size: initial(b"\0\1" * (size // 2)), _once(quic.read)),
    "quic: closes": Worst(lambda size: initial(b"\x1c\0\0\0" * (size // 4)), _once(quic.read)),
    "quic: ranges": Worst(lambda size: initial(b"\2\0\0" + varint(size // 2) + bytes(2 * (size // 2) + 1)),
                          _once(quic.read)),
    "quic: tiny frames backwards": Worst(
        lambda size: initial(*(crypto(b"\1", n % 8192) for n in range(size // 5, 0, -1))), _once(quic.read)),
    "quic: packets": Worst(lambda size: initial(b"\1", pad=0) * (size // 60), _once(quic.read)),
    "quic: a hello in datagrams": Worst(lambda size: b"\1\0\x3f\0" + bytes(size // 10), _datagrams),
    "reply: interim responses": Worst(lambda size: response("103 x") * (size // 20), _once(confirm(_upgrade))),
    "reply: records": Worst(lambda size: CHANGE_CIPHER_SPEC * (size // 6) + server_hello(), _once(confirm(_hello))),
    "packet: options": Worst(lambda size: ip(6, tcp(bytes(size), options=b"\x01" * 40)), _once(parse)),
    "packet: extension headers": Worst(
        lambda size: ip(6, tcp(bytes(size)), CLIENT6, SERVER6, chain=[(60, bytes(7))] * 7), _once(parse)),
    "capture: fragments": Worst(bytes, _fragments),
    # flows, in pieces
    "flow: no method": Worst(lambda size: b"{" + b" HTTP" * (size // 5), _flow()),
    "flow: no method by the byte": Worst(lambda size: b"{" + b" HTTP" * (size // 50), _flow(1)),
    "flow: no method in a body by the byte": Worst(
        lambda size: b"{" + b" HTTP" * (size // 50), _flow(1, first=request(ALLOWED, "Content-Length: 99999999"))),
    "flow: empty frames": Worst(
        lambda size: b"\x81\x80abcd" * (size // 6),
        _flow(first=request(ALLOWED) + request(ALLOWED, "Upgrade: websocket"))),
    "flow: a head in segments": Worst(_unfinished(_head(b"X: y\r\n")), _flow()),
    "flow: a head of hosts": Worst(_unfinished(_numbered(b"Host: %06d\r\n")), _flow()),
    "flow: a head of colons": Worst(_unfinished(_head(b"X", b":")), _flow()),
    "flow: blank lines": Worst(lambda size: b"\r\n" * (size // 2), _flow()),
    "flow: trailers": Worst(lambda size: b"0\r\n" + b"X: y\r\n" * (size // 6), _flow(first=_CHUNKED)),
    "flow: one line": Worst(lambda size: b"GET /" + b"x" * size, _flow()),
    "flow: tiny records": Worst(lambda size: _tiny_records(size)[:-3], _flow()),
    "flow: out of order": Worst(_unfinished(_head(b"X: y\r\n")), _flow(order=_gap_first)),
    "flow: backwards": Worst(_unfinished(_head(b"X: y\r\n")), _flow(order=_backwards)),
    "flow: twice": Worst(_unfinished(_head(b"X: y\r\n")), _flow(twice=True)),
    "flow: chunks": Worst(lambda size: b"1\r\nx\r\n" * (size // 6), _flow(first=_CHUNKED)),
    "flow: chunks by the byte": Worst(lambda size: b"1\r\nx\r\n" * (size // 60), _flow(1, first=_CHUNKED)),
    "flow: chunks behind a gap": Worst(lambda size: b"1\r\nx\r\n" * (size // 6),
                                       _flow(first=_CHUNKED, order=_gap_first)),
    "flow: requests": Worst(lambda size: request(ALLOWED) * (size // 40), _flow()),
    "flow: a body by the byte": Worst(lambda size: bytes(size // 10), _flow(1, first=request(
        ALLOWED, "Content-Length: 99999999", method="POST"))),
    "flow: unanswered records": Worst(lambda size: CHANGE_CIPHER_SPEC * (size // 6), _flow(6, first=hello(ALLOWED))),
    "flow: unanswered bytes": Worst(lambda size: hello(ALLOWED, extension(21, bytes(size // 40)))[:-1],
                                    _flow(1, first=hello(ALLOWED))),
    "flow: another protocol by the byte": Worst(lambda size: bytes(size // 10), _flow(1, first=b"\0\1")),
    "flow: a server's tiny records": Worst(
        lambda size: records(handshake(2, bytes(size // 6)), 1)[:-6], _replies),
}


if __name__ == "__main__":
    rows = []
    for name, worst in CASES.items():
        (short, some), (long, more) = seconds(worst, 15_000), seconds(worst, 60_000)
        rows.append((long * 1e6 / (more / 1024), name, more, long * 1e3, more / some, long / short))
    for per_kb, name, size, ms, longer, slower in sorted(rows, reverse=True):
        print(f"{name:36} {size:6} bytes {ms:8.2f} ms {per_kb:8.1f} us/kB; "
              f"{longer:.1f} times the input, {slower:.1f} times the time")
