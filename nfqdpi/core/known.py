"""The names that clients were told addresses for: a table of fixed size, in memory that all workers share.

A client's DNS comes to one worker, the flow that follows to another. So all write one table and read it, without a
lock: a pair of client and server may lie in one cell of each stage, as in the register arrays of a switch (Meta4), and
a cell says nothing unless its checksum, over the pair and the name, is right. One that two write at once, or that is
read while it is written, is an empty one.

Tag and checksum are Python's hash of bytes: SipHash under a key that the process draws and its forks inherit. Who does
not know the key can neither aim at another pair's cell nor pass for it.
"""

from __future__ import annotations

from math import inf
from mmap import mmap
from struct import Struct
from typing import Final

from nfqdpi.core.classifier import Known

STAGES: Final = 4  # and so many names of a pair are known at once
IDLE: Final = 100.0  # s without a flow after which a pair is forgotten
LEAST: Final = 10.0  # s that an answer counts, whatever its TTL: the flow that it was asked for comes within seconds
_LONGEST: Final = 253  # bytes of a name (RFC 1035, 2.3.4)
_CELL: Final = Struct(f"=QdddQB{_LONGEST}s")  # tag; last used, until when it counts, when told; checksum; name
_TIMES: Final = Struct("=dd")
_WORDS: Final = (_CELL.size + 7) // 8  # from one cell to the next
_USED: Final = 1  # as words of a cell, which are aligned; the tag is the first
_UNTIL: Final = 2
_MASK: Final = (1 << 64) - 1

SIZE = 8192 * STAGES * _WORDS * 8  # bytes; what was never written costs no memory


class KnownTable:
    """A worker's own, over memory of at most 65536 cells a stage. ``learned``: names put down. ``evicted``: of those in
    the table, the ones that had to go before their time. ``found``, ``missed``: flows to servers that the client was
    told of, and to others."""

    def __init__(self, memory: mmap) -> None:
        self.learned = self.evicted = self.found = self.missed = 0
        self._memory = memory
        self._tags = memoryview(memory).cast("Q")
        self._times = memoryview(memory).cast("d")
        self._cells = len(memory) // (STAGES * _WORDS * 8)
        self._stages = tuple((16 * stage, stage * self._cells) for stage in range(STAGES))

    def learn(self, client: bytes, known: Known, now: float) -> None:
        """A client was told an address. This takes the place of the same, else of what counts no more, else of what has
        not been used for longest."""
        name = known.name.encode()
        if len(name) > _LONGEST:
            return  # odd bytes of it are escaped: no host is called so
        pair = client + known.address
        tag = hash(pair) & _MASK
        place, oldest = 0, inf
        for at in self._places(tag):
            if self._tags[at] == tag and (told := self._read(at, pair)) is not None and told[1] == name:
                place, oldest = at, -inf
                break
            used = self._times[at + _USED] if self._counts(at, now) else -inf
            if used < oldest:
                place, oldest = at, used
        self.learned += 1
        if oldest > -inf:
            self.evicted += 1
        until = now + max(float(known.ttl), LEAST)
        _CELL.pack_into(self._memory, place * 8, tag, now, until, now, _sum(pair, until, now, name), len(name), name)

    def names(self, client: bytes, server: bytes, now: float) -> tuple[str, ...]:
        """What the client asked for when it was told that address, the latest first."""
        pair = client + server
        tag = hash(pair) & _MASK
        found = []
        for at in self._places(tag):
            if self._tags[at] == tag and self._counts(at, now) and (told := self._read(at, pair)) is not None:
                found.append(told)
                self._times[at + _USED] = now
        if not found:
            self.missed += 1
            return ()
        self.found += 1
        if len(found) > 1:
            found.sort(reverse=True)
        return tuple(dict.fromkeys([name.decode() for _, name in found]))  # two may have put down the same at once

    def _places(self, tag: int) -> list[int]:
        """The cells in which the pair may be, as words."""
        return [((tag >> shift & 0xFFFF) % self._cells + base) * _WORDS for shift, base in self._stages]

    def _counts(self, at: int, now: float) -> bool:
        """Workers' clocks agree, but not the order in which they come to their packets."""
        return abs(now - self._times[at + _USED]) <= IDLE and now <= self._times[at + _UNTIL]

    def _read(self, at: int, pair: bytes) -> tuple[float, bytes] | None:
        """When a cell's name was told, and the name; None where another pair's is there, or nothing whole."""
        _, _, until, told, checksum, length, padded = _CELL.unpack_from(self._memory, at * 8)
        name: bytes = padded[:length]
        return (told, name) if checksum == _sum(pair, until, told, name) else None


def _sum(pair: bytes, until: float, told: float, name: bytes) -> int:
    return hash(pair + _TIMES.pack(until, told) + name) & _MASK
