"""nfnetlink_queue's messages: packets from the kernel, verdicts to it.

Sources: include/uapi/linux/netfilter/nfnetlink_queue.h; net/netfilter/nfnetlink_queue.c (nfqnl_build_packet_message,
nfqnl_recv_verdict).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from struct import Struct
from typing import Final

from nfqdpi.core._native import mypyc_attr
from nfqdpi.core.decision import Path
from nfqdpi.core.wire import u32
from nfqdpi.kernel.netlink import REQUEST, attribute, message, nfgenmsg

# --- the protocol's constants ---
DROP, REPEAT = 0, 4  # NF_*: linux/netfilter.h
_VERDICT, _CONFIG = 0x301, 0x302  # NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_*
_CFG_PARAMS, _CFG_MASK, _CFG_FLAGS = 2, 4, 5  # NFQA_CFG_*
_FAIL_OPEN, _GSO = 1, 4  # NFQA_CFG_F_*
_SKB_GSO: Final = 2  # NFQA_SKB_GSO, of SKB_INFO
_COPY_PACKET = 2
_PARAMS = Struct("!IB")  # nfqnl_msg_config_params: range, mode
_LOW: Final = 0 if sys.byteorder == "little" else 1  # where the bytes of nlattr's two numbers are: length, type
_HIGH: Final = 1 - _LOW
_U32 = Struct("!I")
_TIME = Struct("!QQ")  # nfqnl_msg_packet_timestamp: seconds, microseconds
_PACKET: Final = (0x300).to_bytes(2, sys.byteorder)  # nlmsg_type: NFQNL_MSG_PACKET of the subsystem
_BODY: Final = 20  # bytes of nlmsghdr and nfgenmsg
_WHOLE = 0xFFFF  # bytes to copy of a packet: all of it
# Where messages begin to be the same for many packets, behind their lengths; where the first attribute has the packet's
# number; and where they are the same again.
_SAME: Final = 4
_NUMBER: Final = 24
_AGAIN: Final = 28
_ANSWERED = 28  # where a verdict has the number
_SHORTEST: Final = 8  # bytes of an attribute that is read; _HARDWARE: of that with nfqnl_msg_packet_hw
_HARDWARE: Final = 16

# --- ours ---
# Bytes; more than a message has, whose packet has less than 64 KiB. Buffers of a power of two would share the same few
# lines of a cache.
LONGEST = (1 << 16) + 512
_WAYS: Final = 256  # that are known at a time: each neighbour has a few


class _Kind:
    """NFQA_*, of the attributes."""

    PACKET_HDR: Final = 1
    VERDICT_HDR: Final = 2
    MARK: Final = 3
    TIMESTAMP: Final = 4
    INDEV: Final = 5
    OUTDEV: Final = 6
    HWADDR: Final = 9
    PAYLOAD: Final = 10
    SKB_INFO: Final = 14


@mypyc_attr(acyclic=True)
@dataclass(slots=True, init=False)
class Packet:
    """``number`` names it to the kernel, in the kernel's own four bytes; ``data`` begins with the IP header.
    ``arrived``: when the kernel got it, in wall seconds; 0: it does not say, for nobody on the machine wants timestamps
    (SO_TIMESTAMP, tcpdump)."""

    number: bytes
    mark: int
    path: Path
    data: bytes
    arrived: float

    def __init__(self, number: bytes, mark: int, path: Path, data: bytes, arrived: float = 0.0) -> None:
        self.number, self.mark, self.path, self.data, self.arrived = number, mark, path, data, arrived


class Packets:
    """Reads the queue's messages, whose lengths are the kernel's word. What stands in front of a packet, but for the
    message's length and the packet's number, is the same for all that come from one neighbour and go one way with one
    mark: it is read once."""

    def __init__(self) -> None:
        self._ways: dict[bytes, tuple[int, Path]] = {}  # mark and path, by what says them
        self._ends: list[int] = []  # where that may end, and the packet's attribute begins
        self._same, self._mark, self._path = b"", 0, Path()  # the last

    def read(self, message: bytes) -> Packet | None:
        """The packet in a message; None: the kernel says something else, as that a verdict came too late for a packet
        that it has flushed with its interface (NLMSG_ERROR)."""
        for end in self._ends:
            same = message[_SAME:_NUMBER] + message[_AGAIN:end]
            if same != self._same:
                if (way := self._ways.get(same)) is None:
                    continue
                self._same, (self._mark, self._path) = same, way
            if len(message) >= end + 4 and _u16(message, end + 2) == _Kind.PAYLOAD:
                data = message[end + 4 : end + _u16(message, end)]
                return Packet(message[_NUMBER:_AGAIN], self._mark, self._path, data)
        return self._walk(message) if message[4:6] == _PACKET else None

    def _walk(self, message: bytes) -> Packet:  # noqa: C901  one for each attribute
        number = mark = entered = leaves = 0
        sender, arrived, joined, data = b"", 0.0, False, b""
        numbered, fit = False, True  # the number is where all messages have it; what is read lies where it is to lie
        at, size = _BODY, len(message)
        while at < size:
            length, kind = _u16(message, at), _u16(message, at + 2)
            if kind == _Kind.PAYLOAD:  # the last
                data = message[at + 4 : at + length]
                break
            fit &= length >= (_HARDWARE if kind == _Kind.HWADDR else _SHORTEST)
            if kind == _Kind.PACKET_HDR:
                number = u32(message, at + 4)
                numbered = at + 4 == _NUMBER
            elif kind == _Kind.MARK:
                mark = u32(message, at + 4)
            elif kind == _Kind.INDEV:
                entered = u32(message, at + 4)
            elif kind == _Kind.OUTDEV:
                leaves = u32(message, at + 4)
            elif kind == _Kind.HWADDR:  # behind its length
                sender = message[at + 8 : at + 14]
            elif kind == _Kind.SKB_INFO:
                joined = u32(message, at + 4) & _SKB_GSO != 0
            elif kind == _Kind.TIMESTAMP:
                seconds, microseconds = _TIME.unpack_from(message, at + 4)
                arrived = seconds + microseconds / 1e6
            at += max((length + 3) & ~3, 4)
        path = Path(entered, leaves, sender, joined)
        if numbered and fit and at < size and not arrived:  # else no other message is the same
            self._keep(message[_SAME:_NUMBER] + message[_AGAIN:at], at, mark, path)
        return Packet(number.to_bytes(4, "big"), mark, path, data, arrived)

    def _keep(self, same: bytes, end: int, mark: int, path: Path) -> None:
        if len(self._ways) >= _WAYS:
            self._ways.clear()
            self._ends.clear()
        self._ways[same] = mark, path
        if end not in self._ends:
            self._ends.append(end)


def _u16(data: bytes, at: int) -> int:
    """One of nlattr's two numbers."""
    return data[at + _LOW] | data[at + _HIGH] << 8


