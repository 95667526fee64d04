"""What the supervisor and a worker say to each other, over one SOCK_SEQPACKET.

To the worker: a policy, as its number and a memory file that holds what it is made of. From it: that it is ready, what
it has decided, that it decides by the policy of a number, which plugins go wrong, or why it cannot go on. The end of
the channel tells it to stop.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import socket
from enum import Enum
from mmap import PROT_READ, mmap
from struct import Struct
from typing import Any, NamedTuple

import msgspec

LONGEST = 1 << 19  # bytes of one message; more than a worker puts into one, whatever a plugin says of a unit
_WAITING = 8 << 20  # bytes, some seconds of a busy worker's events: the supervisor has other things to do
_SO_SNDBUFFORCE = 32  # asm-generic/socket.h; beyond wmem_max
_NUMBER = Struct("=Q")
_ARRAY = Struct("!IBI")  # the rows' length; msgpack's "array 32", whose items follow one another
_FILE = Struct("=i")  # a descriptor, as SCM_RIGHTS has it
_room = memoryview(bytearray(LONGEST))  # for what is received: memory made for each message comes from the kernel


def pair() -> tuple[socket.socket, socket.socket]:
    """The supervisor's end and the other process's, each of which may be told much before it listens. Needs
    CAP_NET_ADMIN."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _WAITING)
    return ours, theirs


def received(channel: socket.socket) -> bytes:
    """The next message; b"" at the channel's end. Raises OSError."""
    return bytes(_room[: channel.recv_into(_room)])


def heard(channel: socket.socket) -> bytes:
    """The supervisor's next message, none of which is empty; b"": there is none. At the channel's end the loop is told
    to wait for no more."""
    try:
        message = received(channel)
    except OSError:
        return b""
    if not message:
        asyncio.get_running_loop().remove_reader(channel)
    return message


class Kind(Enum):
    """What a worker's message begins with."""

    READY = b"r"
    DECIDED = b"d"
    GOVERNED = b"g"
    PLUGINS = b"p"
    FAILED = b"f"

    def __call__(self, content: bytes | bytearray = b"") -> bytes:
        """The message."""
        return self.value + content


def decided(count: int, rows: bytes | bytearray, lines: bytes | bytearray) -> bytes:
    """A worker's message: so many rows for the record, encoded by msgpack, and lines for the event file."""
    return Kind.DECIDED(_ARRAY.pack(len(rows), 0xDD, count) + rows + lines)


def decided_of(content: bytes) -> tuple[int, bytes, bytes]:
    """How many rows a DECIDED message has, the rows as one array of msgpack's, and the lines."""
    length, _, count = _ARRAY.unpack_from(content)
    end = _ARRAY.size + length
    return count, content[4:end], content[end:]


def governed(number: int) -> bytes:
    """A worker's message: every later decision is by this policy."""
    return Kind.GOVERNED(_NUMBER.pack(number))


def number_of(content: bytes) -> int:
    """The number in a GOVERNED message."""
    return int(_NUMBER.unpack(content)[0])


class PluginNews(NamedTuple):
    """What befell plugins in a worker: ``faults`` by name since the last news, the ``words`` of the last one, and who
    is ``left_out`` now."""

    faults: dict[str, int]
    words: str
    left_out: list[str]

    def message(self) -> bytes:
        return Kind.PLUGINS(msgspec.json.encode(self))

    @classmethod
    def read(cls, content: bytes) -> PluginNews:
        return msgspec.json.decode(content, type=cls)


class Parcel:
    """A policy's makings on their way to the workers: packed once, each gets the same memory."""

    def __init__(self, number: int, makings: object) -> None:
        self.number = number
        self._file = os.memfd_create("policy", os.MFD_CLOEXEC)
        with os.fdopen(os.dup(self._file), "wb") as file:
            pickle.dump(makings, file, pickle.HIGHEST_PROTOCOL)

    def send(self, channel: socket.socket) -> None:
        """Raises OSError where the worker takes nothing any more."""
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, _FILE.pack(self._file))
        channel.sendmsg([_NUMBER.pack(self.number)], [rights], socket.MSG_DONTWAIT)

    def close(self) -> None:
        os.close(self._file)


def receive(channel: socket.socket) -> tuple[int, Any] | None:
    """A policy's number and makings; None at the channel's end. Raises BlockingIOError where nothing is there."""
    # socket.recv_fds of Python 3.11 takes flags and passes none on.
    data, rights, _, _ = channel.recvmsg(_NUMBER.size, socket.CMSG_LEN(_FILE.size), socket.MSG_DONTWAIT)
    if not data:
        return None
    (descriptor,) = _FILE.unpack(rights[0][2])
    # Mapped, not read: whoever was sent the file shares one position in it.
    with os.fdopen(descriptor, "rb") as file, mmap(file.fileno(), 0, prot=PROT_READ) as memory:
        return number_of(data), pickle.loads(memory)  # noqa: S301  by our own supervisor
