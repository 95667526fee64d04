"""Conntrack entries by ctnetlink: listed, marked, deleted, watched. Bits of a mark outside the field never change.

Attributes: include/uapi/linux/netfilter/nfnetlink_conntrack.h. What the kernel does with them is said with the function
of net/netfilter/nf_conntrack_netlink.c that does it. Own code because of speed: 50,000 entries take pyroute2 20 s.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from functools import lru_cache, partial
from struct import Struct

from msgspec import Struct as Record

from nfqdpi.core.verdict import MarkField, Verdict
from nfqdpi.core.wire import Malformed
from nfqdpi.kernel.netlink import CREATE, NESTED, Message, Netlink, attribute, attributes, nested, nfgenmsg

# --- ctnetlink's constants ---
_NEW, _GET, _DELETE = 0x100, 0x101, 0x102  # NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_*
_GROUP_NEW, _GROUP_UPDATE, _GROUP_DESTROY = 1, 2, 3  # NFNLGRP_CONNTRACK_*
_ORIG, _REPLY, _STATUS, _PROTOINFO, _TIMEOUT, _MARK = 1, 2, 3, 4, 7, 8
_COUNTERS_ORIG, _COUNTERS_REPLY, _ID, _ZONE, _MARK_MASK = 9, 10, 12, 18, 21
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_V4, _V6 = (1, 2), (3, 4)  # CTA_IP_V4_SRC and _DST, CTA_IP_V6_SRC and _DST
_PROTO_NUM, _SPORT, _DPORT = 1, 2, 3
_PROTOINFO_TCP, _TCP_STATE = 1, 1
_PACKETS, _BYTES = 1, 2
_TCP_STATES = ("none", "syn_sent", "syn_recv", "established", "fin_wait", "close_wait", "last_ack", "time_wait",
               "close", "syn_sent2")  # enum tcp_conntrack
_U16, _U32 = Struct("!H"), Struct("!I")

_Bytes = bytes  # Entry has a field of that name

# --- ours ---
_EVENT_BUFFER = 8 << 20  # bytes; some 20,000 events may wait


class Tuple(Record, frozen=True):
    """One direction of an entry. Ports are 0 for protocols without."""

    proto: int
    src: str
    sport: int
    dst: str
    dport: int


class Entry(Record, frozen=True):
    """One tracked flow. ``orig`` is the tuple of its first packet, ``reply`` the one that answers bear (after NAT).

    ``timeout`` in seconds, ``tcp_state`` as conntrack(8) words it, in lower case; ``packets`` and ``bytes`` are of both
    directions and None where nf_conntrack_acct is off. ``key`` is ``orig`` in the kernel's own words, by which it finds
    the entry again; without it, ``orig`` must be of a protocol with ports.
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
    bytes: int | None = None
    key: _Bytes = b""


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


def dump(field: MarkField, verdict: Verdict | None = None, family: int = socket.AF_UNSPEC) -> Iterator[Entry]:
    """The entries whose field holds the verdict, or all of them, while the kernel lists them.

    Filtered in the kernel: (mark & CTA_MARK_MASK) == CTA_MARK, also for 0 (ctnetlink_filter_match).
    Raises OSError, Malformed.
    """
    mark = b"" if verdict is None else _mark(field, verdict)
    with Netlink() as kernel:
        yield from map(decode, kernel.dump(_GET, nfgenmsg(family) + mark))


def watch() -> Iterator[Event]:
    """Changes of entries as the kernel makes them, without end. Raises OSError, Malformed."""
    with Netlink() as kernel:
        kernel.join(_GROUP_NEW, _GROUP_UPDATE, _GROUP_DESTROY, buffer=_EVENT_BUFFER)
        while True:
            try:
                heard = list(kernel.hear())
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                yield Event(Change.LOST)
                continue
            yield from map(_event, heard)


