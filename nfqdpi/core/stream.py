"""The first bytes of one direction of a TCP stream: in order, bounded, first copy wins.

The invariant: a byte that was passed on is on record until the unit it belongs to is judged and the record is full;
a second copy of a recorded byte that differs is a conflict (E2, E3). A server that gets the bytes that we passed can
so never read a unit that we did not.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from nfqdpi.core._native import mypyc_attr
from nfqdpi.core.judged import Judged

_SEQ_BITS: Final = 1 << 32
_SEQ_HALF: Final = 1 << 31
_PIECE: Final = 120  # bytes that a piece costs beside its own: a tuple, an integer, a bytes header, a place among them


class Added(Enum):
    """What became of a segment's bytes."""

    NEW = auto()  # at least one byte that was not there before
    SEEN = auto()  # nothing new, nothing that differs; or opaque
    UNFIT = auto()  # no server would take it as it stands
    OUTSIDE = auto()  # wholly below the record, or too far ahead of it
    PROBE = auto()  # a keep-alive: one byte of garbage just below the next (RFC 9293, 3.8.4)
    CONFLICT = auto()  # a second copy that differs
    FULL = auto()  # more bytes than the limit, and still no end


@mypyc_attr(acyclic=True)
class StreamBuffer:
    """Offsets count from ``base``, the sequence number of the stream's first byte, and never wrap.

    ``limit`` bounds the bytes ahead of ``start`` and, some times over, the judged ones behind it; ``max_ahead`` the
    pieces that wait behind gaps. A copy of what is no longer on record is refused: it might differ.
    """

    __slots__ = ("_ahead", "_behind", "_judged", "base", "floor", "head", "high", "limit", "max_ahead", "segments",
                 "start")

    def __init__(self, base: int, limit: int, max_ahead: int) -> None:
        self.base = base
        self.limit = limit
        self.max_ahead = max_ahead
        self.start = 0  # offset of the unit being read
        self.head = b""  # its bytes, in order, without gaps: the prefix
        self._ahead: tuple[tuple[int, bytes], ...] = ()  # what came early: sorted, disjoint, all behind a gap
        self._behind: Judged | None = None
        self._judged = 0  # where the last judged unit ends; from there to the start it is opaque
        self.floor = 0  # offsets below it are on record no more
        self.high = 0  # highest offset seen: where the sender is, whatever the wrap
        self.segments = 0  # that the unit has taken so far

    def offset(self, seq: int) -> int:
        """The offset of a sequence number: the one nearest to where the sender is (RFC 9293, 3.4)."""
        return self.high + ((seq - self.base - self.high + _SEQ_HALF) % _SEQ_BITS) - _SEQ_HALF

    def add(self, seq: int, payload: bytes) -> Added:  # noqa: PLR0911  one for each answer
        """Put a segment's bytes on record, unless they contradict it or do not fit."""
        offset = self.offset(seq)
        end = offset + len(payload)
        if end <= self.start and offset >= self._judged:
            self.high = max(self.high, end)
            return Added.SEEN  # opaque: any bytes will do
        next_ = self.start + len(self.head)
        # Below the base a server discards; below a floor that has risen it might not have got the first copy.
        if end <= self.floor or offset < self.floor > 0:
            return Added.PROBE if len(payload) == 1 and end == next_ else Added.OUTSIDE
        if end > self.start + self.limit:
            # In order it is simply too much; ahead of a gap it may be anything, and will be sent again if it is real.
            return Added.FULL if offset <= next_ else Added.OUTSIDE
        if offset == next_ and not self._ahead:
            fresh = payload
        else:
            if self._contradicts(offset, payload):
                return Added.PROBE if len(payload) == 1 and end == next_ else Added.CONFLICT
            if offset > next_ and len(self._ahead) >= self.max_ahead:
                return Added.OUTSIDE  # it will be sent again, when the gap is filled
            fresh = payload[next_ - offset :] if offset < next_ else payload
            if not self._insert(max(offset, next_), fresh):
                self.high = max(self.high, end)
                return Added.SEEN
            fresh = b""
        self.head += fresh
        self.segments += bool(fresh)
        self.high = max(self.high, end)
        self._close_gaps()
        return Added.NEW

    def advance(self, length: int, skip: int = 0) -> None:
        """The unit of ``length`` bytes is judged; the ``skip`` behind it are opaque. The next unit starts there."""
        if self._behind is None:
            self._behind = Judged(self.limit)
        self._behind.add(self.start, self.head[:length])
        self.floor = self._behind.floor
        self.head = self.head[length + skip :]
        self._judged = self.start + length
        self.start += length + skip
        kept = []
        for where, data in self._ahead:
            if where + len(data) > self.start:
                kept.append((max(where, self.start), data[max(0, self.start - where) :]))
        self._ahead = tuple(kept)
        self.segments = int(bool(self.head))
        self._close_gaps()

    @property
    def memory(self) -> int:
        """Bytes on record, each piece with what it costs to keep one."""
        judged = self._behind.memory if self._behind is not None else 0
        return len(self.head) + judged + sum(len(data) + _PIECE for _, data in self._ahead)

    def clear(self) -> None:
        """Give the bytes back: nothing more will be read or compared."""
        self.head = b""
        self._ahead, self._behind = (), None

    def _contradicts(self, offset: int, payload: bytes) -> bool:
        """True where a byte on record has another value in this copy."""
        end = offset + len(payload)
        if offset < self.start and self._behind is not None and self._behind.contradicts(offset, payload):
            return True
        if _differ(offset, payload, self.start, self.head):
            return True
        return any(_differ(offset, payload, where, data) for where, data in self._ahead if where < end)

    def _insert(self, offset: int, data: bytes) -> bool:
        """Put the parts of ``data`` that are not on record yet among the early ones. False: there are none."""
        fresh = []
        for where, known in self._ahead:
            if where >= offset + len(data):
                break
            if where + len(known) > offset:
                if where > offset:
                    fresh.append((offset, data[: where - offset]))
                data = data[where + len(known) - offset :]
                offset = where + len(known)
        if data:
            fresh.append((offset, data))
        self._ahead = tuple(sorted((*self._ahead, *fresh)))
        return bool(fresh)

    def _close_gaps(self) -> None:
        closed, end = 0, self.start + len(self.head)
        for where, data in self._ahead:
            if where != end:
                break
            closed, end = closed + 1, end + len(data)
        if closed:
            # All at once: one by one, tens of thousands behind one gap would each copy all the others.
            self.head = b"".join((self.head, *[data for _, data in self._ahead[:closed]]))
            self._ahead = self._ahead[closed:]
            self.segments += closed


def _differ(offset: int, payload: bytes, where: int, data: bytes) -> bool:
    """True where the two pieces overlap and are not equal there."""
    low, high = max(offset, where), min(offset + len(payload), where + len(data))
    return low < high and payload[low - offset : high - offset] != data[low - where : high - where]