class Verdicts:
    """Makes the messages by which packets of a queue go on or not, with other marks."""

    def __init__(self, queue: int) -> None:
        self._subsystem = nfgenmsg(resource=queue)
        self._mark, self._marked = 0, attribute(_Kind.MARK, bytes(4))
        self._drop = self._message(DROP, bytes(4), self._marked)[:_ANSWERED]
        self._repeat = self._message(REPEAT, bytes(4), self._marked)[:_ANSWERED]

    def verdict(self, verdict: int, number: bytes, mark: int) -> bytes:
        """The message that gives a packet its verdict, DROP or REPEAT, and its mark from now on."""
        if mark != self._mark:  # most get the same
            self._mark, self._marked = mark, attribute(_Kind.MARK, _U32.pack(mark))
        return (self._drop if verdict == DROP else self._repeat) + number + self._marked

    def replacing(self, number: bytes, mark: int, data: bytes) -> bytes:
        """The message by which a packet goes on as another, ``data``, IP header first (nfqnl_mangle())."""
        return self._message(REPEAT, number, attribute(_Kind.MARK, _U32.pack(mark)) + attribute(_Kind.PAYLOAD, data))

    def _message(self, verdict: int, number: bytes, rest: bytes) -> bytes:
        given = attribute(_Kind.VERDICT_HDR, _U32.pack(verdict) + number)
        return message(_VERDICT, REQUEST, 0, self._subsystem + given + rest)


def configuration(queue: int, *, pass_when_full: bool) -> bytes:
    """The message by which a queue's listener asks for whole packets, for those that the network card or GRO has put
    together as one, and says what a full queue does. No acknowledgement is asked for.

    With GSO one packet stands for up to 64 KiB of a flow; without, the kernel takes it to pieces for the queue
    (nfqnl_enqueue_packet), and each goes through the rules, and the receiver, by itself.
    """
    flags = _U32.pack((_FAIL_OPEN if pass_when_full else 0) | _GSO)
    return message(_CONFIG, REQUEST, 0, nfgenmsg(resource=queue) + attribute(
        _CFG_PARAMS, _PARAMS.pack(_WHOLE, _COPY_PACKET)) + attribute(_CFG_FLAGS, flags) + attribute(
        _CFG_MASK, _U32.pack(_FAIL_OPEN | _GSO)))
