"""A queued packet's bytes to a Segment (TCP, RFC 9293) or a Datagram (UDP); what is neither says why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from nfqdpi.core._native import mypyc_attr
from nfqdpi.core.verdict import Reason
from nfqdpi.core.wire import u16, u32

# --- the protocols' constants ---
TCP: Final = 6
UDP: Final = 17
_IPV4, _IPV6 = 4, 6
_MORE_FRAGMENTS_OR_OFFSET: Final = 0x3FFF  # RFC 791, 3.1: MF and the fragment offset
_HOP_BY_HOP, _ROUTING, _FRAGMENT, _AUTH, _DESTINATION = 0, 43, 44, 51, 60  # RFC 8200, 4; RFC 4302
_EXTENSIONS: Final = frozenset((_HOP_BY_HOP, _ROUTING, _FRAGMENT, _AUTH, _DESTINATION))
_IPV4_HEADER: Final = 20
_IPV6_HEADER: Final = 40
_TCP_HEADER: Final = 20
_UDP_HEADER: Final = 8
_END_OF_OPTIONS, _NO_OPERATION, _SHORTEST_OPTION = 0, 1, 2  # RFC 9293, 3.2
_MD5, _AUTHENTICATION = 19, 29  # RFC 2385, RFC 5925

# --- our limits ---
_MOST_EXTENSIONS: Final = 8  # headers; RFC 8200, 4.1 knows six in the order it recommends


class Flags:
    """TCP control bits (RFC 9293, 3.1). Plain integers: an IntFlag's ``&`` takes ten times as long."""

    FIN: Final = 0x01
    SYN: Final = 0x02
    RST: Final = 0x04
    ACK: Final = 0x10
    URG: Final = 0x20


new_tuple: Final = tuple.__new__


class FlowKey(NamedTuple):
    """A five-tuple; ``src`` and ``dst`` are addresses of 4 or 16 bytes."""

    src: bytes
    dst: bytes
    sport: int
    dport: int
    proto: int

    def reversed(self) -> FlowKey:
        """The same flow seen from the other side."""
        src, dst, sport, dport, proto = self
        return new_tuple(FlowKey, (dst, src, dport, sport, proto))


# Here and in decision.py: a NamedTuple's constructor is Python's even where all else is compiled, in five times the
# time. So a value of which every packet needs one is a class with a constructor of its own; or, where it has to be a
# tuple, which is hashed and encoded, made by what that constructor calls.
@mypyc_attr(acyclic=True)
@dataclass(slots=True, init=False)
class Segment:
    """One TCP segment. ``key`` is in the direction in which the packet travels; ``options`` are raw."""

    key: FlowKey
    seq: int
    ack: int
    flags: int
    options: bytes
    payload: bytes

    def __init__(  # noqa: PLR0913, PLR0917  each is a field of the header
        self, key: FlowKey, seq: int, ack: int, flags: int, options: bytes, payload: bytes) -> None:
        self.key, self.seq, self.ack, self.flags, self.options, self.payload = key, seq, ack, flags, options, payload

    @property
    def signed(self) -> bool:
        """True with an MD5 or authentication option (RFC 2385, RFC 5925), read as tcp_parse_options() reads them."""
        options = self.options
        if _MD5 not in options and _AUTHENTICATION not in options:  # nearly all that have neither, quickly
            return False
        at, end = 0, len(options)
        while at < end and (kind := options[at]) != _END_OF_OPTIONS:
            if kind in (_MD5, _AUTHENTICATION):
                return True
            if kind == _NO_OPERATION:
                at += 1
            elif at + 1 < end and options[at + 1] >= _SHORTEST_OPTION:
                at += options[at + 1]
            else:
                break  # broken: Linux reads no further either
        return False

    def pieces(self, size: int) -> Iterator[Segment]:
        """The same in segments of at most ``size`` bytes; what ends a stream stands in the last, a SYN in the first."""
        end = len(self.payload)
        for at in range(0, end, size):
            flags, seq = self.flags, self.seq + at
            if at:
                flags, seq = flags & ~Flags.SYN, seq + bool(flags & Flags.SYN)
            if at + size < end:
                flags &= ~(Flags.FIN | Flags.RST)
            yield replace(self, seq=seq % (1 << 32), flags=flags, payload=self.payload[at : at + size])


class Datagram(NamedTuple):
    """One UDP datagram. ``key`` is in the direction in which the packet travels."""

    key: FlowKey
    payload: bytes


