"""Netlink to netfilter (NETLINK_NETFILTER), as much as conntrack and the queues need: messages, attributes, a socket.

Layout: include/uapi/linux/netlink.h and netfilter/nfnetlink.h. Headers are in the machine's byte order, the values of
netfilter's attributes in network order.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable, Iterator
from itertools import islice
from struct import Struct
from types import TracebackType
from typing import NamedTuple, Self

from nfqdpi.core.wire import Malformed

# --- the protocol's constants ---
NETLINK_NETFILTER = 12
REQUEST, ACK, DUMP = 0x001, 0x004, 0x300
CREATE = 0x400
_ERROR, _DONE, _FIRST_OF_SUBSYSTEMS = 2, 3, 0x10
NESTED, KIND = 0x8000, 0x3FFF  # NLA_F_NESTED; NLA_TYPE_MASK
_HEADER = Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence number, port
_SUBSYSTEM = Struct("!BBH")  # nfgenmsg: family, version 0, resource
ATTRIBUTE = Struct("=HH")  # nlattr: length with this header, type
_ERRNO = Struct("=i")
_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1  # linux/socket.h, linux/netlink.h
_SO_RCVBUFFORCE = 33  # asm-generic/socket.h; beyond rmem_max

_CAP_ACK = 10  # linux/netlink.h: an error's answer does not repeat the message

# --- ours ---
# Bytes. Of a dump the kernel fills at most 32 KiB (af_netlink.c: netlink_dump), and all else is shorter; for 128 KiB or
# more malloc would ask the kernel each time.
_RECEIVE = 1 << 16
_BATCH = 64  # changes in one datagram; their answers, were all of them errors, fit the socket's default buffer


class Message(NamedTuple):
    """One netfilter message: its type (subsystem << 8 | operation), flags, sequence number, family and attributes."""

    kind: int
    flags: int
    seq: int
    family: int
    payload: bytes


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    return ATTRIBUTE.pack(len(value) + 4, kind) + value + bytes(-len(value) % 4)


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
        length, kind = ATTRIBUTE.unpack_from(data, at)
        if length < 4 or at + length > end:
            raise Malformed(f"an attribute of {length} bytes, {end - at} left")
        found[kind & KIND] = data[at + 4 : at + length]
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


def acknowledgements(data: bytes) -> Iterator[tuple[int, int]]:
    """The sequence number and the error (0: none) of each answer to a change."""
    at = 0
    while at + _HEADER.size + 4 <= len(data):
        length, kind, _, seq, _ = _HEADER.unpack_from(data, at)
        if kind == _ERROR:
            yield seq, -_ERRNO.unpack_from(data, at + _HEADER.size)[0]
        at += max((length + 3) & ~3, _HEADER.size)


class Netlink:
    """A socket to the kernel's netfilter in the namespace of the caller. Needs CAP_NET_ADMIN there."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
        self._socket.bind((0, 0))
        self._socket.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
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

    def change_each(self, kind: int, bodies: Iterable[bytes]) -> int:
        """Ask for many changes, and wait until the kernel has made them; how many it has. What is gone (ENOENT) is not
        counted; any other error is raised, as OSError, when the batch that it is in is done."""
        bodies = iter(bodies)
        made = 0
        while batch := list(islice(bodies, _BATCH)):
            made += len(batch) - self._change_batch(kind, batch)
        return made

    def _change_batch(self, kind: int, batch: list[bytes]) -> int:
        """How many of the batch were gone."""
        first = self._seq + 1
        self._seq += len(batch)
        silent = [message(kind, REQUEST, seq, body) for seq, body in enumerate(batch[:-1], first)]
        # Only errors are answered, but for the last, whose answer says that all are done.
        self._socket.send(b"".join((*silent, message(kind, REQUEST | ACK, self._seq, batch[-1]))))
        codes: dict[int, int] = {}
        while self._seq not in codes:
            codes.update((seq, code) for seq, code in acknowledgements(self._receive()) if seq >= first)
        for code in codes.values():
            if code not in (0, errno.ENOENT):
                raise OSError(code, os.strerror(code))
        return list(codes.values()).count(errno.ENOENT)

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

    def fileno(self) -> int:
        return self._socket.fileno()

    def wait_for_nothing(self) -> None:
        """From now on ``hear`` raises BlockingIOError where nothing is there."""
        self._socket.setblocking(False)

    def hear(self) -> Iterator[Message]:
        """The messages of one datagram; waits for it. Raises OSError: ENOBUFS where earlier ones were lost."""
        return messages(self._receive())

    def _ask(self, kind: int, flags: int, body: bytes) -> int:
        self._seq += 1
        self._socket.send(message(kind, flags | REQUEST, self._seq, body))
        return self._seq

    def _receive(self) -> bytes:
        return self._socket.recv(_RECEIVE)
