"""The books of a day: what clients, kernel, daemon and event files say of the same flows, and whether it comes out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from statistics import median
from typing import NamedTuple, Self

import msgspec

from bench.ground import Load
from nfqdpi.daemon import record
from nfqdpi.daemon.counters import VERDICTS
from nfqdpi.events.model import Event, Line

_FLAT = 1.1  # times what it was at first: the table of the flows on record is copied to another place when it has grown
_SETTLED = 2 * record.MOST  # flows after which everything that is bounded is full


class Told(NamedTuple):
    """What event files say: lines that are verdicts, flows that have one, and what changes by hand made of them:
    flows to allowed names that were blocked, and to blocked ones that were let go."""

    lines: int = 0
    flows: int = 0
    cut: int = 0
    freed: int = 0

    @classmethod
    def by(cls, files: Iterable[Path]) -> Self:
        """Of an hour. Flows are told apart by addresses and ports: within an hour some thirty have those of
        another, over a day thousands."""
        decoder: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)
        lines = 0
        flows: dict[frozenset[tuple[str, int]], tuple[bool, bool]] = {}  # whichever end was taken for the client
        for file in files:
            with file.open("rb") as text:
                for event in map(decoder.decode, text):
                    if isinstance(event, Event):
                        lines += 1
                        flow = frozenset(((event.src_ip, event.src_port), (event.dest_ip, event.dest_port)))
                        allowed = any(name.startswith("x") for name in event.names)
                        flows[flow] = allowed, event.verdict.action == "block"
        kinds = list(flows.values())
        return cls(lines, len(kinds), kinds.count((True, True)), kinds.count((False, False)))


class Hour(NamedTuple):
    """``flushed``, ``unjudged``: the client's packets that left with no verdict, while the rules were flushed and
    otherwise; ``midst``: flows that were open, at most, when a worker was killed or the rules were flushed; ``memory``:
    anonymous MB of the supervisor and of the worker that is never killed."""

    loads: Sequence[Load]
    told: Told
    flushed: int
    unjudged: int
    midst: int
    memory: tuple[float, float]

    def count(self, outcome: str) -> int:
        """Of all loads."""
        return sum(int(getattr(load, outcome)) for load in self.loads)

    def __str__(self) -> str:
        seconds = sum(load.seconds for load in self.loads) / 2  # two kinds at a time
        return (f"{self.count('flows')} flows, {self.count('flows') / seconds:.0f}/s; {self.told.flows} told of; "
                f"unjudged {self.flushed} while flushed, {self.unjudged} else; failed {self.count('failed')}; "
                f"{' + '.join(f'{mb:.1f}' for mb in self.memory)} MB")


class Entry(NamedTuple):
    """A line of the result: what is asked, the figures, and whether these are as they must be."""

    what: str
    figures: str
    fine: bool


def balance(hours: Sequence[Hour], counters: Mapping[str, int]) -> Iterator[Entry]:
    """Of a whole day; ``counters``: the daemon's in the end."""
    flows, failed, through = (sum(hour.count(outcome) for hour in hours) for outcome in ("flows", "failed", "through"))
    told = Told(*map(sum, zip(*(hour.told for hour in hours), strict=True)))
    flushed, unjudged = sum(hour.flushed for hour in hours), sum(hour.unjudged for hour in hours)
    lost, bypassed = counters["events_lost"], counters["bypassed"]
    missing, midst = flows - told.flows - flushed - unjudged - lost, sum(hour.midst for hour in hours)
    counted = sum(counters[name] for name in VERDICTS)
    yield Entry("flows that end well, but for those blocked by hand",
                f"{flows - failed} of {flows}, {told.cut} blocked by hand", failed <= told.cut + lost)
    yield Entry("flows with a verdict in the event files, but for those that passed, and lost events",
                f"{told.flows} of {flows}; passed {flushed} + {unjudged}, lost {lost}, in the midst of a kill or "
                f"a flush {max(0, missing)} of {midst}", missing <= midst)
    yield Entry("passed without a verdict beside the flushes: counted by the daemon, packet by packet",
                f"{unjudged}; bypassed {bypassed}", unjudged <= bypassed)
    yield Entry("verdicts counted: each in the event files, or counted as lost",
                f"{counted} = {told.lines} + {lost}", counted == told.lines + lost)
    yield Entry("blocked names answered: freed by hand or in their midst, or passed",
                f"{through}; {told.freed} freed", through <= told.freed + flushed + unjudged + lost)
    begun = accumulate(hour.count("flows") for hour in hours)
    settled = [hour.memory for hour, so_far in zip(hours, begun, strict=True) if so_far > _SETTLED]
    tenth = len(settled) // 10
    for who, sizes in zip(("supervisor", "worker"), zip(*settled, strict=True) if tenth else (), strict=False):
        first, last = median(sizes[:tenth]), median(sizes[-tenth:])
        yield Entry(f"memory of the {who}, first tenth and last, once tables are full",
                    f"{first:.1f} MB, {last:.1f} MB", last <= _FLAT * first)
