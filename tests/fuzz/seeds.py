"""What each target's corpus begins with: well-formed samples of everything that the builders can build."""

from __future__ import annotations

from collections.abc import Iterator

from nfqdpi.testing import dns as dns_wire
from nfqdpi.testing.capture import ether, pcap
from nfqdpi.testing.dns import ASKED, resource, service
from nfqdpi.testing.flows import Talk
from nfqdpi.testing.http import request, response
from nfqdpi.testing.packets import CLIENT6, SERVER6, ip, tcp, udp
from nfqdpi.testing.quic import ACK, CLOSE, PING, crypto, initial, long_packet
from nfqdpi.testing.tls import (
    CHANGE_CIPHER_SPEC,
    GREASE,
    RETRY,
    alpn,
    extension,
    hello,
    hello_message,
    record,
    records,
    server_hello,
    server_name,
    vector,
)
from tests.fuzz.script import written
from tests.fuzz.world import FIRST, PORTS, TEXTS, Answer, Forge, Send
from tests.replay.files import pcapng

_NAME = "blocked.example"
_BODY = b"5\r\nhello\r\na;x=y\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n"


def http() -> Iterator[bytes]:
    """Behind two bytes that choose the reader and the cut."""
    fields = [(), ("Content-Length: 3",), ("Transfer-Encoding: gzip, chunked",), ("Upgrade: websocket",),
              ("Host: other.example", "X : y", " folded", "no field"), ("Content-Length: 3, 3",)]
    for extra in fields:
        yield b"\0\x30" + request(_NAME, *extra, method="POST") + b"abc" + request("allowed.example")
    for target in ("http://a.example:80/x?y", "/\xff", "*", "a b"):
        yield b"\0\x20" + request("[fd00::1]:80", target=target, eol="\n")
    yield b"\0\x20" + request(None, method="CONNECT", target=f"{_NAME}:443")
    yield b"\0\x08\r\n\r\n \t" + request(_NAME.upper() + ".", version="1.0")
    yield b"\x01\x08" + _BODY + request(_NAME)
    yield b"\x02\x08PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def tls() -> Iterator[bytes]:
    """Behind two bytes that choose reader, framing and cut."""
    inside = hello_message(server_name(_NAME.encode()), alpn(b"h2"), extension(GREASE))[4:]
    yield b"\0\x10" + hello(_NAME)
    yield b"\0\x08" + hello(_NAME, quantum=True)
    yield b"\x01\x08" + CHANGE_CIPHER_SPEC + hello(_NAME)
    yield b"\x01\x08" + record(bytes(9), kind=23) + record(b"\x01\x00", kind=21) + hello(_NAME)
    yield b"\x02\x10" + inside
    yield b"\x06\x10" + b"\x03" + inside
    yield b"\0\x04" + records(b"\x01" + vector(3, inside), 1)
    yield b"\x04\x04" + server_name(_NAME.encode())[4:]
    yield b"\x04\x04" + server_name(b"a", b"b", kind=1)[4:]
    yield b"\x08\x04" + vector(1, b"\x03\x04\x03\x03")


def ssh() -> Iterator[bytes]:
    """Behind a byte that is the cut."""
    yield b"\x08SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n" + bytes(9)
    yield b"\x03SSH-2.0-JSCH-0.1.54\n"
    yield b"\x0bSSH-1.99-x \r\n"
    yield b"\x09SSH-2.0-" + b"x" * 250
    for broken in (b"SSH-2.0-\0\n", b"SSH-2.0-x\r\r\n", b"SSH-\n", b"SSH", b"ssh-2.0-x\n"):
        yield b"\x05" + broken


