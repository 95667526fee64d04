"""What slow advisers are asked of units, and who has answered yet.

They run elsewhere, and answer late, in any order, or never. A flow of which the packet that completes the unit waits
comes back when all have spoken for whom it waits; one that has passed is decided by what is heard later.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple, Protocol

from nfqdpi.core.classifier import Classification
from nfqdpi.core.decision import Client, Outcome
from nfqdpi.core.packet import FlowKey
from nfqdpi.core.plugin import Advice, Adviser, Slow

MOST: Final = 256  # units that an engine has questions about at once; the packet that waits may have 64 KiB


class Question(NamedTuple):
    """About a unit, for the advisers in ``until``: by their names, the moment up to which each may answer, in ``now``'s
    seconds. ``client`` and ``server``: addresses."""

    number: int
    unit: Classification
    client: bytes
    server: bytes
    until: dict[str, float]


class AskedOf(Protocol):
    """A flow, as far as questions are concerned."""

    @property
    def key(self) -> FlowKey: ...
    @property
    def client(self) -> Client: ...
    @property
    def asked(self) -> Asked | None: ...


class Asked:
    """A unit that there are questions about. ``key``: its flow's; ``first``: the number of what was asked of that
    first, which no other flow on the tuple has; ``at``: which of the flow's units it is. ``heard``: who has said what;
    ``failed``: one has not, and will not. ``judged``: its packet waits no more. Until all have answered then, ``unit``
    and ``outcome`` are what it was judged by, ``revision`` the policy's; ``held_up``: but for the questions its flow
    would be accelerated."""

    __slots__ = ("at", "failed", "first", "heard", "held_up", "judged", "key", "number", "outcome", "revision", "unit",
                 "until", "waiting")

    def __init__(  # noqa: PLR0913, PLR0917  each is one thing about a unit
        self, number: int, key: FlowKey, first: int, at: int, unit: Classification, outcome: Outcome) -> None:
        self.number = number
        self.key = key
        self.first = first
        self.at = at
        self.unit = unit
        self.outcome = outcome
        self.revision: object = None
        self.until: dict[str, float] = {}  # of those that have not answered
        self.waiting: set[str] = set()  # of them, those for whom the packet does
        self.heard: list[tuple[str, Advice]] = []
        self.failed = self.judged = self.held_up = False

    def about(self, at: int, unit: Classification) -> bool:
        """It is this unit: the same bytes may have been read as another before."""
        return (self.at, self.unit.protocol, self.unit.names) == (at, unit.protocol, unit.names)

    def of(self, flow: AskedOf) -> bool:
        """It is this flow's: the tuple may be another's by now."""
        return flow.asked is not None and flow.asked.first == self.first

    def judge(self, unit: Classification, outcome: Outcome, revision: object) -> None:
        """The unit passes, or not."""
        self.unit, self.outcome, self.revision, self.judged = unit, outcome, revision, True


class Asking:
    """Questions that are not answered yet. ``needed``: there is somebody to ask; ``room``: about how many units there
    may be questions at once. ``questions``: for whoever takes them there."""

    def __init__(self) -> None:
        self.needed = False
        self.room = MOST
        self.questions: list[Question] = []
        self._advisers: tuple[tuple[str, Slow], ...] = ()
        self._lacking = False
        self._open: dict[int, Asked] = {}
        self._number = 0

    def use(self, advisers: Iterable[Adviser], *, lacking: bool) -> None:
        """From the next unit on the slow ones of these are asked. ``lacking``: one that should be is left out, so every
        question has failed."""
        self._advisers = tuple((one.name, one.slow) for one in advisers if one.slow is not None)
        self._lacking = lacking
        self.needed = bool(self._advisers) or lacking

    def __len__(self) -> int:
        return len(self._open)

    def ask(self, flow: AskedOf, at: int, unit: Classification, outcome: Outcome, now: float) -> Asked:
        """What a flow has asked about this unit already, or else a new question. Where there is no room for one, it has
        failed."""
        before = flow.asked
        if before is not None and before.about(at, unit):
            return before
        # Whoever answers may outlive the engine: none that comes after it has these numbers again.
        self._number = max(self._number + 1, round(now * 1e6))
        asked = Asked(self._number, flow.key, before.first if before is not None else self._number, at, unit, outcome)
        if self._lacking or len(self._open) >= self.room:
            asked.failed = True
            return asked
        for name, slow in self._advisers:
            asked.until[name] = now + slow.patience
            if slow.waits:
                asked.waiting.add(name)
        self._open[asked.number] = asked
        self.questions.append(Question(asked.number, unit, flow.client.address, flow.key.dst, dict(asked.until)))
        return asked

    def answer(self, number: int, name: str, advice: Advice | None) -> Asked | None:
        """An adviser's word on a unit. What was asked of it, where that settles it: its packet waits no more, or its
        flow, which has passed, can be decided."""
        if not self.awaits(number, name):
            return None
        asked = self._open[number]
        if advice is not None:
            asked.heard.append((name, advice))
        return self._settled(asked, name, final=advice is not None and advice.verdict.blocks)

    def fail(self, number: int, name: str) -> Asked | None:
        """The same where there is none, and will be none."""
        if not self.awaits(number, name):
            return None
        asked = self._open[number]
        asked.failed = True
        return self._settled(asked, name, final=False)

    def awaits(self, number: int, name: str) -> bool:
        """True where an adviser has still to answer."""
        return number in self._open and name in self._open[number].until

    def overdue(self, now: float) -> Iterator[tuple[int, str]]:
        """Whose patience is over: the questions' numbers, and the advisers' names."""
        for number, asked in list(self._open.items()):
            for name, until in list(asked.until.items()):
                if until <= now:
                    yield number, name

    def _settled(self, asked: Asked, name: str, *, final: bool) -> Asked | None:
        waited = bool(asked.waiting)
        if final:  # whatever the others say
            asked.until.clear()
            asked.waiting.clear()
        else:
            del asked.until[name]
            asked.waiting.discard(name)
        if not asked.until:
            del self._open[asked.number]
        if asked.judged:
            return None if asked.until else asked
        return asked if waited and not asked.waiting else None
