"""nfnetlink_queue's messages: packets from the kernel, verdicts to it.

Sources: include/uapi/linux/netfilter/nfnetlink_queue.h; net/netfilter/nfnetlink_queue.c (nfqnl_build_packet_message,
nfqnl_recv_verdict).
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct
from typing import Final

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


LONGEST = 1 << 17  # bytes; more than a message has


@dataclass(slots=True, init=False)
class Packet:
    """``number`` names it to the kernel; ``data`` begins with the IP header. ``arrived``: when the kernel got it, in
    wall seconds; 0: it does not say, for nobody on the machine wants timestamps (SO_TIMESTAMP, tcpdump)."""

    number: int
    mark: int
    path: Path
    data: bytes
    arrived: float

    def __init__(self, number: int, mark: int, path: Path, data: bytes, arrived: float = 0.0) -> None:
        self.number, self.mark, self.path, self.data, self.arrived = number, mark, path, data, arrived


def packet(received: bytes) -> Packet | None:  # noqa: C901  one for each attribute
    """The packet in a message of the queue; None: the kernel says something else, as that a verdict came too late
    for a packet that it has flushed with its interface (NLMSG_ERROR). Lengths are the kernel's word."""
    if received[4:6] != _PACKET:
        return None
    number = mark = entered = leaves = 0
    sender, arrived, joined = b"", 0.0, False
    at, size = _BODY, len(received)
    while at < size:
        length = received[at + _LOW] | received[at + _HIGH] << 8
        kind = received[at + 2 + _LOW] | received[at + 2 + _HIGH] << 8
        if kind == _Kind.PAYLOAD:  # the last
            return Packet(number, mark, Path(entered, leaves, sender, joined), received[at + 4 : at + length], arrived)
        if kind == _Kind.PACKET_HDR:
            number = u32(received, at + 4)
        elif kind == _Kind.MARK:
            mark = u32(received, at + 4)
        elif kind == _Kind.INDEV:
            entered = u32(received, at + 4)
        elif kind == _Kind.OUTDEV:
            leaves = u32(received, at + 4)
        elif kind == _Kind.HWADDR:  # behind its length
            sender = received[at + 8 : at + 14]
        elif kind == _Kind.SKB_INFO:
            joined = u32(received, at + 4) & _SKB_GSO != 0
        elif kind == _Kind.TIMESTAMP:
            seconds, microseconds = _TIME.unpack_from(received, at + 4)
            arrived = seconds + microseconds / 1e6
        at += (length + 3) & ~3
    return Packet(number, mark, Path(entered, leaves, sender), b"", arrived)


def verdicts(queue: int) -> Callable[[int, int, int], bytearray]:
    """What makes the message that gives a packet of this queue its verdict, with its number and its mark from now on.
    The buffer is the same every time."""
    to_mark = attribute(_Kind.MARK, bytes(4))
    body = attribute(_Kind.VERDICT_HDR, bytes(8)) + to_mark
    buffer = bytearray(message(_VERDICT, REQUEST, 0, nfgenmsg(resource=queue) + body))
    pack, header = Struct("!II4sI").pack_into, to_mark[:4]

    def verdict(verdict: int, number: int, mark: int) -> bytearray:
        pack(buffer, _BODY + 4, verdict, number, header, mark)
        return buffer

    return verdict


def replacing(queue: int, number: int, mark: int, data: bytes) -> bytes:
    """The message by which a packet of this queue goes on as another, ``data``, IP header first (nfqnl_mangle())."""
    verdict = attribute(_Kind.VERDICT_HDR, struct.pack("!II", REPEAT, number)) + attribute(_Kind.MARK, _U32.pack(mark))
    return message(_VERDICT, REQUEST, 0, nfgenmsg(resource=queue) + verdict + attribute(_Kind.PAYLOAD, data))


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
