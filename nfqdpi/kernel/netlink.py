"""Netlink to netfilter (NETLINK_NETFILTER), as much as conntrack and the queues need: messages, attributes, a socket.

Layout: include/uapi/linux/netlink.h and netfilter/nfnetlink.h. Headers are in the machine's byte order, the values of
netfilter's attributes in network order.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from struct import Struct
from types import TracebackType
from typing import NamedTuple, Self

from nfqdpi.core.wire import Malformed

# --- the protocol's constants ---
NETLINK_NETFILTER = 12
REQUEST, ACK, DUMP = 0x001, 0x004, 0x300
CREATE = 0x400
_ERROR, _DONE, _FIRST_OF_SUBSYSTEMS = 2, 3, 0x10
NESTED, _TYPE = 0x8000, 0x3FFF  # NLA_F_NESTED; NLA_TYPE_MASK
_HEADER = Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence number, port
_SUBSYSTEM = Struct("!BBH")  # nfgenmsg: family, version 0, resource
_ATTRIBUTE = Struct("=HH")  # nlattr: length with this header, type
_ERRNO = Struct("=i")
_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1  # linux/socket.h, linux/netlink.h
_SO_RCVBUFFORCE = 33  # asm-generic/socket.h; beyond rmem_max

# --- ours ---
_RECEIVE = 1 << 18  # bytes; the kernel fills at most 32 KiB a message of a dump (af_netlink.c: netlink_dump)


class Message(NamedTuple):
    """One netfilter message: its type (subsystem << 8 | operation), flags, sequence number, family and attributes."""

    kind: int
    flags: int
    seq: int
    family: int
    payload: bytes


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    return _ATTRIBUTE.pack(len(value) + 4, kind) + value + bytes(-len(value) % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attribute(kind | NESTED, b"".join(attributes))


def nfgenmsg(family: int = 0, resource: int = 0) -> bytes:
    """What the body of a netfilter message begins with; the resource is a queue's number."""
    return _SUBSYSTEM.pack(family, 0, resource)


def message(kind: int, flags: int, seq: int, body: bytes) -> bytes:
    """One whole message to the kernel."""
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, seq, 0) + body


def attributes(data: bytes) -> dict[int, bytes]:
    """The attributes in a buffer, by type without flag bits. Raises Malformed."""
    found = {}
    at, end = 0, len(data)
    while at + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < 4 or at + length > end:
            raise Malformed(f"an attribute of {length} bytes, {end - at} left")
        found[kind & _TYPE] = data[at + 4 : at + length]
        at += (length + 3) & ~3
    return found


def messages(data: bytes) -> Iterator[Message]:
    """The messages in a datagram, those of netlink itself (acknowledgement, end of a dump) included.

    Raises OSError with the code that an NLMSG_ERROR or NLMSG_DONE carries (an acknowledgement carries 0), and
    Malformed.
    """
    at, end = 0, len(data)
    while at < end:
        if end - at < _HEADER.size:
            raise Malformed(f"{end - at} bytes where a header should be")
        length, kind, flags, seq, _ = _HEADER.unpack_from(data, at)
        if length < _HEADER.size + 4 or at + length > end:
            raise Malformed(f"a message of {length} bytes, {end - at} left")
        if kind in (_ERROR, _DONE):
            (code,) = _ERRNO.unpack_from(data, at + _HEADER.size)
            if code < 0:
                raise OSError(-code, os.strerror(-code))
        body = at + _HEADER.size
        yield Message(kind, flags, seq, data[body], data[body + 4 : at + length])
        at += (length + 3) & ~3


class Netlink:
    """A socket to the kernel's netfilter in the namespace of the caller. Needs CAP_NET_ADMIN there."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
        self._socket.bind((0, 0))
        self._seq = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._socket.close()

    def change(self, kind: int, body: bytes, flags: int = 0) -> None:
        """Ask for a change and wait until the kernel has made it. Raises OSError with the kernel's error."""
        seq = self._ask(kind, flags | ACK, body)
        while not any(answer.seq == seq for answer in messages(self._receive())):
            pass

    def dump(self, kind: int, body: bytes) -> Iterator[Message]:
        """Every message of a dump, as the kernel sends them. Raises OSError with the kernel's error."""
        seq = self._ask(kind, DUMP, body)
        while True:
            for answer in messages(self._receive()):
                if answer.seq != seq:
                    continue
                if answer.kind < _FIRST_OF_SUBSYSTEMS:
                    return
                yield answer

    def join(self, *groups: int, buffer: int) -> None:
        """Hear these multicast groups, with a receive buffer of so many bytes."""
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, buffer)
        for group in groups:
            self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)

    def hear(self) -> Iterator[Message]:
        """The messages of one datagram; waits for it. Raises OSError: ENOBUFS where earlier ones were lost."""
        return messages(self._receive())

    def _ask(self, kind: int, flags: int, body: bytes) -> int:
        self._seq += 1
        self._socket.send(message(kind, flags | REQUEST, self._seq, body))
        return self._seq

    def _receive(self) -> bytes:
        return self._socket.recv(_RECEIVE)
