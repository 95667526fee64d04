"""What becomes of a TCP flow: ``judge`` asks the policy about a unit, what slow advisers have to say of it is waited
for, and ``from_server`` waits for the server to prove that it got what was judged.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from nfqdpi.core.asking import Asked
from nfqdpi.core.classifier import Classification, Pending
from nfqdpi.core.decision import CONFIRMING, READING, Action, Decision, Judgement, Outcome
from nfqdpi.core.flow import Flow
from nfqdpi.core.judge import Judge
from nfqdpi.core.packet import Segment
from nfqdpi.core.readers import Readers
from nfqdpi.core.table import FlowTable
from nfqdpi.core.verdict import FINAL, Reason, Verdict

_CONFIRMED: Final = Decision(Verdict.ACCELERATE, Action.MARK, Reason.CONFIRMED)
_WATCHING: Final = Decision(Verdict.INSPECT, Action.MARK, Reason.CONFIRMED)

Shown = tuple[Classification | None, Outcome]  # what is told of a unit


class Deciding:
    """Puts a verdict on a flow, for good or until its next unit."""

    def __init__(self, flows: FlowTable[Flow], judge: Judge, readers: Readers, *, strict: bool) -> None:
        self._flows = flows
        self._judge = judge
        self._readers = readers
        self._strict = strict

    def judge(self, flow: Flow, found: Classification, now: float) -> Decision:
        """The flow's next unit is judged."""
        if found.asks:
            outcome = self._judge.lookup(found.names, flow.client, found.protocol)
            if outcome.redirect and not outcome.verdict.blocks:
                outcome = replace(outcome, verdict=Verdict.BLOCK)
        else:
            found = self._judge.named(found, flow.client, flow.key.dst, now)
            outcome = self._judge.ask(found.names, Reason.NO_NAME, flow.client, found.protocol)
            if self._judge.advisers:
                found, outcome = self._judge.advised(found, outcome, flow.client, flow.key.dst)
        if (reason := self._against(flow, found, outcome)) is not None:
            return self.exception(flow, reason, now, found)
        if outcome.verdict.blocks:
            return self.decide(flow, outcome, found, now)
        if self._judge.asking.needed and not found.asks:
            return self._consult(flow, found, outcome, now)
        return self._let_on(flow, outcome, found, (found, outcome), now)

    def _consult(self, flow: Flow, found: Classification, outcome: Outcome, now: float) -> Decision:
        """Nothing stands against the unit but what slow advisers may say."""
        if flow.readers:  # else it is a claim, which was asked about when it was made
            flow.asked = self._judge.asking.ask(flow, flow.stream.start, found, outcome, now)
        asked, shown = flow.asked, (found, outcome)
        if asked is not None and asked.at == flow.stream.start:
            if asked.waiting:
                return Decision(flow.verdict, Action.HOLD, Reason.NEED_MORE, question=asked.number)
            found, outcome = self._judge.heard(asked, found, outcome)
            if outcome.verdict.blocks:
                return self.decide(flow, outcome, found, now)
            shown = self._judge.meanwhile(asked, found, outcome)
        return self._let_on(flow, outcome, found, shown, now)

    def _let_on(self, flow: Flow, outcome: Outcome, found: Classification, shown: Shown, now: float) -> Decision:
        """The unit is allowed; what the server has to say, and what follows."""
        watch_on = (self._strict or found.asks) and (found.confirm is not None or found.then is not None)
        if not watch_on:
            return self._unproved(flow, outcome, found, shown, now)
        # Where the answer cannot be told from an earlier one, a unit that would leave its protocol leads nowhere.
        awaits = found.confirm is not None and (flow.answer_begins or not found.hold)
        if awaits and flow.ahead_of_reply(found):
            return self.exception(flow, Reason.MALFORMED, now, found)
        told = (_judgement(flow, shown, now),)
        if awaits:
            flow.await_reply(found, outcome.verdict, self._judge.policy.revision)
        else:
            # E12: the next request on the same connection may name another host.
            flow.next_unit(found, found.then, now)
            flow.answers_read = False
        return Decision(flow.verdict, Action.MARK, shown[1].reason, told)

    def _against(self, flow: Flow, found: Classification, outcome: Outcome) -> Reason | None:
        """Why a unit is not to be believed."""
        if found.flaw and not (found.names and outcome.verdict.blocks):
            # What is cut off in front may look broken; only a whole stream can be held to its rules.
            return Reason.MALFORMED if flow.opening_seen or found.names else Reason.MIDSTREAM
        if outcome.verdict.blocks:
            return None
        if self._strict and flow.contested and found.then is not None and flow.key.dport in self._readers.by_port:
            return Reason.MALFORMED  # the port is a plugin's own: what that may know is not let go as another's
        return self._judge.suspicion(found)

    def _unproved(self, flow: Flow, outcome: Outcome, found: Classification, shown: Shown, now: float) -> Decision:
        """A unit of a protocol that nobody reads on, and nobody knows how a server answers."""
        if self._strict and flow.opening_seen:
            if flow.rivals and flow.claim is None:
                flow.claim, flow.readers = found, flow.rivals  # first all others say what they take it for
                return READING
            if flow.rivals or outcome.verdict is Verdict.ACCELERATE:
                return self._on_any_reply(flow, outcome, shown, found, now)
        if outcome.verdict is Verdict.ACCELERATE and not _held_up(flow):
            return self.decide(flow, outcome, found, now)
        # So it is where the rule says inspect: the client's packets keep coming to the queue.
        told = (_judgement(flow, shown, now),)
        flow.next_unit(found, None, now)
        flow.answers_read = False
        return Decision(flow.verdict, Action.MARK, shown[1].reason, told)

    def unknown(self, flow: Flow, now: float) -> Decision:
        """No reader is left that may know what the flow's bytes are."""
        flow.rivals, flow.readers, flow.contested = flow.readers, (), False
        if flow.claim is not None:
            return self.judge(flow, flow.claim, now)
        if self._strict and not flow.opening_seen:
            return self.exception(flow, Reason.MIDSTREAM, now)
        if self._readers.lacking:
            return self.exception(flow, Reason.PLUGIN_ERROR, now)
        named = self._judge.named(Classification(""), flow.client, flow.key.dst, now)
        found = named if named.names else None
        outcome = self._judge.ask(named.names, Reason.UNKNOWN_PROTOCOL, flow.client)
        if self._strict and (outcome.verdict is Verdict.ACCELERATE or (flow.rivals and not outcome.verdict.blocks)):
            return self._on_any_reply(flow, outcome, (found, outcome), named, now)
        return self.decide(flow, outcome, found, now)

    def _on_any_reply(self, flow: Flow, outcome: Outcome, shown: Shown, unit: Classification, now: float) -> Decision:
        """E6: accelerate (or watch), but not on the client's word alone. Any reply that acknowledges what has come will
        do, where nobody knows how a server answers; what passes until then is recorded (E2)."""
        told = (_judgement(flow, shown, now),)
        flow.doubted = bool(flow.rivals)
        flow.readers = flow.rivals or self._readers.anywhere  # only what somebody reads is recorded, asked or not
        flow.await_reply(replace(unit, length=len(flow.stream.head)), outcome.verdict, self._judge.policy.revision)
        return Decision(flow.verdict, Action.MARK, shown[1].reason, told)

    def from_server(self, flow: Flow, segment: Segment, now: float) -> Decision:
        """E6: accelerate when the server's own bytes show that it got, and took, the unit that we judged."""
        if flow.verdict in FINAL:
            return Decision(flow.verdict, Action.MARK, flow.reason)
        self._flows.touch(flow, now, ended=flow.end is not None)
        self._flows.weigh(flow)
        unit = flow.awaiting
        if unit is None or flow.server is None or not segment.payload:
            return READING if unit is None else CONFIRMING
        flow.server.add(segment.seq, segment.payload)
        reply = flow.reply(segment.ack)
        if isinstance(reply, Pending):
            return CONFIRMING
        if flow.revision is not self._judge.policy.revision:
            # The policy has changed between question and answer: what it says now counts.
            nameless = Reason.NO_NAME if unit.protocol else Reason.UNKNOWN_PROTOCOL
            outcome = self._judge.ask(unit.names, nameless, flow.client, unit.protocol)
            unit, outcome = self._judge.advised(unit, outcome, flow.client, flow.key.dst)
            if flow.asked is not None:
                unit, outcome = self._judge.heard(flow.asked, unit, outcome)
            if outcome.verdict.blocks:
                return self.decide(flow, outcome, unit if unit.protocol else None, now)
            flow.confirmed, flow.revision = outcome.verdict, self._judge.policy.revision
        if reply.accepted and flow.confirmed is Verdict.ACCELERATE and not _held_up(flow):
            flow.verdict, flow.reason = Verdict.ACCELERATE, Reason.CONFIRMED
            self._flows.decide(flow, now)
            return _CONFIRMED
        flow.server.advance(reply.length, reply.skip or 0)
        flow.answers_read &= reply.skip is not None
        flow.resume()
        flow.next_unit(unit, None if reply.accepted else unit.then, now)
        return _WATCHING if reply.accepted else READING

    def late(self, asked: Asked, now: float) -> Decision | None:
        """As the engine's."""
        flow = self._flows.get(asked.key)
        if flow is None or not asked.of(flow) or flow.verdict in FINAL:
            return None
        found, outcome = self._judge.late(asked, flow.client)
        if outcome.verdict.blocks or (outcome.verdict is Verdict.ACCELERATE and asked.held_up and flow.asked is asked):
            return self.decide(flow, outcome, found, now)
        if outcome.verdict is Verdict.INSPECT:
            flow.confirmed = Verdict.INSPECT  # what was told of it already
            return None
        if flow.claim is not None and flow.awaiting is None:
            return None  # it is yet to be told of
        return Decision(flow.verdict, Action.MARK, outcome.reason, (_judgement(flow, (found, outcome), now),))

    def exception(self, flow: Flow, reason: Reason, now: float, found: Classification | None = None) -> Decision:
        """The flow cannot be decided: the exception policy does it."""
        return self.decide(flow, self._judge.exception(reason), found, now)

    def decide(self, flow: Flow, outcome: Outcome, found: Classification | None, now: float) -> Decision:
        """The flow is decided; ``found``: what it was taken for."""
        told = (_judgement(flow, (found, outcome), now),)
        flow.verdict, flow.reason, flow.revision = outcome.verdict, outcome.reason, self._judge.policy.revision
        self._flows.decide(flow, now)
        return Decision(outcome.verdict, Action.MARK, outcome.reason, told)


def _held_up(flow: Flow) -> bool:
    """True of a flow that would be accelerated, but that slow advisers have yet to answer."""
    if flow.asked is None or not flow.asked.until:
        return False
    flow.asked.held_up = True
    return True


def _judgement(flow: Flow, shown: Shown, now: float) -> Judgement:
    found, outcome = shown
    since = now if flow.since is None else flow.since
    return Judgement(flow.key, flow.client, outcome, found, flow.packets, since, flow.stream.base)
