"""Fragments to whole packets, as the kernel does before its rules see them (nf_defrag_ipv4.c, nf_conntrack_reasm.c)."""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field
from struct import Struct
from typing import NamedTuple

# --- the protocols' constants ---
_FRAGMENT = 44  # RFC 8200, 4.5
_BEFORE_FRAGMENT = frozenset((0, 43, 60))  # hop-by-hop, routing and destination options may stand before it
_MORE, _OFFSET = 0x2000, 0x1FFF  # RFC 791, 3.1: in the 16-bit field; the offset is in 8-byte words
_LARGEST = 65535  # bytes of an IP packet

# --- our limits ---
_MOST_PACKETS = 256  # being put together; at most 16 MB
_PATIENCE = 30.0  # s (net.ipv4.ipfrag_time)

_IPV4_FIELDS = Struct("!BxHHHxB2x8s")


class _Piece(NamedTuple):
    key: tuple[bytes, ...]  # which packet it is a piece of
    head: bytes  # what goes in front of the whole, its length not yet right
    offset: int
    more: bool
    data: bytes


@dataclass(slots=True)
class _Partial:
    since: float
    head: bytes = b""
    length: int | None = None
    pieces: dict[int, bytes] = field(default_factory=dict)  # by offset
    offsets: list[int] = field(default_factory=list)  # of the pieces, sorted: there may be eight thousand
    size: int = 0  # of all pieces
    spoilt: bool = False

    @property
    def end(self) -> int:
        """Where the last piece so far ends."""
        return self.offsets[-1] + len(self.pieces[self.offsets[-1]])

    def overlaps(self, start: int, end: int) -> bool:
        """True where a piece that came before has some of these bytes."""
        place = bisect_left(self.offsets, end)
        if not place:
            return False
        before = self.offsets[place - 1]  # of those that begin before the end, the last
        return before + len(self.pieces[before]) > start

    def add(self, offset: int, data: bytes) -> None:
        """Keep a piece that overlaps none."""
        self.pieces[offset] = data
        insort(self.offsets, offset)
        self.size += len(data)


class Fragments:
    """Holds pieces until a packet is whole. Pieces that overlap, or lie behind the end, spoil it, as in the kernel
    (RFC 5722)."""

    def __init__(self) -> None:
        self._partial: dict[tuple[bytes, ...], _Partial] = {}

    def __len__(self) -> int:
        return len(self._partial)

    def whole(self, packet: bytes, now: float) -> bytes | None:
        """The packet, if it is no fragment; the one that it completes; or None."""
        piece = _ipv4_piece(packet) if packet[0] >> 4 == 4 else _ipv6_piece(packet)
        if piece is None:
            return packet
        partial = self._find(piece.key, now)
        if partial.spoilt or partial.pieces.get(piece.offset) == piece.data:
            return None
        end = piece.offset + len(piece.data)
        if partial.overlaps(piece.offset, end):
            partial.spoilt = True
            return None
        partial.add(piece.offset, piece.data)
        if piece.offset == 0:
            partial.head = piece.head
        if not piece.more:
            partial.length = end
        if partial.length is None or partial.end < partial.length:
            return None
        partial.spoilt = partial.end > partial.length
        if partial.spoilt or not partial.head or partial.size < partial.length:
            return None
        del self._partial[piece.key]
        body = b"".join(data for _, data in sorted(partial.pieces.items()))
        return _joined(partial.head, body)

    def _find(self, key: tuple[bytes, ...], now: float) -> _Partial:
        partial = self._partial.pop(key, None)
        if partial is None or now - partial.since > _PATIENCE:
            partial = _Partial(now)
            if len(self._partial) >= _MOST_PACKETS:
                del self._partial[next(iter(self._partial))]
        self._partial[key] = partial
        return partial


def _ipv4_piece(packet: bytes) -> _Piece | None:
    """The piece, or None: it is a whole packet, or too broken to tell."""
    if len(packet) < 20:
        return None
    first, total, number, fragment, proto, addresses = _IPV4_FIELDS.unpack_from(packet)
    start = (first & 0x0F) * 4
    if not fragment & (_MORE | _OFFSET) or not 20 <= start < total <= len(packet):
        return None
    head = packet[:6] + b"\0\0" + packet[8:start]
    key = (addresses, number.to_bytes(2, "big"), bytes((proto,)))
    return _Piece(key, head, (fragment & _OFFSET) * 8, bool(fragment & _MORE), packet[start:total])


def _ipv6_piece(packet: bytes) -> _Piece | None:
    if len(packet) < 40 or packet[6] not in (_FRAGMENT, *_BEFORE_FRAGMENT):
        return None
    total = 40 + int.from_bytes(packet[4:6], "big")
    following_at, start = 6, 40
    while packet[following_at] in _BEFORE_FRAGMENT:
        if start + 8 > len(packet):
            return None
        following_at, start = start, start + (packet[start + 1] + 1) * 8
    if packet[following_at] != _FRAGMENT or not start + 8 < total <= len(packet):
        return None
    field_ = int.from_bytes(packet[start + 2 : start + 4], "big")
    if not field_ & 0xFFF9:
        return None  # an atomic fragment is a whole packet (RFC 6946)
    head = bytearray(packet[:start])
    head[following_at] = packet[start]
    key = (packet[8:40], packet[start + 4 : start + 8])
    return _Piece(key, bytes(head), field_ & 0xFFF8, bool(field_ & 1), packet[start + 8 : total])


def _joined(head: bytes, body: bytes) -> bytes | None:
    total = len(head) + len(body)
    if head[0] >> 4 == 4:
        return head[:2] + total.to_bytes(2, "big") + head[4:] + body if total <= _LARGEST else None
    length = total - 40
    return head[:4] + length.to_bytes(2, "big") + head[6:] + body if length <= _LARGEST else None
