"""Packets with every field in the sender's hand, checksums included, and the few fields that it reads of an answer."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from nfqdpi.lab.network import Family
from nfqdpi.testing.packets import ACK, PSH

DIES = 2  # hops: the gateway passes it, the router behind it does not
_HOPS = 64
_TCP, _UDP, _FRAGMENT = 6, 17, 44
_MORE_FRAGMENTS = 0x2000

# IPv6 extension headers as (number, header without its first byte), RFC 8200, 4: eight bytes, nothing but padding.
HOP_BY_HOP = (0, bytes((0, 1, 4, 0, 0, 0, 0)))
DESTINATION_OPTIONS = (60, bytes((0, 1, 4, 0, 0, 0, 0)))
ATOMIC_FRAGMENT = (_FRAGMENT, bytes((0, 0, 0, 1, 2, 3, 4)))  # offset 0 and no more to come (RFC 6946)
ROUTING = (43, bytes((0, 253, 0, 0, 0, 0, 0)))  # an experimental type, no segments left: a node skips it


@dataclass(frozen=True, slots=True)
class How:
    """How a segment differs from an honest one. ``seq``, ``ack`` and ``clock`` (the timestamp's value) are shifts."""

    flags: int = ACK | PSH
    seq: int = 0
    ack: int = 0
    clock: int = 0
    ttl: int = _HOPS
    window: int = 65535
    urgent: int = 0
    options: bytes = b""
    bad_checksum: bool = False
    chain: tuple[tuple[int, bytes], ...] = ()


HONEST = How()


class Place(NamedTuple):
    """Where a segment goes: addresses and ports."""

    family: Family
    src: str
    dst: str
    sport: int
    dport: int

    @property
    def back(self) -> Place:
        return Place(self.family, self.dst, self.src, self.dport, self.sport)


def segment(place: Place, seq: int, ack: int, data: bytes, how: How) -> bytes:
    """A whole packet with one TCP segment (RFC 9293, 3.1); options are padded with end-of-list to a word."""
    options = how.options + bytes(-len(how.options) % 4)
    head = struct.pack("!HHIIBBHHH", place.sport, place.dport, seq % (1 << 32), ack % (1 << 32),
                       (20 + len(options)) // 4 << 4, how.flags, how.window, 0, how.urgent)
    body = head + options + data
    sum_ = _sum16(_address(place, place.src) + _address(place, place.dst) + struct.pack("!II", len(body), _TCP) + body)
    checksum = sum_ ^ 0x5555 if how.bad_checksum else sum_
    return packet(place, body[:16] + struct.pack("!H", checksum) + body[18:], how)


def datagram(place: Place, data: bytes, how: How = HONEST, behind: bytes = b"") -> bytes:
    """A whole packet with one UDP datagram (RFC 768), and more bytes ``behind`` it."""
    head = struct.pack("!HHHH", place.sport, place.dport, 8 + len(data), 0)
    sum_ = _sum16(_address(place, place.src) + _address(place, place.dst) + struct.pack("!II", 8 + len(data), _UDP)
                  + head + data)
    checksum = (sum_ or 0xFFFF) ^ (0x5555 if how.bad_checksum else 0)
    return packet(place, head[:6] + struct.pack("!H", checksum) + data + behind, how, _UDP)


def packet(place: Place, body: bytes, how: How = HONEST, proto: int = _TCP) -> bytes:
    """An IP packet around a transport's bytes."""
    if place.family == 4:
        return _ipv4(place, body, how.ttl, proto=proto)
    numbers = [number for number, _ in how.chain] + [proto]
    chain = b"".join(bytes((number,)) + rest for number, (_, rest) in zip(numbers[1:], how.chain, strict=True))
    return _ipv6(place, numbers[0], chain + body, how.ttl)


def fragments(place: Place, whole: bytes, cuts: Sequence[int], ident: int, *, overlap: int = 0) -> list[bytes]:
    """The packet ``whole`` in pieces, cut at these offsets of its body (multiples of 8; RFC 791, 3.2; RFC 8200, 4.5).
    Each piece but the last carries ``overlap`` bytes of the next one as well."""
    body, proto = (whole[20:], whole[9]) if place.family == 4 else (whole[40:], whole[6])
    edges = [0, *cuts, len(body)]
    return [fragment(place, body[start : end + overlap], start, ident, more=end < len(body), proto=proto)
            for start, end in pairwise(edges)]


def fragment(
    place: Place, body: bytes, offset: int, ident: int, *, more: bool, ttl: int = _HOPS, proto: int = _TCP
) -> bytes:
    """One fragment by hand."""
    if place.family == 4:
        return _ipv4(place, body, ttl, ident, offset // 8 | _MORE_FRAGMENTS * more, proto)
    return _ipv6(place, _FRAGMENT, struct.pack("!BBHI", proto, 0, offset | more, ident) + body, ttl)


class Arrived(NamedTuple):
    """A TCP segment that came in."""

    place: Place
    seq: int
    ack: int
    flags: int
    options: bytes
    data: bytes


def arrived(data: bytes) -> Arrived | None:
    """A packet's segment; None of any other packet. Our peers send no extension headers and no fragments."""
    family: Family = 4 if data[0] >> 4 == 4 else 6
    proto, start = (data[9], (data[0] & 15) * 4) if family == 4 else (data[6], 40)
    if proto != _TCP:
        return None
    end = int.from_bytes(data[2:4]) if family == 4 else 40 + int.from_bytes(data[4:6])
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    src, dst = (data[12:16], data[16:20]) if family == 4 else (data[8:24], data[24:40])
    sport, dport, seq, ack, offset, flags = struct.unpack_from("!HHIIBB", data, start)
    body = start + (offset >> 4) * 4
    place = Place(family, socket.inet_ntop(kind, src), socket.inet_ntop(kind, dst), sport, dport)
    return Arrived(place, seq, ack, flags, data[start + 20 : body], data[body : end or None])


def _ipv4(place: Place, body: bytes, ttl: int, ident: int = 0, fragment: int = 0, proto: int = _TCP) -> bytes:
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), ident, fragment, ttl, proto, 0)
    head += _address(place, place.src) + _address(place, place.dst)
    return head[:10] + struct.pack("!H", _sum16(head)) + head[12:] + body


def _ipv6(place: Place, following: int, body: bytes, ttl: int) -> bytes:
    return struct.pack("!IHBB", 6 << 28, len(body), following, ttl) + _address(place, place.src) + _address(
        place, place.dst) + body


def _address(place: Place, text: str) -> bytes:
    return socket.inet_pton(socket.AF_INET if place.family == 4 else socket.AF_INET6, text)


def _sum16(data: bytes) -> int:
    """The Internet checksum (RFC 1071). A sum of 0xffff words is the same number mod 0xffff as the whole."""
    folded = int.from_bytes(data + bytes(len(data) % 2), "big") % 0xFFFF
    return ~folded & 0xFFFF if folded else 0


def option(kind: int, body: bytes = b"") -> bytes:
    """A TCP option (RFC 9293, 3.1)."""
    return bytes((kind, 2 + len(body))) + body


def timestamps(value: int, echo: int) -> bytes:
    """The timestamps option, aligned (RFC 7323, appendix A)."""
    return b"\x01\x01" + option(8, struct.pack("!II", value % (1 << 32), echo))


def pieces(data: bytes, size: int) -> Iterable[tuple[int, bytes]]:
    """(offset, bytes) of ``data`` cut every ``size`` bytes."""
    return [(at, data[at : at + size]) for at in range(0, len(data), size)]
