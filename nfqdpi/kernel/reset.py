"""Resets the far side of a flow: the kernel's REJECT tells the sender of a held packet, this tells its receiver."""

from __future__ import annotations

import socket
from struct import Struct
from types import TracebackType
from typing import Self

from nfqdpi.core.packet import TCP, Flags, FlowKey, Segment, parse

_HOP_LIMIT = 64  # RFC 1700's default TTL
_WORDS = 5  # of 4 bytes: a TCP header without options (RFC 9293, 3.1), and an IPv4 header as well (RFC 791, 3.1)
_IPV4 = Struct("!BBHHHBBH4s4s")
_IPV6 = Struct("!IHBB16s16s")
_TCP = Struct("!HHIIBBHHH")
_PSEUDO = Struct("!II")  # RFC 8200, 8.1; the same sum as that of RFC 9293, 3.1
_IPV6_HDRINCL = 36  # linux/in6.h


class Resetter:
    """Raw sockets that stay open. Needs CAP_NET_RAW, else PermissionError.

    What they send is local output: conntrack and NAT see it as a packet of the flow, as if the sender had sent it.
    """

    def __init__(self) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        self._sockets = {4: socket.socket(socket.AF_INET, kind, socket.IPPROTO_RAW)}
        if socket.has_ipv6:
            try:
                self._sockets[16] = socket.socket(socket.AF_INET6, kind, socket.IPPROTO_RAW)
            except OSError:
                return  # a kernel without IPv6 holds no IPv6 packet either
            self._sockets[16].setsockopt(socket.IPPROTO_IPV6, _IPV6_HDRINCL, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for raw in self._sockets.values():
            raw.close()

    def reset(self, packet: bytes) -> bool:
        """Send to the held packet's destination the RST that its source would have sent in its place.

        False where the packet is no whole TCP segment, or the kernel does not take the answer; never raises.
        """
        if (answer := reset_for(packet)) is None:
            return False
        destination, datagram = answer
        try:
            family = socket.AF_INET if len(destination) == 4 else socket.AF_INET6
            self._sockets[len(destination)].sendto(datagram, (socket.inet_ntop(family, destination), 0))
        except (OSError, KeyError):
            return False
        return True


def reset_for(packet: bytes) -> tuple[bytes, bytes] | None:
    """(destination address, IP packet) of the RST; None where ``packet`` is no whole TCP segment, or an RST itself.

    Its sequence number is the held segment's own: the receiver has not had these bytes, so it is the number that it
    expects, the only one at which it obeys (RFC 5961, 3.2).
    """
    held = parse(packet)
    if not isinstance(held, Segment) or held.flags & Flags.RST:
        return None
    key, flags = held.key, Flags.RST | held.flags & Flags.ACK
    ack = held.ack if flags & Flags.ACK else 0
    segment = _TCP.pack(key.sport, key.dport, held.seq, ack, _WORDS << 4, flags, 0, 0, 0)
    segment = segment[:16] + _checksum(key.src + key.dst + _PSEUDO.pack(len(segment), TCP) + segment) + segment[18:]
    return key.dst, _header(key, len(segment)) + segment


def _header(key: FlowKey, length: int) -> bytes:
    if len(key.src) == 16:
        return _IPV6.pack(6 << 28, length, TCP, _HOP_LIMIT, key.src, key.dst)
    # The kernel fills in the checksum and, where it is 0, the identification (raw(7)).
    return _IPV4.pack(4 << 4 | _WORDS, 0, 20 + length, 0, 0, _HOP_LIMIT, TCP, 0, key.src, key.dst)


def _checksum(data: bytes) -> bytes:
    """RFC 1071 over an even number of bytes."""
    total = sum(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
    total = (total >> 16) + (total & 0xFFFF)
    return (~(total + (total >> 16)) & 0xFFFF).to_bytes(2, "big")
