"""Tracked flows as the FORWARD chain sees them, quickly: of 100,000 entries each microsecond of reading is 0.1 s."""

from __future__ import annotations

import socket
from collections.abc import Callable
from operator import itemgetter
from struct import Struct
from typing import Final, NamedTuple

from nfqdpi.core.packet import FlowKey
from nfqdpi.kernel import ctnetlink
from nfqdpi.kernel.ctnetlink import Entry, Tuple
from nfqdpi.kernel.netlink import NESTED, Message, attribute, nfgenmsg

_REPLY, _ZONE = 2, 18  # CTA_TUPLE_REPLY, CTA_ZONE: linux/netfilter/nfnetlink_conntrack.h
_PORT = Struct("!H")
_BYTES: Final = [bytes((number,)) for number in range(256)]


class Passage(NamedTuple):
    """A flow as the FORWARD chain sees it, and as the kernel finds it again.

    ``key``: protocol, client, client's port, server and server's port, in network order, where our rules meet them:
    behind DNAT and in front of SNAT. ``named``: the body that names the entry to the kernel. ``message``: all that the
    kernel says of it.
    """

    key: bytes
    named: bytes
    message: Message


def key(proto: int, client: bytes, sport: int, server: bytes, dport: int) -> bytes:
    """The key of a passage."""
    return b"%b%b%b%b%b%b%b" % (_BYTES[proto], client, _BYTES[sport >> 8], _BYTES[sport & 0xFF],
                                server, _BYTES[dport >> 8], _BYTES[dport & 0xFF])


def flow_key(key: bytes) -> FlowKey:
    """What a passage's key says."""
    size = (len(key) - 5) // 2
    src, dst = key[1 : 1 + size], key[3 + size : 3 + 2 * size]
    (sport,), (dport,) = _PORT.unpack_from(key, 1 + size), _PORT.unpack_from(key, 3 + 2 * size)
    return FlowKey(src, dst, sport, dport, key[0])


def named(key: bytes) -> bytes:
    """The body that names a passage's entry to the kernel, where no DNAT leads the flow elsewhere."""
    size = (len(key) - 5) // 2
    head, to_dst, to_proto, to_sport, to_dport, tail = _BODIES[size]
    return b"".join((head, key[1 : 1 + size], to_dst, key[3 + size : 3 + 2 * size], to_proto, key[:1], to_sport,
                     key[1 + size : 3 + size], to_dport, key[3 + 2 * size :], tail))


def passage(message: Message) -> Passage | None:
    """The passage of an entry's message; None for a protocol without ports. Raises Malformed."""
    data = message.payload
    layout = _LAYOUTS.get(data[:4])
    if layout is not None and data[layout.end : layout.end + 4] == layout.reply and _ZONED not in data:
        return Passage(b"".join(layout.pick(data)), layout.head + data[: layout.end], message)
    found = ctnetlink.entry(message)
    if not found.orig.dport:
        return None
    client, server = (socket.inet_pton(found.family, end) for end in (found.orig.src, found.reply.src))
    flow = key(found.orig.proto, client, found.orig.sport, server, found.reply.sport)
    return Passage(flow, ctnetlink.name(found), message)


class _Layout(NamedTuple):
    """Where a message holds what a passage is made of, if it begins with two tuples of a protocol with ports: the key
    takes the near end from the first and the far end from the one that answers bear."""

    head: bytes  # of a body that names an entry
    end: int  # of the first tuple
    reply: bytes  # the header of the second
    pick: Callable[[bytes], tuple[bytes, ...]]


def _layout(family: int, address: str, size: int) -> tuple[bytes, _Layout]:
    """The header of the first tuple, and the layout."""
    sample = Tuple(0xAA, address, 0xBBBB, address, 0)
    first = ctnetlink.name(Entry(family, sample, sample))[len(nfgenmsg()) :]
    end, at = len(first), first.index(socket.inet_pton(family, address))
    proto, port = first.index(b"\xaa"), first.index(b"\xbb\xbb")
    parts = ((proto, 1), (at, size), (port, 2), (end + at, size), (end + port, 2))
    return first[:4], _Layout(nfgenmsg(family), end, attribute(_REPLY | NESTED, first[4:])[:4],
                              itemgetter(*(slice(start, start + length) for start, length in parts)))


def _body(family: int, ends: tuple[str, str]) -> list[bytes]:
    """What stands before, between and behind source, destination, protocol and ports in a body that names an entry."""
    sample = Tuple(0xAA, ends[0], 0xBBBB, ends[1], 0xCCCC)
    rest, parts = ctnetlink.name(Entry(family, sample, sample)), []
    for value in (*(socket.inet_pton(family, end) for end in ends), b"\xaa", b"\xbb\xbb", b"\xcc\xcc"):
        part, _, rest = rest.partition(value)
        parts.append(part)
    return [*parts, rest]


_BODIES = {4: _body(socket.AF_INET, ("203.0.113.1", "203.0.113.2")),
           16: _body(socket.AF_INET6, ("2001:db8::1", "2001:db8::2"))}
_LAYOUTS = dict((_layout(socket.AF_INET, "203.0.113.1", 4), _layout(socket.AF_INET6, "2001:db8::1", 16)))
_ZONED = attribute(_ZONE, bytes(2))[:4]  # a zone is a part of the name; seen where there is none, it costs time only
