"""Answers in a server's name, to who has asked it."""

from __future__ import annotations

import socket
from types import TracebackType
from typing import Self

_IPV4, _IPV6 = 0x0800, 0x86DD  # if_ether.h: ETH_P_IP, ETH_P_IPV6


class Answerer:
    """A packet socket that hears nothing. Needs CAP_NET_RAW, else PermissionError.

    What it sends goes by conntrack and NAT: the question was dropped, and conntrack forgot it, so an answer would be a
    new flow of the server's, whose source port NAT may change, and the client's next question the reply to that, which
    NAT would let out with the client's own address.
    """

    def __init__(self) -> None:
        kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_PACKET, kind, 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._socket.close()

    def send(self, packet: bytes, interface: int, address: bytes) -> bool:
        """Send a whole packet, IP header first, by the interface with this index to this hardware address (none, where
        the link has none): to where the question came from. False where the kernel does not take it; never raises."""
        protocol = _IPV4 if packet[:1] < b"\x60" else _IPV6
        try:
            self._socket.sendto(packet, (socket.if_indextoname(interface), protocol, 0, 0, address))
        except OSError:
            return False
        return True