class Conntrack:
    """Changes entries. Each call waits for the kernel's answer; OSError with ENOENT says that the entry is gone."""

    def __init__(self, kernel: Netlink) -> None:
        self._kernel = kernel

    def set_mark(self, entry: Entry, field: MarkField, verdict: Verdict) -> None:
        """Write the verdict into the field: mark = (mark & ~CTA_MARK_MASK) ^ CTA_MARK (ctnetlink_change_mark)."""
        self._kernel.change(_NEW, _named(entry) + _mark(field, verdict))

    def delete(self, entry: Entry) -> None:
        """Forget the entry; not another one of the same tuple, for the id is compared (ctnetlink_del_conntrack)."""
        self._kernel.change(_DELETE, _named(entry) + attribute(_ID, _U32.pack(entry.id)))

    def mark_all(self, entries: Iterable[Entry], field: MarkField, verdict: Verdict) -> int:
        """Write the verdict into each entry that is still there; how many these were."""
        return sum(_still_there(partial(self.set_mark, entry, field, verdict)) for entry in entries)

    def delete_all(self, entries: Iterable[Entry]) -> int:
        """Forget each entry that is still there; how many these were."""
        return sum(_still_there(partial(self.delete, entry)) for entry in entries)

    def flush(self, field: MarkField, verdict: Verdict) -> None:
        """Forget every entry whose field holds the verdict, in one message (ctnetlink_flush_conntrack)."""
        self._kernel.change(_DELETE, nfgenmsg() + _mark(field, verdict))


# --- codec ---

def decode(message: Message) -> Entry:
    """An entry out of a message. Raises Malformed on what is none."""
    try:
        return _entry(message.family, attributes(message.payload))
    except (KeyError, IndexError, struct.error, OSError) as error:
        raise Malformed(f"a conntrack entry without {error}") from error


def _entry(family: int, found: dict[int, bytes]) -> Entry:
    packets = volume = tcp_state = None
    if _COUNTERS_ORIG in found and _COUNTERS_REPLY in found:
        both = attributes(found[_COUNTERS_ORIG]), attributes(found[_COUNTERS_REPLY])
        packets = sum(_integer(counters, _PACKETS) for counters in both)
        volume = sum(_integer(counters, _BYTES) for counters in both)
    if _PROTOINFO in found:
        tcp_state = _tcp_state(found[_PROTOINFO])
    return Entry(
        family=family,
        orig=_tuple(found[_ORIG]),
        reply=_tuple(found[_REPLY]),
        mark=_integer(found, _MARK),
        status=_integer(found, _STATUS),
        timeout=_integer(found, _TIMEOUT),
        tcp_state=tcp_state,
        id=_integer(found, _ID),
        zone=_integer(found, _ZONE),
        packets=packets,
        bytes=volume,
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
    """A tuple of a protocol with ports, as ctnetlink_dump_tuples writes it."""
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


# Reading tuples attribute by attribute took most of a dump's time. Where one has the size and the headers that the
# kernel gives to a protocol with ports, it is read at once.
_USUAL = {
    usual[0].size: usual for usual in (_usual("0.0.0.0", socket.AF_INET, 4), _usual("::", socket.AF_INET6, 16))  # noqa: S104
}


def _mark(field: MarkField, verdict: Verdict) -> bytes:
    return attribute(_MARK, _U32.pack(field.value(verdict))) + attribute(_MARK_MASK, _U32.pack(field.mask))


def _named(entry: Entry) -> bytes:
    """What the kernel finds an entry by (ctnetlink_parse_tuple, ctnetlink_parse_zone)."""
    zone = attribute(_ZONE, _U16.pack(entry.zone)) if entry.zone else b""
    return nfgenmsg(entry.family) + attribute(_ORIG | NESTED, entry.key or _encode(entry.orig)) + zone


def _still_there(change: Callable[[], None]) -> bool:
    try:
        change()
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
        return False
    return True


def _event(message: Message) -> Event:
    if message.kind == _DELETE:
        return Event(Change.DESTROY, decode(message))
    return Event(Change.NEW if message.flags & CREATE else Change.UPDATE, decode(message))
