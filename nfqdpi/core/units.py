"""Which flow a unit began on: a table of fixed size, in memory that all workers share.

A server puts a unit together by its id, by whatever way the parts come. Two ways are two flows to us, each with a part
that says nothing, and address pairs choose the worker. So an id is one flow's, for as long as a server may remember it.

Each worker writes a part of its own and reads all. It puts an id down first and looks at the others' then: of two at
once, one at least sees the other. An entry that is half written says nothing, but who writes it has yet to look.

Tags are Python's hash of bytes: SipHash under a key that the process draws and its forks inherit, so nobody can aim at
a bucket. One that is full of ids that count takes no more: who floods it gets no parts by, and until it is over new ids
of all its clients are refused.
"""

from __future__ import annotations

from mmap import mmap
from typing import Final

LIFE: Final = 120.0  # s since an id was last seen; servers give a handshake ten seconds, aioquic a minute of silence
WAYS: Final = 8  # ids of a bucket, in each part
_BUCKETS: Final = 32768
_WORDS: Final = 3  # of an entry: tag and flow as one, so that neither is believed without the other; flow; when, in ms
_STEP: Final = WAYS * _WORDS
_PART: Final = _BUCKETS * _STEP
_MASK: Final = (1 << 64) - 1
_LIFE_MS: Final = round(LIFE * 1000)

SIZE = _PART * 8  # bytes of a part; what was never written costs no memory


class UnitTable:
    """A worker's own, over memory of one SIZE for each worker; ``part`` is the one that it writes."""

    def __init__(self, memory: mmap, part: int = 0) -> None:
        self._words = memoryview(memory).cast("Q")
        self._own = part * _PART

    def claim(self, unit: bytes, flow: int, now: float) -> bool:
        """True where the unit is this flow's (a number of 64 bits, not 0), from now on or since before. False: it is
        another's, or there is no room."""
        words, tag, when = self._words, hash(unit) & _MASK, int(now * 1000) & _MASK
        bucket = tag % _BUCKETS * _STEP
        place = -1
        for at in range(self._own + bucket, self._own + bucket + _STEP, _WORDS):
            if not self._counts(at, when):
                place = at if place < 0 else place
            elif words[at] ^ words[at + 1] == tag:
                place = at
                break
        if place < 0:
            return False
        new = words[place] ^ words[place + 1] != tag or not self._counts(place, when)
        if new:
            words[place + 2], words[place + 1], words[place] = when, flow, tag ^ flow
        for start in range(bucket, len(words), _PART):
            for at in range(start, start + _STEP, _WORDS):
                if words[at] ^ words[at + 1] == tag and words[at + 1] != flow and self._counts(at, when):
                    if new:
                        words[place + 1] = 0
                    return False
        words[place + 2] = when
        return True

    def _counts(self, at: int, when: int) -> bool:
        """Workers' clocks agree, but not the order in which they come to their packets."""
        return self._words[at + 1] != 0 and abs(when - self._words[at + 2]) <= _LIFE_MS
