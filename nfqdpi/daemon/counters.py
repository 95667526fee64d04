"""Counters in memory that a worker writes and the supervisor reads: one page a worker, no lock, no system call."""

from __future__ import annotations

import mmap
from bisect import bisect
from collections.abc import Iterable
from math import inf

from nfqdpi.core.verdict import Reason, Verdict

# Microseconds that packets' verdicts take at most, bucket by bucket: from less than the fastest to longer than a worker
# may hang. A packet is counted in the first bucket that it fits.
LATENCIES = tuple(1 << bits for bits in range(4, 23))
LATENCY_BUCKETS = (*(f"latency_le_{most}us" for most in LATENCIES), "latency_longer")

VERDICTS = tuple(f"verdict_{verdict.name.lower()}" for verdict in Verdict)  # an event each

# Counter -> what it counts.
COUNTERS = {
    "heartbeat_ms": "monotonic time of the worker's last turn round its loop",
    "packets": "queued packets judged",
    "bytes": "of them, IP header included",
    "dropped": "packets that went nowhere by decision",
    "faults": "exceptions that became a verdict",
    "resets": "resets sent to the far side of a blocked flow",
    "events_lost": "events that the supervisor did not take, or that a worker had not told when it was killed",
    "flows": "not a counter: flows held now, decided ones that linger included",
    "swap_us": "the longest that packets have waited for another policy to be taken",
    "evicted": "undecided flows that had to go for newer ones",
    "names_learned": "names for addresses that answers of DNS have told clients",
    "names_evicted": "of them, those that had to go for newer ones before their time",
    "names_found": "flows and requests to an address that the client was told by DNS",
    "names_missed": "others, while DNS is read",
    "latency_us": "from arrival to verdict, over all packets",
    **{bucket: f"packets judged {how}" for bucket, how in zip(LATENCY_BUCKETS, (
        *(f"within {most} us, and not within less" for most in LATENCIES), "later"), strict=True)},
    **{name: f"verdicts {verdict.name}" for name, verdict in zip(VERDICTS, Verdict, strict=True)},
    **{f"reason_{reason}": f"verdicts of reason {reason}" for reason in Reason},
}
_INDEX = {name: index for index, name in enumerate(COUNTERS)}
_BUCKETS = [(seconds, _INDEX[name])
            for seconds, name in zip((*(us / 1e6 for us in LATENCIES), inf), LATENCY_BUCKETS, strict=True)]


class Counters:
    """A page of named 64-bit numbers, shared with every process forked after its making; it outlives a worker, so
    that counters never go back. Reads of a word are atomic on every CPU that Linux routers have."""

    def __init__(self) -> None:
        self._cells = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("Q")

    @staticmethod
    def index(name: str) -> int:
        """The cell of a counter, to be looked up once."""
        return _INDEX[name]

    @property
    def cells(self) -> memoryview[int]:
        """For the hot path: ``cells[index] += 1``."""
        return self._cells

    def __getitem__(self, name: str) -> int:
        return int(self._cells[_INDEX[name]])

    def __setitem__(self, name: str, value: int) -> None:
        self._cells[_INDEX[name]] = value

    def add_latencies(self, seconds: Iterable[float]) -> None:
        """Count verdicts by the time that they took. Many at once, which costs a third."""
        rising = sorted(seconds)
        before = 0
        for most, index in _BUCKETS:
            upto = bisect(rising, most)
            self._cells[index] += upto - before
            before = upto
        self["latency_us"] += round(sum(rising) * 1e6)

    def read(self) -> dict[str, int]:
        """All of them by name."""
        return {name: int(self._cells[index]) for name, index in _INDEX.items()}
