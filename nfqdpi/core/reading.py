"""What a TCP flow's bytes are: its readers are asked, and each unit that they find is judged."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from nfqdpi.core.asking import Asked
from nfqdpi.core.classifier import Classification, Glimpse, Pending, Step
from nfqdpi.core.deciding import Deciding
from nfqdpi.core.decision import READING, WAITING, Action, Decision, Judgement, Limits
from nfqdpi.core.flow import Flow
from nfqdpi.core.judge import Judge
from nfqdpi.core.readers import Readers
from nfqdpi.core.verdict import FINAL, Reason


class Reading:
    """``simulate``: a condition that every flow is to meet, for trying the exception policy."""

    def __init__(self, deciding: Deciding, judge: Judge, limits: Limits, readers: Readers, *,
                 simulate: Reason | None) -> None:
        self._deciding = deciding
        self._judge = judge
        self._limits = limits
        self._readers = readers
        self._simulate = simulate

    def held(self, flow: Flow, asked: Asked, now: float) -> Decision:
        """The packet that was held, once it waits no more; before that, any other, which the client will send again."""
        if asked.waiting:
            return WAITING
        asked.judged = True
        return self._read(flow, now)

    def grown(self, flow: Flow, waiting: Decision, now: float) -> Decision:
        """There are new bytes, of an unjudged unit or behind one that the server has not answered."""
        if self._simulate is not None:
            return self._deciding.exception(flow, self._simulate, now)
        if flow.doubted:
            return self._doubted(flow, waiting, now)
        if flow.awaiting is not None:
            early = flow.ahead_of_reply(flow.awaiting)
            return self._deciding.exception(flow, Reason.MALFORMED, now) if early else waiting
        if flow.since is None:
            flow.since = now
        elif now - flow.since > self._limits.timeout:
            return self._deciding.exception(flow, Reason.TIMEOUT, now)
        return self._read(flow, now)

    def _doubted(self, flow: Flow, waiting: Decision, now: float) -> Decision:
        """More of a flow that counts as unknown, before the server has answered: some reader may know it now."""
        answer = flow.classify()
        if answer is Pending.NO_MATCH:
            flow.doubted, flow.readers = False, self._readers.anywhere
            return waiting
        if isinstance(answer, Glimpse) and not answer.protocol:
            return waiting
        flow.resume()
        return self._read(flow, now)

    def _read(self, flow: Flow, now: float) -> Decision:
        """Judge every whole unit that is on record."""
        told: tuple[Judgement, ...] = ()
        while flow.awaiting is None and flow.readers and flow.stream.head:
            match flow.classify():
                case Classification() as found:
                    decision = self._deciding.judge(flow, found, now)
                    if decision.action is Action.HOLD or decision.verdict in FINAL:
                        return _behind(told, decision)
                    told += decision.judgements
                case Pending.NO_MATCH | Glimpse(protocol=""):
                    return _behind(told, self._deciding.unknown(flow, now))
                case Pending.NEED_MORE | Glimpse(names=()):
                    return self._unfinished(flow, told, now)
                case Glimpse(protocol, names, attributes):
                    outcome = self._judge.ask(names, Reason.NO_NAME, flow.client, protocol)
                    if not outcome.verdict.blocks:
                        return self._unfinished(flow, told, now)
                    seen = Classification(protocol, names, attributes)
                    return _behind(told, self._deciding.decide(flow, outcome, seen, now))
                case Step() as step:
                    flow.next_unit(step, step.then, now)
                case other:
                    assert_never(other)
        return _so_far(flow, told)

    def _unfinished(self, flow: Flow, told: tuple[Judgement, ...], now: float) -> Decision:
        """The unit is not whole yet; it may not come in any number of pieces."""
        if flow.stream.segments <= self._limits.max_segments:
            return _so_far(flow, told)
        return _behind(told, self._deciding.exception(flow, Reason.TOO_BIG, now))


def _so_far(flow: Flow, told: tuple[Judgement, ...]) -> Decision:
    """Nothing stands against the packet; what is new of its flow."""
    return Decision(flow.verdict, Action.MARK, told[-1].outcome.reason, told) if told else READING


def _behind(told: tuple[Judgement, ...], decision: Decision) -> Decision:
    """A decision that ends a packet whose units before have been judged."""
    return replace(decision, judgements=told + decision.judgements) if told else decision
