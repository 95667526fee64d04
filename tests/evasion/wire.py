"""An end of a link where packets made by hand go out, from addresses that no kernel there holds."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable
from typing import NamedTuple

from nfqdpi.lab.namespace import Namespace
from nfqdpi.lab.network import Lab

_ETH_P_ALL, _ETHERTYPE = 3, {4: b"\x08\x00", 6: b"\x86\xdd"}
_SOL_PACKET, _PACKET_IGNORE_OUTGOING, _SO_RCVBUFFORCE = 263, 23, 33
_BUFFER = 64 << 20  # bytes
_LONGEST_FRAME = 1 << 17  # a veth hands over what the sender's kernel would have segmented
_ETH_HEADER = 14
_POLL = 0.2  # seconds


class Link(NamedTuple):
    """Where we are, and who is at the other end."""

    here: Namespace
    there: Namespace
    interface: str  # at the other end; ours is eth0


def lan(lab: Lab) -> Link:
    return Link(lab.client, lab.gateway, "lan0")


def far(lab: Lab) -> Link:
    return Link(lab.server, lab.router, "down0")


class Wire:
    """Our end of a link. ``addresses`` are ours: the other end is told so."""

    def __init__(self, link: Link, addresses: Iterable[str]) -> None:
        self._out = _packet_socket(link.here, "eth0", 0)  # which receives nothing
        ours = self._out.getsockname()[4]
        with _packet_socket(link.there, link.interface, 0) as probe:
            self._head = probe.getsockname()[4] + ours
        link.there.configure(*(f"neigh replace {address} lladdr {ours.hex(':')} dev {link.interface} nud permanent"
                               for address in addresses))

    def send(self, packet: bytes) -> None:
        """One packet, as it is."""
        frame = self._head + _ETHERTYPE[packet[0] >> 4] + packet
        while True:
            try:
                self._out.send(frame)
            except BlockingIOError:  # the device's queue is full
                time.sleep(0.001)
            else:
                return

    def close(self) -> None:
        self._out.close()


class Tap:
    """What comes in at a namespace's eth0."""

    def __init__(self, here: Namespace) -> None:
        self._in = _packet_socket(here, "eth0", _ETH_P_ALL)
        self._in.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        self._in.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        self._in.settimeout(_POLL)

    def receive(self) -> bytes | None:
        """The next packet; None if there is none for a while, or it is neither IPv4 nor IPv6."""
        try:
            frame = self._in.recv(_LONGEST_FRAME)
        except TimeoutError:
            return None
        return frame[_ETH_HEADER:] if frame[12:_ETH_HEADER] in _ETHERTYPE.values() else None

    def close(self) -> None:
        self._in.close()


def _packet_socket(namespace: Namespace, interface: str, protocol: int) -> socket.socket:
    with namespace.entered():
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(protocol))
        made.bind((interface, protocol))
    return made
