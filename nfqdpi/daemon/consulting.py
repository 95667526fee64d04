"""A worker's questions to slow advisers: sent, answered or given up, and what becomes of the flows then."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from math import inf

from nfqdpi.core.asking import MOST, Asked
from nfqdpi.core.decision import Decision
from nfqdpi.core.engine import Engine
from nfqdpi.core.packet import FlowKey
from nfqdpi.core.verdict import MarkField, Verdict
from nfqdpi.daemon import questions
from nfqdpi.kernel.conntrack import Conntrack
from nfqdpi.kernel.netlink import Netlink
from nfqdpi.kernel.passage import key, named
from nfqdpi.kernel.queue import Queue

_SHARE = 4  # that part of a queue may wait for advice: a full one may let packets by


class Consulting:
    """``line``: to the advisers' process; ``length``: how many packets the queue holds. ``told`` is given what is
    decided of flows that have passed; ``failed`` hears which adviser has not answered, and why."""

    def __init__(  # noqa: PLR0913  each is another end
        self, engine: Engine, queue: Queue, field: MarkField, line: socket.socket, *, length: int,
        told: Callable[[Decision], None], failed: Callable[[str, str], None],
    ) -> None:
        self._engine = engine
        self._asking = engine.judge.asking
        self._asking.room = min(MOST, length // _SHARE)
        self._queue = queue
        self._field = field
        self._line = line
        self._told = told
        self._failed = failed

    def __len__(self) -> int:
        """Units that there are questions about."""
        return len(self._asking)

    def fileno(self) -> int:
        """Readable when there are answers."""
        return self._line.fileno()

    def turn(self, now: float) -> None:
        """Take what has been answered, give up what has not, and ask what has come up."""
        while (answer := questions.answered(self._line)) is not None:
            number, name, _, why = answer
            if answer.failed:
                self._give_up(number, name, why, now)
            else:
                self._settle(self._asking.answer(number, name, answer.advice), now)
        for number, name in self._asking.overdue(now):
            self._give_up(number, name, "no advice in time", now)
        while self._asking.questions:
            question = self._asking.questions.pop(0)
            if not questions.ask(self._line, question):
                for name in question.until:
                    self._settle(self._asking.fail(question.number, name), now)

    def close(self, now: float) -> None:
        """Nobody is asked any more, and nothing waits."""
        self._asking.room = 0
        for number, name in self._asking.overdue(inf):
            self._settle(self._asking.fail(number, name), now)

    def _give_up(self, number: int, name: str, why: str, now: float) -> None:
        if self._asking.awaits(number, name):
            self._failed(name, why)
        self._settle(self._asking.fail(number, name), now)

    def _settle(self, asked: Asked | None, now: float) -> None:
        """All are heard of whom a packet, or a flow that has passed, depends."""
        if asked is None:
            return
        if not asked.judged:
            self._queue.resume(asked.number)
        elif (decision := self._engine.late(asked, now)) is not None:
            self._told(decision)
            if decision.verdict.blocks:
                self._cut(asked.key, decision.verdict)

    def _cut(self, flow: FlowKey, verdict: Verdict) -> None:
        """No packet is there to carry the mark. A flow that is not found by its key, for DNAT leads it elsewhere, gets
        it by its next one, as one that is let go does."""
        body = named(key(flow.proto, flow.src, flow.sport, flow.dst, flow.dport))
        with suppress(OSError), Netlink() as kernel:
            Conntrack(kernel).mark_named([body], self._field, verdict)
