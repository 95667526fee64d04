"""Packets and bytes by name, client and registrable domain. Conntrack counts them (nf_conntrack_acct), and the record
knows what each flow is for: they are read when a flow ends, and by and by while it lasts.
"""

from __future__ import annotations

import asyncio
import errno
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from time import monotonic, time
from typing import Any, NamedTuple

from nfqdpi.core.wire import Malformed
from nfqdpi.daemon.gathering import listen
from nfqdpi.daemon.live import lots
from nfqdpi.daemon.record import Decided, Record
from nfqdpi.daemon.tally import Tally
from nfqdpi.kernel import ctnetlink, sysctl
from nfqdpi.kernel.conntrack import Ends, passages
from nfqdpi.kernel.ctnetlink import text
from nfqdpi.kernel.passage import passage
from nfqdpi.policy.suffixes import registrable

_KEPT = {"name": 1024, "client": 1024, "domain": 4096}  # of each; twice as many for a while, some 2 MB in all
KINDS = tuple(_KEPT)
_LOOK = 10.0  # s between two looks at the flows that last
_GLANCE = 1.0  # s between two looks at whether conntrack counts by now
_GATHER = 0.1  # s in which ends gather
_FRESH = 1.0  # s that a reader's figures may be old
_SHARE = 20  # times as long as a look took is the pause behind it: looking takes 5 % of a CPU at most
_AT_A_TIME = 64  # ends that are heard before others have their turn
_QUIET = 60.0  # s between two notices of ends that were lost
_MANY_NAMES = frozenset({"dns"})  # protocols whose flows are for more names than one can count under


class _Seen(NamedTuple):
    """What a flow had moved at the last look, and which of those that had its tuple it is."""

    id: int
    packets: int
    volume: int


class Labels:
    """Counts under so many domains, and one for all others. A domain with twice the bytes takes the place of the least
    one, whose count ends; a count that is there never falls."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._counts: dict[str, Counter[str]] = {}
        self._others: Counter[str] = Counter()

    def __iter__(self) -> Iterator[tuple[str, Counter[str]]]:
        yield from self._counts.items()
        yield "other", self._others

    def add(self, domain: str, counts: Mapping[str, int], all_of_it: int) -> None:
        """``all_of_it``: the domain's bytes so far; "" is of no domain."""
        if domain and domain not in self._counts and self._room(all_of_it):
            self._counts[domain] = Counter()
        label = self._counts.get(domain, self._others)
        for what, count in counts.items():
            label[what] += count

    def _room(self, volume: int) -> bool:
        if len(self._counts) >= self._most:
            least = min(self._counts, key=lambda domain: self._counts[domain]["bytes"], default="")
            if not least or volume < 2 * self._counts[least]["bytes"]:
                return False
            del self._counts[least]
        return True


