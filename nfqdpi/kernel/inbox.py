"""What waits on a socket, several messages by one system call (recvmmsg(2)).

That none waits is an answer here. Python's own sockets raise then, which takes a tenth of what a whole packet does.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from mmap import mmap
from struct import Struct

_PIECE = Struct("@PN")  # struct iovec (readv(2)): start, length
# struct msghdr (recvmsg(2)): name and its length, pieces and how many, control and its length, flags
_HEADER = Struct("@PIPNPNi0P")
_MESSAGE = Struct(_HEADER.format + "I0P")  # struct mmsghdr (recvmmsg(2)): a header, and how long the message is


class Inbox:
    """Reads a socket of datagrams, at most ``most`` at a time; of one longer than ``longest`` bytes what is over is
    lost."""

    def __init__(self, descriptor: int, most: int, longest: int) -> None:
        self._descriptor, self._most, self._longest = descriptor, most, longest
        self._memory = mmap(-1, most * longest)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self._pieces = ctypes.create_string_buffer(b"".join(
            _PIECE.pack(start + number * longest, longest) for number in range(most)))
        pieces = ctypes.addressof(self._pieces)
        self._messages = ctypes.create_string_buffer(b"".join(
            _MESSAGE.pack(0, 0, pieces + number * _PIECE.size, 1, 0, 0, 0, 0) for number in range(most)))
        step = _MESSAGE.size // 4
        self._words = (ctypes.c_uint32 * (most * step)).from_buffer(self._messages)
        self._lengths = list(range(_HEADER.size // 4, most * step, step))  # which of these are lengths
        self._recvmmsg = ctypes.CDLL(None, use_errno=True).recvmmsg

    def read(self) -> list[bytes]:
        """Those that wait, in their order; does not wait. Raises OSError: ENOBUFS where a netlink socket was full."""
        count: int = self._recvmmsg(self._descriptor, self._messages, self._most, socket.MSG_DONTWAIT, None)
        if count < 0:
            if (error := ctypes.get_errno()) == errno.EAGAIN:
                return []
            raise OSError(error, os.strerror(error))
        found: list[bytes] = []
        at = 0
        for word in self._lengths[:count]:
            length: int = self._words[word]
            found.append(self._memory[at : at + length])
            at += self._longest
        return found
