"""UDP: datagrams in, decisions out. ``process`` finds the flow, ``_read`` asks the classifiers of its port.

A flow of QUIC is read for as long as it lives: each of its connections begins with an Initial, which is judged, and
everything else on it is of a connection that was. So a strict gateway queues long headers whatever the flow's mark
says, and no reply has to prove anything. Questions of DNS are judged one by one, and so are their answers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from mmap import mmap
from typing import assert_never

from nfqdpi.core.asking import Asked
from nfqdpi.core.classifier import (
    Answer,
    Back,
    Classification,
    DatagramClassifier,
    Glimpse,
    Message,
    Onward,
    Pending,
    ReadDatagram,
    Step,
)
from nfqdpi.core.datagram_flow import DatagramFlow
from nfqdpi.core.decision import WAITING, Action, Client, Decision, Judgement, Limits, Outcome, Path
from nfqdpi.core.envelope import datagram as enveloped
from nfqdpi.core.judge import Judge
from nfqdpi.core.packet import Datagram, FlowKey
from nfqdpi.core.table import FlowTable
from nfqdpi.core.units import SIZE, UnitTable
from nfqdpi.core.verdict import Reason, Verdict

_IDLE = 180.0  # s without a datagram; conntrack forgets the flow as soon (nf_conntrack_udp_timeout_stream)

_ELSEWHERE = "a unit that another flow has a part of"
_TOGETHER = Decision(Verdict.INSPECT, Action.DROP, Reason.MALFORMED)


class Datagrams:
    """Decides UDP flows; one of the engine's halves."""

    def __init__(self, classifiers: Iterable[DatagramClassifier], judge: Judge, limits: Limits,
                 units: UnitTable | None = None, *, strict: bool) -> None:
        self.flows: FlowTable[DatagramFlow] = FlowTable(limits.max_flows, _IDLE)
        self._judge = judge
        self._limits = limits
        self.units = units or UnitTable(mmap(-1, SIZE))
        self._strict = strict
        self.use(classifiers)

    def use(self, classifiers: Iterable[DatagramClassifier], *, lacking: bool = False) -> None:
        """From the next flow on these read; ``lacking``: as the engine has it."""
        self._strange = Reason.PLUGIN_ERROR if lacking else Reason.UNKNOWN_PROTOCOL
        self._readers: dict[int, tuple[ReadDatagram, ...]] = {}
        self.both: set[int] = set()  # ports of which servers' datagrams are read, too
        self._apart: set[int] = set()  # ports whose datagrams must come one by one
        for classifier in classifiers:
            for port in classifier.ports:
                self._readers[port] = (*self._readers.get(port, ()), classifier.read)
                if classifier.both:
                    self.both.add(port)
                if not classifier.joined:
                    self._apart.add(port)

    def flow_key(self, key: FlowKey) -> FlowKey | None:
        """A datagram's key in the client's direction; None where no rule queues it."""
        if key.sport in self.both and key.dport not in self.both:
            return key.reversed()
        return key if key.dport in self._readers else None

    def process(  # noqa: PLR0911  one for each answer
            self, packet: Datagram, now: float, path: Path, state: Verdict) -> Decision:
        """Decide one datagram. ``state``: what its flow's mark said when it was queued."""
        key = packet.key
        if key.sport in self.both and key.dport not in self.both:
            return self._answer(packet, now, path)
        if key.dport not in self._readers:
            return self._alone(key, Client(key.src, path.sender[:6], path.entered), self._strange, now)
        if path.joined and key.dport in self._apart:
            return _TOGETHER  # a server would get another datagram out of it than we
        flow = self.flows.get(key)
        if flow is not None and flow.verdict.blocks and state is Verdict.UNSEEN and not self._begun(flow):
            flow = None  # conntrack knows of none: this one is new
        if flow is None:
            flow = DatagramFlow(key, Client(key.src, path.sender[:6], path.entered), self._readers[key.dport], now,
                                crosses=path.crosses)
            lost = state is not Verdict.UNSEEN and self.flows.has_lost(key)
            self.flows.open(flow)
            if self._strict and lost:
                return self._except(flow, Reason.TIMEOUT, now)  # E7: the rest of a unit, perhaps
        if flow.asked is None or flow.asked.judged:
            flow.packets += 1
        elif flow.asked.waiting:
            return WAITING
        if flow.verdict.blocks or not flow.readers:
            return Decision(flow.verdict, Action.MARK, flow.reason)
        self.flows.touch(flow, now)
        return self._read(flow, packet, now)

    def _begun(self, flow: DatagramFlow) -> bool:
        """True of a blocked flow of which the server may hold a part. That it has no mark says nothing: datagrams that
        come before the first has left are a flow each to conntrack (nf_conntrack_core.c: nf_ct_resolve_clash), and the
        server may remember for longer than conntrack."""
        return self._strict and flow.packets > 1

    def give_up(self, key: FlowKey, now: float) -> Decision | None:
        """Reading a datagram raised: its flow is treated as ``plugin_error`` says. None: there is no such flow."""
        flow = self.flows.get(key)
        return self._except(flow, Reason.PLUGIN_ERROR, now) if flow is not None else None

    def _read(self, flow: DatagramFlow, packet: Datagram, now: float) -> Decision:
        found, reader = self._classify(flow, packet.payload)
        match found:
            case Pending.NEED_MORE | Step():
                return self._nothing(flow, now)
            case Pending.NO_MATCH:
                outcome = self._judge.ask((), Reason.UNKNOWN_PROTOCOL, flow.client)
                return self._decide(flow, outcome, None, None, now)
            case Message() as message:
                return self._message(flow, message, packet, now)
            case Glimpse() as glimpse:
                return self._unfinished(flow, glimpse, reader, len(packet.payload), now)
            case Classification() as unit:
                return self._unit(flow, unit, now)
            case other:
                assert_never(other)

    def _classify(self, flow: DatagramFlow, payload: bytes) -> tuple[Answer | Message, ReadDatagram | None]:
        """What the readers say of a datagram, and who said it; the first that knows it is right."""
        answer: Pending = Pending.NO_MATCH
        for read in flow.readers:
            found = read(payload)
            if not isinstance(found, Pending):
                return found, read
            if found is Pending.NEED_MORE:
                answer = found
        return answer, None

    def _nothing(self, flow: DatagramFlow, now: float) -> Decision:
        """Nothing to judge; but a server may wait for longer because of it."""
        if not self._claimed(flow, flow.ids, now):
            return self._except(flow, Reason.MALFORMED, now)
        if flow.since is not None and now - flow.since > self._limits.timeout:
            return self._except(flow, Reason.TIMEOUT, now)
        return Decision(flow.verdict, Action.MARK, Reason.NEED_MORE)

    def _unfinished(self, flow: DatagramFlow, glimpse: Glimpse, reader: ReadDatagram | None, size: int,
                    now: float) -> Decision:
        """A unit that goes on in the next datagram; it may not do so for ever."""
        if glimpse.names:
            outcome = self._judge.ask(glimpse.names, Reason.NO_NAME, flow.client, glimpse.protocol)
            if outcome.verdict.blocks:
                seen = Classification(glimpse.protocol, glimpse.names, glimpse.attributes)
                return self._decide(flow, outcome, seen, None, now)
        if not self._claimed(flow, glimpse.ids, now):
            seen = Classification(glimpse.protocol, glimpse.names, glimpse.attributes, _ELSEWHERE)
            return self._decide(flow, self._judge.exception(Reason.MALFORMED), seen, None, now)
        if flow.since is None:
            flow.since = now
        flow.datagrams += 1
        flow.held += size
        following = glimpse.then or reader
        flow.readers = (following,) if following is not None else ()
        self.flows.weigh(flow)
        if now - flow.since > self._limits.timeout:
            return self._except(flow, Reason.TIMEOUT, now)
        if flow.held - flow.judged > self._limits.max_bytes or flow.datagrams > self._limits.max_segments:
            return self._except(flow, Reason.TOO_BIG, now)
        return Decision(flow.verdict, Action.MARK, Reason.NEED_MORE)

    def _claimed(self, flow: DatagramFlow, ids: tuple[bytes, ...], now: float) -> bool:
        """True where these units are of this flow alone, as they were for as long as a server may remember them. The
        record of a flow that goes takes none of them with it: not even the same five-tuple has them then."""
        flow.ids = ids
        return not self._strict or all(self.units.claim(one, flow.number, now) for one in ids)

    def _unit(self, flow: DatagramFlow, unit: Classification, now: float) -> Decision:
        found = self._judge.named(unit, flow.client, flow.key.dst, now)
        outcome = self._judge.ask(found.names, Reason.NO_NAME, flow.client, found.protocol)
        if self._judge.advisers:
            found, outcome = self._judge.advised(found, outcome, flow.client, flow.key.dst)
        if not outcome.verdict.blocks and not found.flaw and not self._claimed(flow, unit.ids, now):
            found = replace(found, flaw=_ELSEWHERE)
        if not outcome.verdict.blocks and found.flaw:
            outcome = self._judge.exception(Reason.MALFORMED)
        elif not outcome.verdict.blocks and (suspicion := self._judge.suspicion(found)) is not None:
            outcome = self._judge.exception(suspicion)
        elif self._judge.asking.needed and not outcome.verdict.blocks:
            asked = flow.asked = self._judge.asking.ask(flow, flow.packets, found, outcome, now)
            if asked.waiting:
                return Decision(flow.verdict, Action.HOLD, Reason.NEED_MORE, question=asked.number)
            found, outcome = self._judge.meanwhile(asked, *self._judge.heard(asked, found, outcome))
        flow.held += unit.length
        return self._decide(flow, outcome, found, unit.then, now)

    def late(self, asked: Asked, now: float) -> Decision | None:
        """As the engine's."""
        flow = self.flows.get(asked.key)
        if flow is None or not asked.of(flow) or flow.verdict.blocks:
            return None
        found, outcome = self._judge.late(asked, flow.client)
        if not outcome.verdict.blocks and (outcome.verdict is Verdict.INSPECT or flow.asked is not asked):
            return None
        told = (Judgement(flow.key, flow.client, outcome, found, flow.packets, now),)
        flow.verdict, flow.reason = outcome.verdict, outcome.reason
        if outcome.verdict.blocks or not self._strict:
            self.flows.decide(flow, now)
        return Decision(outcome.verdict, Action.MARK, outcome.reason, told)

    def _decide(self, flow: DatagramFlow, outcome: Outcome, found: Classification | None,
                then: ReadDatagram | None, now: float) -> Decision:
        """A unit is judged. What blocks is final; in strict mode the flow's next one is judged, too."""
        told = (Judgement(flow.key, flow.client, outcome, found, flow.packets, flow.since or now),)
        flow.verdict, flow.reason = outcome.verdict, outcome.reason
        if found is None or not found.more:
            flow.since, flow.datagrams, flow.judged = None, 0, flow.held
        elif flow.since is None:
            flow.since = now
        if outcome.verdict.blocks or not self._strict:
            self.flows.decide(flow, now)
        elif then is not None:
            flow.readers = (then,)
            self.flows.weigh(flow)
        return Decision(outcome.verdict, Action.MARK, outcome.reason, told)

    def _except(self, flow: DatagramFlow, reason: Reason, now: float) -> Decision:
        return self._decide(flow, self._judge.exception(reason), None, None, now)

    def _answer(self, packet: Datagram, now: float, path: Path) -> Decision:
        """A server's datagram: judged for the client that it goes to. What it says of names is believed where the
        client has asked, and the client's own network does not speak for the server."""
        key = packet.key.reversed()
        known = self.flows.get(key)
        flow = known or DatagramFlow(key, Client(key.src), (), now)
        asked = known is not None and (path.crosses or not known.crosses)
        for read in self._readers[key.dport]:
            if isinstance(found := read(packet.payload), Message):
                return self._message(flow, found, packet, now, believed=asked)
        return self._alone(packet.key, flow.client, self._strange, now)

    def _message(self, flow: DatagramFlow, message: Message, packet: Datagram, now: float, *,
                 believed: bool = False) -> Decision:
        """A question or an answer; the flow stays undecided."""
        outcome = self._judge.lookup(message.names, flow.client, message.protocol)
        if message.flaw and not outcome.verdict.blocks:
            outcome = self._judge.exception(Reason.MALFORMED)
        edit = message.edit(outcome) if message.edit is not None and not message.flaw else None
        if believed and not outcome.verdict.blocks and not outcome.redirect:
            self._judge.learn(flow.client, message.answers, now)
        told: tuple[Judgement, ...] = ()
        if message.asks or edit is not None or outcome.verdict.blocks:
            found = Classification(message.protocol, message.names, message.attributes, message.flaw, asks=True)
            told = (Judgement(flow.key, flow.client, outcome, found, flow.packets, now),)
        match edit:
            case Onward(payload):
                onward = enveloped(packet.key, payload)
                return Decision(Verdict.INSPECT, Action.MARK, outcome.reason, told, onward=onward)
            case Back(payload):
                back = enveloped(packet.key.reversed(), payload) if packet.key == flow.key else None
                return Decision(Verdict.INSPECT, Action.DROP, outcome.reason, told, back=back)
            case None:
                action = Action.DROP if outcome.verdict.blocks else Action.MARK
                return Decision(Verdict.INSPECT, action, outcome.reason, told)
            case other:
                assert_never(other)

    def _alone(self, key: FlowKey, client: Client, reason: Reason, now: float) -> Decision:
        """A datagram of no flow that is known here."""
        outcome = self._judge.exception(reason)
        return Decision(outcome.verdict, Action.MARK, reason, (Judgement(key, client, outcome, None, 1, now),))