class Unreadable(NamedTuple):
    """Not a whole TCP or UDP packet: MALFORMED, TRUNCATED (fewer bytes than its header counts) or
    UNKNOWN_PROTOCOL (another transport)."""

    reason: Reason


_MALFORMED: Final = Unreadable(Reason.MALFORMED)
_TRUNCATED: Final = Unreadable(Reason.TRUNCATED)
_OTHER: Final = Unreadable(Reason.UNKNOWN_PROTOCOL)


def parse(data: bytes) -> Segment | Datagram | Unreadable:
    """Read a packet that begins with its IP header. Total: any bytes give one of the three.

    The IP length rules, not the buffer's: Ethernet pads short frames, and the queue's copy may be cut. Fragments are
    malformed here: conntrack puts them together before they reach a queue (nf_defrag_ipv4.c, nf_defrag_ipv6_hooks.c).
    """
    if len(data) < _IPV4_HEADER:
        return _TRUNCATED
    version = data[0] >> 4
    network = _ipv4(data) if version == _IPV4 else _ipv6(data) if version == _IPV6 else _MALFORMED
    if isinstance(network, Unreadable):
        return network
    proto, start, total, src, dst = network
    if len(data) < total:
        return _TRUNCATED
    if proto == TCP:
        return _tcp(data, start, total, src, dst)
    if proto == UDP:
        return _udp(data, start, total, src, dst)
    return _OTHER


# (transport protocol, where its header starts, where the packet ends, source, destination)
_Network = tuple[int, int, int, bytes, bytes]


def _ipv4(data: bytes) -> _Network | Unreadable:
    """RFC 791, 3.1. At least a header without options is there."""
    start, total = (data[0] & 0x0F) * 4, u16(data, 2)
    if start < _IPV4_HEADER or total < start or u16(data, 6) & _MORE_FRAGMENTS_OR_OFFSET:
        return _MALFORMED
    return data[9], start, total, data[12:16], data[16:20]


def _ipv6(data: bytes) -> _Network | Unreadable:
    """RFC 8200, 3 and 4."""
    if len(data) < _IPV6_HEADER:
        return _TRUNCATED
    proto, start, total = data[6], _IPV6_HEADER, _IPV6_HEADER + u16(data, 4)
    if proto in _EXTENSIONS:
        found = _skip_extensions(data[:total], proto)
        if found is None:
            return _TRUNCATED if len(data) < total else _MALFORMED
        proto, start = found
    return proto, start, total, data[8:24], data[24:40]


def _tcp(data: bytes, start: int, total: int, src: bytes, dst: bytes) -> Segment | Unreadable:
    if total - start < _TCP_HEADER:
        return _MALFORMED
    body = start + (data[start + 12] >> 4) * 4
    if body - start < _TCP_HEADER or body > total:
        return _MALFORMED
    key = new_tuple(FlowKey, (src, dst, u16(data, start), u16(data, start + 2), TCP))
    options = data[start + _TCP_HEADER : body]
    return Segment(key, u32(data, start + 4), u32(data, start + 8), data[start + 13], options, data[body:total])


def _udp(data: bytes, start: int, total: int, src: bytes, dst: bytes) -> Datagram | Unreadable:
    if total - start < _UDP_HEADER:
        return _MALFORMED
    length = u16(data, start + 4)
    if not _UDP_HEADER <= length <= total - start:
        return _MALFORMED
    key = new_tuple(FlowKey, (src, dst, u16(data, start), u16(data, start + 2), UDP))
    return Datagram(key, data[start + _UDP_HEADER : start + length])


def _skip_extensions(data: bytes, proto: int) -> tuple[int, int] | None:
    """(transport protocol, where its header starts), or None where the chain is too long, cut, or a real fragment."""
    start = _IPV6_HEADER
    for _ in range(_MOST_EXTENSIONS):
        if proto not in _EXTENSIONS:
            return proto, start
        if len(data) < start + 8:
            return None
        following, units = data[start], data[start + 1]
        if proto == _FRAGMENT:
            # An atomic fragment (RFC 6946) is a whole packet; offset or M set is a piece of one.
            if int.from_bytes(data[start + 2 : start + 4], "big") & 0xFFF9:
                return None
            start += 8
        elif proto == _AUTH:
            start += (units + 2) * 4  # RFC 4302, 2.2: in 4-byte words, less 2
        else:
            start += (units + 1) * 8  # RFC 8200, 4.3: in 8-byte words, less 1
        proto = following
    return None
