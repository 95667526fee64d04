"""The ctnetlink codec: conntrack entries out of messages, and what names an entry or a mark to the kernel.

Attributes: include/uapi/linux/netfilter/nfnetlink_conntrack.h. What the kernel does with them is said with the function
of net/netfilter/nf_conntrack_netlink.c that does it.
"""

from __future__ import annotations

import socket
from enum import StrEnum
from functools import lru_cache
from struct import Struct

from msgspec import Struct as Record

from nfqdpi.core.verdict import MarkField, Verdict
from nfqdpi.core.wire import Malformed
from nfqdpi.kernel.netlink import ATTRIBUTE, CREATE, KIND, NESTED, Message, attribute, attributes, nested, nfgenmsg
from nfqdpi.kernel.shape import Shapes

# --- ctnetlink's constants ---
NEW, GET, DELETE = 0x100, 0x101, 0x102  # NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_*
DESTROYED = 3  # NFNLGRP_CONNTRACK_DESTROY
GROUPS = (1, 2, DESTROYED)  # and _NEW and _UPDATE
_ORIG, _REPLY, _STATUS, _PROTOINFO, _TIMEOUT, _MARK = 1, 2, 3, 4, 7, 8
_COUNTERS_ORIG, _COUNTERS_REPLY, _ID, _ZONE, _TIMESTAMP, _MARK_MASK = 9, 10, 12, 18, 20, 21
_START = 1
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_V4, _V6 = (1, 2), (3, 4)  # CTA_IP_V4_SRC and _DST, CTA_IP_V6_SRC and _DST
_PROTO_NUM, _SPORT, _DPORT = 1, 2, 3
_PROTOINFO_TCP, _TCP_STATE = 1, 1
_COUNTERS_PACKETS, _COUNTERS_BYTES = 1, 2
_TCP_STATES = ("none", "syn_sent", "syn_recv", "established", "fin_wait", "close_wait", "last_ack", "time_wait",
               "close", "syn_sent2")  # enum tcp_conntrack
_U16, _U32 = Struct("!H"), Struct("!I")


class Tuple(Record, frozen=True, gc=False):
    """One direction of an entry. Ports are 0 for protocols without."""

    proto: int
    src: str
    sport: int
    dst: str
    dport: int


class Entry(Record, frozen=True, gc=False):
    """One tracked flow. ``orig`` is the tuple of its first packet, ``reply`` the one that answers bear (after NAT).

    ``timeout`` in seconds, ``tcp_state`` as conntrack(8) words it, in lower case; ``packets`` and ``volume`` (in bytes)
    count both directions and are None where nf_conntrack_acct is off. ``payload`` is what the kernel said, by which it
    finds the entry again; without it, ``orig`` must be of a protocol with ports. ``started``, in seconds since 1970, is
    None where nf_conntrack_timestamp was off when the flow began.
    """

    family: int
    orig: Tuple
    reply: Tuple
    mark: int = 0
    status: int = 0
    timeout: int = 0
    tcp_state: str | None = None
    id: int = 0
    zone: int = 0
    packets: int | None = None
    volume: int | None = None
    payload: bytes = b""
    started: float | None = None


class Change(StrEnum):
    """What an event tells of its entry."""

    NEW = "new"
    UPDATE = "update"
    DESTROY = "destroy"
    LOST = "lost"


class Event(Record, frozen=True):
    """A change of one entry. ``LOST`` has none: the kernel had more events than the socket could hold."""

    change: Change
    entry: Entry | None = None


def event(message: Message) -> Event:
    """A message of the multicast groups (ctnetlink_conntrack_event). Raises Malformed."""
    if message.kind == DELETE:
        return Event(Change.DESTROY, entry(message))
    return Event(Change.NEW if message.flags & CREATE else Change.UPDATE, entry(message))


def entry(message: Message) -> Entry:
    """An entry out of a message (ctnetlink_fill_info). Raises Malformed on what is none."""
    (src, dst, proto, sport, dport, far_src, far_dst, far_proto, far_sport, far_dport, mark, status, timeout, state,
     number, zone, packets, far_packets, volume, far_volume, start) = _SHAPES.values(message.payload)
    if None in (src, dst, proto, far_src, far_dst, far_proto):
        raise Malformed("an entry without a whole tuple")
    if state is not None and state >= len(_TCP_STATES):
        raise Malformed(f"TCP state {state}")
    return Entry(
        message.family,
        Tuple(proto, text(src), sport or 0, text(dst), dport or 0),
        Tuple(far_proto, text(far_src), far_sport or 0, text(far_dst), far_dport or 0),
        mark or 0,
        status or 0,
        timeout or 0,
        None if state is None else _TCP_STATES[state],
        number or 0,
        zone or 0,
        None if packets is None or far_packets is None else packets + far_packets,
        None if volume is None or far_volume is None else volume + far_volume,
        message.payload,
        start / 1e9 if start else None,
    )


