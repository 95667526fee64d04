"""What is measured from outside the daemon: the kernel's queue counters and marks, and what reaches the server."""

from __future__ import annotations

import re
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from nfqdpi.lab.namespace import Namespace
from nfqdpi.lab.network import Family

_ETH_P_ALL = 3  # linux/if_ether.h
_ETH_HEADER = 14
_SO_RCVBUFFORCE = 33  # asm-generic/socket.h
_TAP_BUFFER = 4 << 20  # bytes; the default holds some hundred small packets
_ID_SEQUENCE = 7  # column of nfnetlink_queue: packets that ever entered the queue


def queued(gateway: Namespace) -> int:
    """Packets that have entered the namespace's queues; a queue that is gone counts no more."""
    with gateway.entered():
        try:
            lines = Path("/proc/thread-self/net/netfilter/nfnetlink_queue").read_text().splitlines()
        except FileNotFoundError:  # nfnetlink_queue is a module and not loaded yet
            return 0
    return sum(int(line.split()[_ID_SEQUENCE]) for line in lines)


@dataclass(frozen=True, slots=True)
class Tracked:
    """A conntrack entry: the client's port and the whole 32-bit mark."""

    proto: str
    sport: int
    dport: int
    mark: int


def tracked(gateway: Namespace, family: Family) -> set[Tracked]:
    """The conntrack entries of a family, as ``conntrack -L`` shows them."""
    lines = gateway.run(["conntrack", "-L", "-f", f"ipv{family}"]).stdout.splitlines()
    entry = re.compile(r"(?P<proto>\w+) .*?sport=(?P<sport>\d+) dport=(?P<dport>\d+) .*?mark=(?P<mark>\d+)")
    return {Tracked(found["proto"], *(int(found[key]) for key in ("sport", "dport", "mark")))
            for line in lines if (found := entry.match(line))}


class Tap:
    """Counts the payload bytes that reach a namespace's ports for web and DNS, from the packets themselves."""

    def __init__(self, namespace: Namespace, interface: str = "eth0") -> None:
        with namespace.entered():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _TAP_BUFFER)
            self._socket.bind((interface, _ETH_P_ALL))
        self._socket.setblocking(False)

    def take(self) -> int:
        """The bytes since the last call (a lower bound after a flood: a full buffer loses packets)."""
        total = 0
        with suppress(BlockingIOError):
            while True:
                frame, (_, _, kind, *_) = self._socket.recvfrom(65536)
                if kind != socket.PACKET_OUTGOING:
                    total += _payload(frame[_ETH_HEADER:])
        return total

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def _payload(packet: bytes) -> int:
    """Payload bytes of a TCP or UDP packet to port 53, 80 or 443; 0 for any other."""
    if packet[0] >> 4 == 4:
        header, length, protocol = (packet[0] & 15) * 4, int.from_bytes(packet[2:4]), packet[9]
    else:  # our peers send no extension headers
        header, length, protocol = 40, 40 + int.from_bytes(packet[4:6]), packet[6]
    transport = packet[header:length]
    if protocol not in (socket.IPPROTO_TCP, socket.IPPROTO_UDP) or int.from_bytes(transport[2:4]) not in (53, 80, 443):
        return 0
    return len(transport) - (8 if protocol == socket.IPPROTO_UDP else (transport[12] >> 4) * 4)
