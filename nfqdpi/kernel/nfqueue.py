"""nfnetlink_queue's messages: packets from the kernel, verdicts to it.

Sources: include/uapi/linux/netfilter/nfnetlink_queue.h; net/netfilter/nfnetlink_queue.c (nfqnl_build_packet_message,
nfqnl_recv_verdict).
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from struct import Struct
from typing import NamedTuple

from nfqdpi.core.decision import Path
from nfqdpi.kernel.netlink import REQUEST, attribute, message, nfgenmsg

# --- the protocol's constants ---
DROP, REPEAT = 0, 4  # NF_*: linux/netfilter.h
_VERDICT, _CONFIG = 0x301, 0x302  # NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_*
_PACKET_HDR, _VERDICT_HDR, _MARK, _TIMESTAMP, _INDEV, _OUTDEV, _HWADDR, _PAYLOAD = 1, 2, 3, 4, 5, 6, 9, 10  # NFQA_*
_CFG_PARAMS, _CFG_MASK, _CFG_FLAGS = 2, 4, 5  # NFQA_CFG_*
_FAIL_OPEN, _GSO = 1, 4  # NFQA_CFG_F_*
_COPY_PACKET = 2
_PARAMS = Struct("!IB")  # nfqnl_msg_config_params: range, mode
_ATTRIBUTE = Struct("=HH")  # nlattr: length with this header, type
_U32 = Struct("!I")
_TIME = Struct("!QQ")  # nfqnl_msg_packet_timestamp: seconds, microseconds
_TYPE, _PACKET = slice(4, 6), (0x300).to_bytes(2, sys.byteorder)  # nlmsg_type; NFQNL_MSG_PACKET of the subsystem
_BODY = 20  # bytes of nlmsghdr and nfgenmsg
_HARDWARE = slice(8, 14)  # of the address in NFQA_HWADDR, behind its header and the address' length
_WHOLE = 0xFFFF  # bytes to copy of a packet: all of it

LONGEST = 1 << 17  # bytes; more than a message has


class Packet(NamedTuple):
    """``number`` names it to the kernel; ``data`` begins with the IP header. ``arrived``: when the kernel got it, in
    wall seconds; 0: it does not say, for nobody on the machine wants timestamps (SO_TIMESTAMP, tcpdump)."""

    number: int
    mark: int
    path: Path
    data: bytes
    arrived: float = 0.0


def packet(buffer: bytearray, size: int) -> Packet | None:
    """The packet in a message of the queue; None: the kernel says something else, as that a verdict came too late
    for a packet that it has flushed with its interface (NLMSG_ERROR). Lengths are the kernel's word."""
    if buffer[_TYPE] != _PACKET:
        return None
    number = mark = entered = leaves = 0
    sender, arrived = b"", 0.0
    at, unpack, u32 = _BODY, _ATTRIBUTE.unpack_from, _U32.unpack_from
    while at < size:
        length, kind = unpack(buffer, at)
        if kind == _PAYLOAD:  # the last
            data = bytes(memoryview(buffer)[at + 4 : at + length])
            return Packet(number, mark, Path(entered, leaves, sender), data, arrived)
        if kind == _PACKET_HDR:
            (number,) = u32(buffer, at + 4)
        elif kind == _MARK:
            (mark,) = u32(buffer, at + 4)
        elif kind == _INDEV:
            (entered,) = u32(buffer, at + 4)
        elif kind == _OUTDEV:
            (leaves,) = u32(buffer, at + 4)
        elif kind == _HWADDR:
            sender = bytes(buffer[at + _HARDWARE.start : at + _HARDWARE.stop])
        elif kind == _TIMESTAMP:
            seconds, microseconds = _TIME.unpack_from(buffer, at + 4)
            arrived = seconds + microseconds / 1e6
        at += (length + 3) & ~3
    return Packet(number, mark, Path(entered, leaves, sender), b"", arrived)


def verdicts(queue: int) -> Callable[[int, int, int], bytearray]:
    """What makes the message that gives a packet of this queue its verdict, with its number and its mark from now on.
    The buffer is the same every time."""
    to_mark = attribute(_MARK, bytes(4))
    body = attribute(_VERDICT_HDR, bytes(8)) + to_mark
    buffer = bytearray(message(_VERDICT, REQUEST, 0, nfgenmsg(resource=queue) + body))
    pack, header = Struct("!II4sI").pack_into, to_mark[:4]

    def verdict(verdict: int, number: int, mark: int) -> bytearray:
        pack(buffer, _BODY + 4, verdict, number, header, mark)
        return buffer

    return verdict


def replacing(queue: int, number: int, mark: int, data: bytes) -> bytes:
    """The message by which a packet of this queue goes on as another, ``data``, IP header first (nfqnl_mangle())."""
    verdict = attribute(_VERDICT_HDR, struct.pack("!II", REPEAT, number)) + attribute(_MARK, _U32.pack(mark))
    return message(_VERDICT, REQUEST, 0, nfgenmsg(resource=queue) + verdict + attribute(_PAYLOAD, data))


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