def counts(message: Message) -> tuple[int, int, int]:
    """An entry's id, and the packets and bytes of both directions, 0 where nf_conntrack_acct was off when the flow
    began. Raises Malformed."""
    number, packets, far_packets, volume, far_volume = _COUNTS.values(message.payload)
    return number or 0, (packets or 0) + (far_packets or 0), (volume or 0) + (far_volume or 0)


def mark_attributes(field: MarkField, verdict: Verdict) -> bytes:
    """The verdict as CTA_MARK under CTA_MARK_MASK.

    A filter of dump and flush: (mark & CTA_MARK_MASK) == CTA_MARK, also for 0 (ctnetlink_filter_match). In a change:
    mark = (mark & ~CTA_MARK_MASK) ^ CTA_MARK (ctnetlink_change_mark).
    """
    return attribute(_MARK, _U32.pack(field.value(verdict))) + attribute(_MARK_MASK, _U32.pack(field.mask))


def name(named: Entry) -> bytes:
    """The body that names an entry (ctnetlink_parse_tuple, ctnetlink_parse_zone)."""
    zone = attribute(_ZONE, _U16.pack(named.zone)) if named.zone else b""
    key = _key(named.payload) if named.payload else _encode(named.orig)
    return nfgenmsg(named.family) + attribute(_ORIG | NESTED, key) + zone


def id_attribute(named: Entry) -> bytes:
    """The id, which the kernel compares (ctnetlink_del_conntrack): a hash of tuple and memory place (nf_ct_get_id)."""
    return attribute(_ID, _U32.pack(named.id))


def _leaves() -> dict[tuple[int, ...], tuple[str, str]]:
    """Where in a message the fields of an entry are."""
    leaves = {
        (_MARK,): ("mark", "I"), (_STATUS,): ("status", "I"), (_TIMEOUT,): ("timeout", "I"), (_ID,): ("id", "I"),
        (_ZONE,): ("zone", "H"), (_PROTOINFO, _PROTOINFO_TCP, _TCP_STATE): ("state", "B"),
        (_TIMESTAMP, _START): ("start", "Q"),
    }
    for way, prefix in ((_ORIG, ""), (_REPLY, "far_")):
        for (src, dst), code in ((_V4, "4s"), (_V6, "16s")):
            leaves[way, _TUPLE_IP, src] = (f"{prefix}src", code)
            leaves[way, _TUPLE_IP, dst] = (f"{prefix}dst", code)
        for kind, field, code in ((_PROTO_NUM, "proto", "B"), (_SPORT, "sport", "H"), (_DPORT, "dport", "H")):
            leaves[way, _TUPLE_PROTO, kind] = (prefix + field, code)
    for way, prefix in ((_COUNTERS_ORIG, ""), (_COUNTERS_REPLY, "far_")):
        leaves[way, _COUNTERS_PACKETS] = (f"{prefix}packets", "Q")
        leaves[way, _COUNTERS_BYTES] = (f"{prefix}volume", "Q")
    return leaves


_TUPLE = ("src", "dst", "proto", "sport", "dport")
_SHAPES = Shapes(_leaves(), (
    *_TUPLE, *(f"far_{field}" for field in _TUPLE), "mark", "status", "timeout", "state", "id", "zone",
    "packets", "far_packets", "volume", "far_volume", "start"))
_COUNTS = Shapes(_leaves(), ("id", "packets", "far_packets", "volume", "far_volume"))


def _key(data: bytes) -> bytes:
    """The value of the first tuple."""
    length, kind = ATTRIBUTE.unpack_from(data)  # ctnetlink_fill_info begins with it
    return data[ATTRIBUTE.size : length] if kind & KIND == _ORIG else attributes(data)[_ORIG]


@lru_cache(maxsize=65536)  # few servers, and few clients
def text(address: bytes) -> str:
    """An address as the kernel has it, for people."""
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)


def _encode(plain: Tuple) -> bytes:
    """A tuple of a protocol with ports, as the kernel writes it (ctnetlink_dump_tuples)."""
    family, (src, dst) = (socket.AF_INET6, _V6) if ":" in plain.src else (socket.AF_INET, _V4)
    return nested(
        _TUPLE_IP,
        attribute(src, socket.inet_pton(family, plain.src)),
        attribute(dst, socket.inet_pton(family, plain.dst)),
    ) + nested(
        _TUPLE_PROTO,
        attribute(_PROTO_NUM, bytes((plain.proto,))),
        attribute(_SPORT, _U16.pack(plain.sport)),
        attribute(_DPORT, _U16.pack(plain.dport)),
    )
