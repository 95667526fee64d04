"""Bytes of a stream that are judged, kept to compare later copies with (E2, E3)."""

from __future__ import annotations

from array import array
from bisect import bisect_right

from nfqdpi.core._native import mypyc_attr

_MOST_BYTES = 4  # times a stream's limit; so much of a peer's window, with small chunks in it, may be sent again
_PIECE = 16  # bytes that a piece costs beside its own
_OBJECTS = 450  # bytes: the record itself, empty, and the few places that its arrays keep free in any case


@mypyc_attr(acyclic=True)
class Judged:
    """Pieces of a stream in their order, each behind the one before; what lies between two is opaque.

    Bounded: past ``limit`` bytes, with what it costs to tell pieces apart, the oldest go. ``floor``: offsets in the
    stream below it are on record no more.
    """

    __slots__ = ("_data", "_end", "_places", "_starts", "floor", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit * _MOST_BYTES
        self.floor = 0
        self._data = bytearray()
        self._starts = array("Q")  # where each piece begins in the stream
        self._places = array("Q")  # and where in the data
        self._end = -1  # of the last one, in the stream

    @property
    def memory(self) -> int:
        """Bytes that the record costs: a buffer that grows takes an eighth more than it needs."""
        return _OBJECTS + self._weight + (self._weight >> 3)

    @property
    def _weight(self) -> int:
        return len(self._data) + len(self._starts) * _PIECE

    def add(self, offset: int, data: bytes) -> None:
        """Put on record what stands at ``offset``, behind all that is there."""
        if not data:
            return
        if offset != self._end:
            self._starts.append(offset)
            self._places.append(len(self._data))
        self._data += data
        self._end = offset + len(data)
        while self._weight > self.limit and self._data:
            self._forget(max(1, len(self._data) // 4))

    def contradicts(self, offset: int, payload: bytes) -> bool:
        """True where a byte on record has another value in this copy of what stands at ``offset``."""
        end = offset + len(payload)
        for piece in range(max(0, bisect_right(self._starts, offset) - 1), len(self._starts)):
            start, place = self._starts[piece], self._places[piece]
            if start >= end:
                break
            last = self._places[piece + 1] if piece + 1 < len(self._places) else len(self._data)
            low, high = max(offset, start), min(end, start + last - place)
            at = place - start
            if low < high and payload[low - offset : high - offset] != self._data[low + at : high + at]:
                return True
        return False

    def _forget(self, count: int) -> None:
        """Drop the oldest bytes."""
        piece = bisect_right(self._places, count) - 1
        self.floor = self._starts[piece] + count - self._places[piece]
        self._data = self._data[count:]  # which gives the room back; "del" keeps it
        self._starts = array("Q", [self.floor, *self._starts[piece + 1 :]])
        self._places = array("Q", [0, *(place - count for place in self._places[piece + 1 :])])
