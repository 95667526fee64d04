"""IP packets from their parts, without checksums: conntrack has checked those before anybody sees a packet."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from ipaddress import ip_address

FIN, SYN, RST, PSH, ACK, URG = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20

CLIENT, SERVER = "10.0.0.2", "10.0.1.2"
CLIENT6, SERVER6 = "fd00::2", "fd00:1::2"


def ip(proto: int, body: bytes, src: str | bytes = CLIENT, dst: str | bytes = SERVER, *, options: bytes = b"",
       fragment: int = 0, chain: Iterable[tuple[int, bytes]] = ()) -> bytes:
    """A packet of the addresses' IP version around a transport's ``proto`` and ``body``. ``options`` and ``fragment``
    are IPv4's (RFC 791, 3.1), ``chain`` the IPv6 extension headers as (number, header without its first byte)."""
    source, target = ip_address(src), ip_address(dst)
    if source.version == 4:
        size = 20 + len(options)
        head = struct.pack("!BBHHHBBH", 0x40 | size // 4, 0, size + len(body), 1, fragment, 64, proto, 0)
        return head + source.packed + target.packed + options + body
    numbers = [number for number, _ in chain] + [proto]
    extensions = b"".join(bytes((following,)) + rest for following, (_, rest) in zip(numbers[1:], chain, strict=True))
    head = struct.pack("!IHBB", 6 << 28, len(extensions) + len(body), numbers[0], 64)
    return head + source.packed + target.packed + extensions + body


def tcp(payload: bytes = b"", *, seq: int = 0, ack: int = 0, flags: int = ACK | PSH, sport: int = 40000,
        dport: int = 443, options: bytes = b"") -> bytes:
    """A TCP segment (RFC 9293, 3.1)."""
    offset = (20 + len(options)) // 4 << 4
    return struct.pack("!HHIIBBHHH", sport, dport, seq % (1 << 32), ack % (1 << 32), offset, flags, 65535, 0,
                       0) + options + payload


def udp(payload: bytes = b"", *, sport: int = 40000, dport: int = 443, length: int | None = None) -> bytes:
    """A UDP datagram (RFC 768)."""
    return struct.pack("!HHHH", sport, dport, 8 + len(payload) if length is None else length, 0) + payload
