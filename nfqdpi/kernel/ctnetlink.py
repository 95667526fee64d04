"""The ctnetlink codec: conntrack entries out of messages, and what names an entry or a mark to the kernel.

Attributes: include/uapi/linux/netfilter/nfnetlink_conntrack.h. What the kernel does with them is said with the function
of net/netfilter/nf_conntrack_netlink.c that does it.
"""

from __future__ import annotations

import socket
import struct
from enum import StrEnum
from functools import lru_cache
from struct import Struct

from msgspec import Struct as Record

from nfqdpi.core.verdict import MarkField, Verdict
from nfqdpi.core.wire import Malformed
from nfqdpi.kernel.netlink import CREATE, NESTED, Message, attribute, attributes, nested, nfgenmsg

# --- ctnetlink's constants ---
NEW, GET, DELETE = 0x100, 0x101, 0x102  # NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_*
GROUPS = (1, 2, 3)  # NFNLGRP_CONNTRACK_NEW, _UPDATE, _DESTROY
_ORIG, _REPLY, _STATUS, _PROTOINFO, _TIMEOUT, _MARK = 1, 2, 3, 4, 7, 8
_COUNTERS_ORIG, _COUNTERS_REPLY, _ID, _ZONE, _MARK_MASK = 9, 10, 12, 18, 21
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_V4, _V6 = (1, 2), (3, 4)  # CTA_IP_V4_SRC and _DST, CTA_IP_V6_SRC and _DST
_PROTO_NUM, _SPORT, _DPORT = 1, 2, 3
_PROTOINFO_TCP, _TCP_STATE = 1, 1
_COUNTERS_PACKETS, _COUNTERS_BYTES = 1, 2
_TCP_STATES = ("none", "syn_sent", "syn_recv", "established", "fin_wait", "close_wait", "last_ack", "time_wait",
               "close", "syn_sent2")  # enum tcp_conntrack
_U16, _U32 = Struct("!H"), Struct("!I")


class Tuple(Record, frozen=True):
    """One direction of an entry. Ports are 0 for protocols without."""

    proto: int
    src: str
    sport: int
    dst: str
    dport: int


class Entry(Record, frozen=True):
    """One tracked flow. ``orig`` is the tuple of its first packet, ``reply`` the one that answers bear (after NAT).

    ``timeout`` in seconds, ``tcp_state`` as conntrack(8) words it, in lower case; ``packets`` and ``volume`` (in bytes)
    count both directions and are None where nf_conntrack_acct is off. ``key`` is ``orig`` in the kernel's own words, by
    which it finds the entry again; without it, ``orig`` must be of a protocol with ports.
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
    key: bytes = b""


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
    try:
        return _entry(message.family, attributes(message.payload))
    except (KeyError, IndexError, ValueError, struct.error) as error:
        raise Malformed(f"no conntrack entry: {error}") from error


def mark_attributes(field: MarkField, verdict: Verdict) -> bytes:
    """The verdict as CTA_MARK under CTA_MARK_MASK.

    A filter of dump and flush: (mark & CTA_MARK_MASK) == CTA_MARK, also for 0 (ctnetlink_filter_match). In a change:
    mark = (mark & ~CTA_MARK_MASK) ^ CTA_MARK (ctnetlink_change_mark).
    """
    return attribute(_MARK, _U32.pack(field.value(verdict))) + attribute(_MARK_MASK, _U32.pack(field.mask))


def name(named: Entry) -> bytes:
    """The body that names an entry (ctnetlink_parse_tuple, ctnetlink_parse_zone)."""
    zone = attribute(_ZONE, _U16.pack(named.zone)) if named.zone else b""
    return nfgenmsg(named.family) + attribute(_ORIG | NESTED, named.key or _encode(named.orig)) + zone


def id_attribute(named: Entry) -> bytes:
    """The id, which the kernel compares (ctnetlink_del_conntrack): a hash of tuple and memory place (nf_ct_get_id)."""
    return attribute(_ID, _U32.pack(named.id))


def _entry(family: int, found: dict[int, bytes]) -> Entry:
    packets = volume = None
    if _COUNTERS_ORIG in found and _COUNTERS_REPLY in found:
        both = [attributes(found[kind]) for kind in (_COUNTERS_ORIG, _COUNTERS_REPLY)]
        packets = sum(_integer(counters, _COUNTERS_PACKETS) for counters in both)
        volume = sum(_integer(counters, _COUNTERS_BYTES) for counters in both)
    return Entry(
        family=family,
        orig=_tuple(found[_ORIG]),
        reply=_tuple(found[_REPLY]),
        mark=_integer(found, _MARK),
        status=_integer(found, _STATUS),
        timeout=_integer(found, _TIMEOUT),
        tcp_state=_tcp_state(found[_PROTOINFO]) if _PROTOINFO in found else None,
        id=_integer(found, _ID),
        zone=_integer(found, _ZONE),
        packets=packets,
        volume=volume,
        key=found[_ORIG],
    )


def _integer(found: dict[int, bytes], kind: int) -> int:
    """An attribute in network order; 0 where the kernel left it out."""
    return int.from_bytes(found.get(kind, b""), "big")


@lru_cache(maxsize=1024)  # a state, window scales and flags: few kinds among thousands of entries
def _tcp_state(protoinfo: bytes) -> str | None:
    tcp = attributes(protoinfo).get(_PROTOINFO_TCP)
    return _TCP_STATES[attributes(tcp)[_TCP_STATE][0]] if tcp else None


def _tuple(data: bytes) -> Tuple:
    if (usual := _USUAL.get(len(data))) is not None:
        layout, headers, family = usual
        ip, to_src, src, to_dst, dst, ports, to_proto, proto, to_sport, sport, to_dport, dport = layout.unpack(data)
        if (ip, to_src, to_dst, ports, to_proto, to_sport, to_dport) == headers:
            return Tuple(proto, socket.inet_ntop(family, src), sport, socket.inet_ntop(family, dst), dport)
    parts = attributes(data)
    addresses, protocol = attributes(parts[_TUPLE_IP]), attributes(parts[_TUPLE_PROTO])
    family, kinds = (socket.AF_INET, _V4) if _V4[0] in addresses else (socket.AF_INET6, _V6)
    text = [socket.inet_ntop(family, addresses[kind]) for kind in kinds]
    sport, dport = (_integer(protocol, kind) for kind in (_SPORT, _DPORT))
    return Tuple(protocol[_PROTO_NUM][0], text[0], sport, text[1], dport)


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


def _usual(address: str, family: int, size: int) -> tuple[Struct, tuple[int, ...], int]:
    """The layout of an encoded tuple, one integer for each attribute's header, and what the headers hold."""
    layout = Struct(f"!L L{size}s L{size}s L LB3x LH2x LH2x")
    ip, src, _, dst, _, ports, proto, _, sport, _, dport, _ = layout.unpack(_encode(Tuple(0, address, 0, address, 0)))
    return layout, (ip, src, dst, ports, proto, sport, dport), family


# Reading tuples attribute by attribute took half of a dump's time. One that has the size and the headers which the
# kernel gives to a protocol with ports is read at once.
_USUAL = {usual[0].size: usual for usual in (_usual("127.0.0.1", socket.AF_INET, 4), _usual("::", socket.AF_INET6, 16))}