def quic() -> Iterator[bytes]:
    """Pieces behind three bytes, as ``tests.fuzz.quic`` reads them."""
    message = hello(_NAME)[5:]

    def piece(how: int, number: int, data: bytes) -> bytes:
        return bytes((how, number, -(-len(data) // 8))) + data + bytes(-len(data) % 8)

    for version in (0, 0x10):
        yield piece(version | 1, 0, crypto(message))
        yield piece(version | 1, 0, crypto(message[:70])) + piece(version | 1, 1, crypto(message[70:], 70))
        yield (piece(version | 1, 5, crypto(message[70:], 70) + ACK + PING) + piece(version | 5, 6, ACK)
               + piece(version | 5, 7, CLOSE + crypto(message[:99])) + piece(0x15, 8, crypto(message, len(message))))
    yield piece(1, 0, crypto(message[:70])) + piece(0x21, 1, crypto(message[70:], 70)) + piece(0x20, 0, bytes(16))
    yield piece(1, 0, crypto(message)) + piece(0x0B, 0, crypto(message[:80])) + piece(0x8B, 1, crypto(message))
    yield piece(0, 0, initial(crypto(message), pad=0)) + piece(0, 0, long_packet(1, bytes(20)))
    yield piece(0, 0, long_packet(0, bytes(1200), version=0xFF000018))


def replies() -> Iterator[bytes]:
    """Behind two bytes that choose the question and the cut."""
    for data in (server_hello(), server_hello(RETRY), CHANGE_CIPHER_SPEC * 2 + server_hello(padding=40),
                 record(b"\x02\x28", kind=21), record(server_hello()[5:9]) + record(server_hello()[9:])):
        yield b"\0\x20" + data
    for status in ("101 Switching Protocols", "200 OK", "407 x"):
        for question in (b"\1\x10", b"\2\x10"):
            yield question + response("103 Early Hints", "Link: x") + response(status) + b"body"


def dns() -> Iterator[bytes]:
    """Queries and answers with compressed names, EDNS, services and signatures over them."""
    ech = service((0, b"\0\1\0\5"), (1, b"\2h2"), (4, bytes(4)), (5, b"\0\4\xfe\x0d\0\0"), (6, bytes(16)))
    hidden = resource(ASKED, dns_wire.HTTPS, ech)
    signature = resource(ASKED, dns_wire.RRSIG, b"\0\x41\x0d\2" + bytes(14) + dns_wire.name(_NAME) + bytes(8))
    soa = ASKED + b"\4root" + ASKED + bytes(20)
    address = resource(ASKED, dns_wire.A, bytes(4))
    cookie = dns_wire.edns((10, bytes(16)), flags=0x8000)
    yield dns_wire.query(_NAME)
    yield dns_wire.query(_NAME.upper(), dns_wire.HTTPS, cookie)
    alias = resource(ASKED, dns_wire.CNAME, b"\1a" + ASKED)
    yield dns_wire.answer(_NAME, dns_wire.A, alias, address, additionals=(cookie,))
    yield dns_wire.answer(_NAME, dns_wire.HTTPS, hidden, signature, address)
    denial = resource(b"\xc0\x14", dns_wire.SOA, soa)
    yield dns_wire.message(dns_wire.question(_NAME), authorities=(denial,), flags=dns_wire.ANSWER | 3)
    exchange = resource(ASKED, dns_wire.MX, b"\0\1" + ASKED)
    yield dns_wire.answer(_NAME, dns_wire.ANY, exchange, resource(ASKED, dns_wire.AAAA, bytes(16)))
    yield dns_wire.answer(_NAME, dns_wire.A, address, flags=dns_wire.ANSWER | dns_wire.TRUNCATED)[:-1]
    deleted = resource(ASKED, dns_wire.A, b"", group=255)
    yield dns_wire.message(dns_wire.question(_NAME, dns_wire.SOA), answers=(deleted,), flags=5 << 11)


def packets() -> Iterator[bytes]:
    """Both families and transports, with options, extension headers and fragments."""
    segment = tcp(b"payload", options=b"\x01\x01\x08\x0a" + bytes(8))
    yield ip(6, segment)
    yield ip(6, tcp(b"x", options=b"\x13\x12" + bytes(18)), options=b"\x07\x07" + bytes(6))
    yield ip(6, segment, fragment=0x2000)
    yield ip(17, udp(b"payload"))
    yield ip(17, udp(b"payload"), CLIENT6, SERVER6)
    chain = [(0, b"\x01" + bytes(14)), (43, bytes(7)), (44, bytes(7)), (51, b"\x04" + bytes(22)), (60, bytes(7))]
    yield ip(6, segment, CLIENT6, SERVER6, chain=chain)
    yield ip(6, segment, CLIENT6, SERVER6, chain=[(44, b"\0\0\x01" + bytes(4))])


def scripts() -> Iterator[bytes]:
    """Each text whole, in pieces, in reverse and behind a decoy, with the server's answers and with forged ones."""
    port = PORTS[0]
    all_, answers = 1 << 12, Answer(port, 255)
    for kind, (text, _) in enumerate(TEXTS):
        pieces = [Send(port, at, 60) for at in range(0, len(text), 60)]
        unseen = Send(port, 0, all_, decoy=True, arrives=False)
        for willing in (0, 16):
            head = bytes((kind | willing, 1, 2, 3))
            yield written(head, [Send(port, 0, all_), answers])
            yield written(head, [*pieces, answers, *pieces])
            yield written(head, [step for piece in pieces for step in (piece, Answer(port, 99, 9))])
            yield written(head, [unseen, Forge(port, willing=True), Send(port, 0, all_)])
            for cut in (FIRST, *range(40, len(text), 40)):
                # The front is honest, and what the server says to it may pass for the answer to what it never gets.
                rest = Send(port, cut, all_, decoy=True, arrives=False)
                yield written(head, [Send(port, 0, cut), rest, answers, Send(port, cut, all_)])
        yield written(bytes((kind | 32, 1, 2, 3)), pieces[::-1])
        yield written(bytes((kind, 1, 2, 3)), [unseen, Send(port, 0, all_)])


def captures() -> Iterator[bytes]:
    """Both formats, several link layers, with and without the flow's opening, whole and in fragments."""
    talk = Talk()
    opening, packets_ = talk.opening(), [talk.says(hello(_NAME)), talk.hears(server_hello()), talk.says(b"x")]
    yield pcap([ether(packet) for packet in opening + packets_])
    yield pcap([ether(packet, 0x8100) for packet in packets_], order=">", nano=True)
    yield pcapng([ether(packet) for packet in opening + packets_])
    whole = packets_[0]
    pieces = [whole[:6] + field.to_bytes(2, "big") + whole[8:20] + part
              for field, part in ((0x2000, whole[20:60]), (5, whole[60:]))]
    pieces = [piece[:2] + len(piece).to_bytes(2, "big") + piece[4:] for piece in pieces]
    for link, head in ((101, b""), (0, b"\x02\0\0\0"), (113, bytes(14) + b"\x08\0"), (276, b"\x08\0" + bytes(18)),
                       (9, b"\xff\x03\0\x21"), (192, b"\0\0\x08\0\x65\0\0\0")):
        yield pcap([head + packet for packet in opening + pieces], link)


SEEDS = {"http": http, "tls": tls, "ssh": ssh, "quic": quic, "replies": replies, "dns": dns, "packet": packets,
         "engine": scripts, "captures": captures}