class Volume:
    """``labels``: how many domains Prometheus is told of; ``tell`` is given what befell us: kind, message and count;
    ``ended`` each flow on record that has ended, while that is ``awaited``: what it was for, its packets and bytes."""

    def __init__(self, record: Record, labels: int, tell: Callable[[str, str, int], None],
                 ended: Callable[[Decided, int, int], None], awaited: Callable[[], bool]) -> None:
        self.losses = 0  # times that the kernel had more ends to tell of than its buffer holds
        self.labels = Labels(labels)
        self.troubles: list[str] = []
        self._record = record
        self._tell = tell
        self._ended = ended
        self._awaited = awaited
        self._tallies = {kind: Tally(kept, "bytes") for kind, kept in _KEPT.items()}
        self._seen: dict[bytes, _Seen] = {}
        self._missing: set[bytes] = set()  # that were not there at the last look, though no end was heard
        self._over: set[tuple[bytes, int]] = set()  # that have ended while we look
        self._looking = asyncio.Lock()
        self._looked = self._owned = float("-inf")
        self._took = 0.0

    @property
    def counting(self) -> bool:
        """Whether conntrack counts."""
        return sysctl.read("netfilter/nf_conntrack_acct") == "1"

    @property
    def _listening(self) -> bool:
        """Whether ends tell anything: for one that nobody hears of the kernel makes no message."""
        return self.counting or self._awaited()

    async def follow(self) -> None:
        """Count until cancelled."""
        while True:
            while not self._listening:
                await asyncio.sleep(_GLANCE)
            with Ends() as ends:
                listen(ends, partial(self._hear, ends), _GATHER)
                try:
                    while self._listening:
                        await asyncio.sleep(max(_LOOK, _SHARE * self._took))
                        await self._look()
                finally:
                    asyncio.get_running_loop().remove_reader(ends)

    async def read(self) -> dict[str, Any]:
        """For the control socket: rows of each kind, most bytes first; ``counting``: whether there is anything to
        count; ``losses``: how often ends of flows were lost, with what had come since the look before."""
        if monotonic() - self._looked > max(_FRESH, _SHARE * self._took):
            await self._look()
        return {"time": time(), "counting": self.counting, "losses": self.losses,
                **{kind: [{kind: key, **counts} for key, counts in tally.most()]
                   for kind, tally in self._tallies.items()}}

    def _hear(self, ends: Ends) -> bool:
        """Flows have ended. False: these were all."""
        for _ in range(_AT_A_TIME):
            try:
                heard = ends.read()
            except BlockingIOError:
                return False
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._lose()
                continue
            for message in heard:
                if (found := passage(message)) is None or (decided := self._record.get(found.key)) is None:
                    continue
                now = _Seen(*ctnetlink.counts(message))
                self._count(found.key, decided, now)
                self._seen.pop(found.key, None)
                self._ended(decided, now.packets, now.volume)
                if self._looking.locked():
                    self._over.add((found.key, now.id))
        return True

    def _lose(self) -> None:
        self.losses += 1
        if monotonic() - self._owned > _QUIET:
            self._owned = monotonic()
            self._tell("volume_lost", "more flows have ended at once than the kernel could tell of: what they had "
                                      "moved since the last look is in no count", 0)

    async def _look(self) -> None:
        """Count what lasts."""
        async with self._looking:
            began = monotonic()
            if self.counting:
                try:
                    await self._dump()
                    self.troubles = []
                except (OSError, Malformed) as error:
                    self.troubles = [f"bytes by name are not counted: {error}"]
            self._looked = monotonic()
            self._took = self._looked - began

    async def _dump(self) -> None:
        listed = set()
        self._over.clear()
        async for flows in lots(passages()):
            for key, _, message in flows:
                if (decided := self._record.get(key)) is not None:
                    listed.add(key)
                    now = _Seen(*ctnetlink.counts(message))
                    if (key, now.id) not in self._over:  # listed, but its end was heard since
                        self._seen[key] = self._count(key, decided, now)
        gone = self._seen.keys() - listed
        for key in gone & self._missing:  # its end was lost
            del self._seen[key]
        self._missing = gone

    def _count(self, key: bytes, decided: Decided, now: _Seen) -> _Seen:
        """What a flow has moved since it was seen last."""
        before = self._seen.get(key)
        if before is None or before.id != now.id or before.volume > now.volume:
            before = _Seen(now.id, 0, 0)
        if now.packets == before.packets:
            return now
        moved = {"packets": now.packets - before.packets, "bytes": now.volume - before.volume}
        name = next(iter(decided.names), "") if decided.protocol not in _MANY_NAMES else ""
        domain = registrable(name) if name else ""
        for kind, told in (("name", name), ("client", text(decided.client.address)), ("domain", domain)):
            for what, count in moved.items() if told else ():
                self._tallies[kind].add(told, what, count)
        self.labels.add(domain, moved, self._tallies["domain"][domain].get("bytes", 0))
        return now
