"""A packet's bytes and ``now`` in, one Decision out. The same engine serves the live queue and a capture file.

Order of reading: ``process`` finds the flow, ``_from_client`` puts bytes on record, ``_read`` asks the classifiers,
``_judge`` asks the policy, ``_from_server`` waits for the server to prove that it got what we judged. E1 to E13 are
the invariants of strict mode.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import inf
from typing import Final, assert_never

from nfqdpi.core.asking import Asked
from nfqdpi.core.classifier import Classification, Classifier, DatagramClassifier, Glimpse, Pending, Step
from nfqdpi.core.datagrams import Datagrams
from nfqdpi.core.decision import Action, Client, Decision, Judgement, Limits, Outcome, Path, Policy
from nfqdpi.core.flow import Flow
from nfqdpi.core.judge import Judge, KnownNames
from nfqdpi.core.packet import TCP, Datagram, Flags, FlowKey, Segment, Unreadable, parse
from nfqdpi.core.plugin import Adviser
from nfqdpi.core.stream import Added, StreamBuffer
from nfqdpi.core.table import FlowTable
from nfqdpi.core.units import UnitTable
from nfqdpi.core.verdict import Reason, Verdict

_SYN, _SYN_ACK, _RST = Flags.SYN, Flags.SYN | Flags.ACK, Flags.RST
_FINAL: Final = frozenset((Verdict.ACCELERATE, Verdict.BLOCK, Verdict.BLOCK_SILENT))

_OVERFLOW_MEMORY: Final = 10.0  # s after a full queue in which a reply that we missed is taken to have got by
_PIECE: Final = 1 << 14  # bytes of payload that are looked at together; enough for a hello and most heads
_REUSE_DISTANCE: Final = 1 << 24  # bytes; a payload this far from a decided flow's is a new flow's on the same tuple

_READING: Final = Decision(Verdict.INSPECT, Action.MARK, Reason.NEED_MORE)
_ANYWHERE: Final = Path()
_CONFIRMING: Final = Decision(Verdict.CONFIRM, Action.MARK, Reason.NEED_MORE)
_CONFIRMED: Final = Decision(Verdict.ACCELERATE, Action.MARK, Reason.CONFIRMED)
_WATCHING: Final = Decision(Verdict.INSPECT, Action.MARK, Reason.CONFIRMED)
_OUTSIDE: Final = Decision(Verdict.INSPECT, Action.DROP, Reason.OUT_OF_WINDOW)
_WAITING: Final = Decision(Verdict.INSPECT, Action.DROP, Reason.NEED_MORE)  # it will be sent again
_UNFIT: Final = Decision(Verdict.INSPECT, Action.DROP, Reason.MALFORMED)

Shown = tuple[Classification | None, Outcome]  # what is told of a unit


class Engine:
    """Decides flows. Not thread-safe: one engine a worker."""

    def __init__(  # noqa: PLR0913  each is one setting, most with a default
        self, classifiers: Iterable[Classifier | DatagramClassifier | Adviser], policy: Policy,
        exceptions: Mapping[Reason, Verdict], *, limits: Limits | None = None, strict: bool = True,
        simulate: Reason | None = None, known: KnownNames | None = None, units: UnitTable | None = None,
    ) -> None:
        self.judge = Judge(policy, exceptions)
        self._known = known
        self.strict = strict
        self.limits = limits or Limits()
        self.flows: FlowTable[Flow] = FlowTable(self.limits.max_flows)
        self.datagrams = Datagrams((), self.judge, self.limits, units, strict=strict)
        self._simulate = simulate  # a condition that every flow is to meet, for trying the exception policy
        self.use(classifiers)
        self._piece = min(_PIECE, self.limits.max_bytes // 2)
        self._overflowed = -inf

    def process(self, packet: bytes, now: float, path: Path = _ANYWHERE, state: Verdict = Verdict.UNSEEN) -> Decision:
        """Decide one packet, IP header first. ``state``: what the flow's mark said when it was queued. Raises only what
        a classifier raises: see ``give_up``."""
        match parse(packet):
            case Segment() as segment:
                whole = len(segment.payload) <= self._piece
                return (self._segment if whole else self._in_pieces)(segment, now, path, state)
            case Datagram() as datagram:
                return self.datagrams.process(datagram, now, path, state)
            case Unreadable(reason):
                return self._except(None, reason, None, now)  # E10: nobody knows what a server would make of it
            case other:
                assert_never(other)

    def govern(self, policy: Policy, exceptions: Mapping[Reason, Verdict]) -> None:
        """From the next packet on another policy decides."""
        self.judge.govern(policy, exceptions)

    def use(self, classifiers: Iterable[Classifier | DatagramClassifier | Adviser], *, lacking: bool = False,
            unadvised: bool = False) -> None:
        """From the next flow on these read. ``lacking``: one that should is left out, so what nobody knows may be its:
        that is treated as ``plugin_error`` says. ``unadvised``: so is a slow adviser, and every unit is its."""
        classifiers = tuple(classifiers)
        datagrams = [c for c in classifiers if isinstance(c, DatagramClassifier)]
        self.datagrams.use(datagrams, lacking=lacking)
        # Where no answers are seen any more, those that were are of no use.
        self.judge.known = self._known if any(c.both for c in datagrams) else None
        advisers = [c for c in classifiers if isinstance(c, Adviser)]
        self.judge.advisers = tuple(one for one in advisers if one.slow is None)
        self.judge.asking.use(advisers, lacking=unadvised)
        streams = [c for c in classifiers if isinstance(c, Classifier)]
        self._readers = tuple(c.bounded for c in streams if c.elsewhere)
        self._readers_on = {  # what is asked about flows to ports that are some classifier's own
            port: tuple(c.bounded for c in streams if c.elsewhere or port in c.ports)
            for one in streams if not one.elsewhere for port in one.ports}
        self._lacking = lacking

    def overflow(self, now: float) -> None:
        """A queue that fails open may have been full: packets have passed that we do not know of."""
        self._overflowed = now

    def give_up(self, packet: bytes, now: float) -> Decision:
        """Deciding the packet raised: the flow is treated as ``plugin_error`` says. Never raises."""
        parsed = parse(packet)
        if isinstance(parsed, Unreadable):
            return self._except(None, Reason.PLUGIN_ERROR, None, now)
        if isinstance(parsed, Datagram):
            return (self.datagrams.give_up(parsed.key, now)
                    or self._except(None, Reason.PLUGIN_ERROR, parsed.key, now))
        flow = self.flows.get(parsed.key) or self.flows.get(parsed.key.reversed())
        return self._except(flow, Reason.PLUGIN_ERROR, parsed.key, now)

    def _segment(self, segment: Segment, now: float, path: Path, state: Verdict) -> Decision:
        if segment.flags & _SYN_ACK == _SYN_ACK:
            return self._server_opens(segment, now, path, state)
        flow = self.flows.get(segment.key)
        if flow is None:
            back = self.flows.get(segment.key.reversed())
            if back is not None:
                return _OUTSIDE if back.forged(path) else self._from_server(back, segment, now)  # E6
        elif flow.opening_seen and path.crosses and not flow.crosses:
            return _OUTSIDE  # E1: the SYN+ACK came from where the client is, and the way to the server leads elsewhere
        elif not self.strict and (_reused(flow, segment, now) or (state is Verdict.UNSEEN and self._freed(flow))):
            flow = None
        if flow is None:
            # The opening was not seen. Fast mode never sees it; in strict mode the flow is older than we are.
            flow = self._open(segment.key, segment.seq + bool(segment.flags & _SYN), now)
            if self.strict and self._forgotten(segment.key, state, now):
                return self._except(flow, Reason.TIMEOUT, flow.key, now)
            flow.crosses = path.crosses
        if not flow.packets:
            flow.client = Client(segment.key.src, path.sender[:6], path.entered)
        if state is Verdict.UNSEEN and segment.flags & _RST and flow.verdict.blocks and not segment.payload:
            # A new flow on the tuple of a blocked one, whose reset the server never got: this is how its client answers
            # the server's challenge (RFC 5961, 4.2). It carries nothing, and the blocked flow stays blocked.
            return _READING
        return self._from_client(flow, segment, now)

    def _in_pieces(self, segment: Segment, now: float, path: Path, state: Verdict) -> Decision:
        """What GSO has put together, as if it had come in pieces: a unit that ends in it makes room for the next."""
        told: tuple[Judgement, ...] = ()
        for piece in segment.pieces(self._piece):
            decision = self._segment(piece, now, path, state)
            told += decision.judgements
            if decision.action is not Action.MARK or decision.verdict in _FINAL:
                break
            state = decision.verdict
        return decision._replace(judgements=told)

    def _freed(self, flow: Flow) -> bool:
        """True of a decided flow whose mark was taken off after the policy had changed: it is judged again. Not in
        strict mode: what was blocked has been reset, and in the middle of a flow there is nothing to judge."""
        return flow.verdict in _FINAL and flow.revision is not self.judge.policy.revision

    def _forgotten(self, key: FlowKey, state: Verdict, now: float) -> bool:
        """E7: True where this may be the rest of a unit whose beginning has expired or was crowded out. A mark says so
        for certain; but conntrack may have forgotten the flow, too (it gives a reset one ten seconds). Only while a
        full queue lets openings by does an unmarked flow without one get the benefit of the doubt."""
        if not self.flows.has_lost(key):
            return False
        return state is not Verdict.UNSEEN or now - self._overflowed > _OVERFLOW_MEMORY

    def _server_opens(self, segment: Segment, now: float, path: Path, state: Verdict) -> Decision:
        # E1: the base of the client's stream is what the server's SYN+ACK acknowledges, never a client packet.
        # That a SYN+ACK comes from the server is conntrack's word: the rules drop the client's.
        key = segment.key.reversed()
        known = self.flows.get(key)
        base = (segment.seq + 1) % (1 << 32)
        if known is not None and known.forged(path):
            return _OUTSIDE
        if known is not None and known.crosses != path.crosses:
            known = None  # the client's network has opened it in the server's name; this is the server itself
        # E8: without a mark, or with other numbers, there is a new flow on the tuple. The client may choose the numbers
        # of the flow before; the server does not.
        if known is not None and known.stream.base == segment.ack and known.opens_again(base):
            return _READING
        if known is None or state is Verdict.UNSEEN or (known.stream.base, known.server_base) != (segment.ack, base):
            flow = self._open(key, segment.ack, now)
            flow.server_base = flow.acked = base
            flow.crosses = path.crosses
            return _READING
        return Decision(known.verdict, Action.MARK, known.reason)  # sent again: the mark stays

    def _open(self, key: FlowKey, base: int, now: float) -> Flow:
        stream = StreamBuffer(base % (1 << 32), self.limits.max_bytes, self.limits.max_segments)
        flow = Flow(key, stream, self._readers_on.get(key.dport, self._readers), now)
        self.flows.open(flow)
        return flow

    def _from_client(  # noqa: C901, PLR0911  one for each answer
        self, flow: Flow, segment: Segment, now: float
    ) -> Decision:
        if flow.asked is not None and not flow.asked.judged and flow.verdict not in _FINAL:
            return self._held(flow, flow.asked, now)
        flow.packets += 1
        if flow.verdict in _FINAL:
            return Decision(flow.verdict, Action.MARK, flow.reason)
        waiting = _READING if flow.awaiting is None else _CONFIRMING
        taken = flow.take(segment) if self.strict else flow.record(segment)
        self.flows.touch(flow, now, ended=flow.end is not None)
        if taken is not Added.SEEN:
            self.flows.weigh(flow)
        match taken:
            case Added.NEW | Added.SEEN if flow.reply_missed and now - self._overflowed < _OVERFLOW_MEMORY:
                return self._except(flow, Reason.MIDSTREAM, flow.key, now)
            case Added.NEW:
                return self._grown(flow, waiting, now)
            case Added.SEEN:
                return waiting
            case Added.UNFIT:
                return _UNFIT  # E13
            case Added.OUTSIDE | Added.PROBE:
                return _OUTSIDE if self.strict else waiting  # E4
            case Added.CONFLICT:
                return self._except(flow, Reason.OVERLAP, flow.key, now)  # E3
            case Added.FULL:
                return self._except(flow, Reason.TOO_BIG, flow.key, now)  # E2
            case other:
                assert_never(other)

    def _held(self, flow: Flow, asked: Asked, now: float) -> Decision:
        """The packet that was held, once it waits no more; before that, any other, which the client will send again."""
        if asked.waiting:
            return _WAITING
        asked.judged = True
        return self._read(flow, now)

    def _grown(self, flow: Flow, waiting: Decision, now: float) -> Decision:
        """There are new bytes, of an unjudged unit or behind one that the server has not answered."""
        if self._simulate is not None:
            return self._except(flow, self._simulate, flow.key, now)
        if flow.doubted:
            return self._doubted(flow, waiting, now)
        if flow.awaiting is not None:
            early = flow.ahead_of_reply(flow.awaiting)
            return self._except(flow, Reason.MALFORMED, flow.key, now) if early else waiting
        if flow.since is None:
            flow.since = now
        elif now - flow.since > self.limits.timeout:
            return self._except(flow, Reason.TIMEOUT, flow.key, now)
        return self._read(flow, now)

    def _doubted(self, flow: Flow, waiting: Decision, now: float) -> Decision:
        """More of a flow that counts as unknown, before the server has answered: some reader may know it now."""
        answer = flow.classify()
        if answer is Pending.NO_MATCH:
            flow.doubted, flow.readers = False, self._readers
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
                    decision = self._judge(flow, found, now)
                    if decision.action is Action.HOLD or decision.verdict in _FINAL:
                        return _behind(told, decision)
                    told += decision.judgements
                case Pending.NO_MATCH | Glimpse(protocol=""):
                    return _behind(told, self._unknown(flow, now))
                case Pending.NEED_MORE | Glimpse(names=()):
                    return self._unfinished(flow, told, now)
                case Glimpse(protocol, names, attributes):
                    outcome = self.judge.ask(names, Reason.NO_NAME, flow.client, protocol)
                    if not outcome.verdict.blocks:
                        return self._unfinished(flow, told, now)
                    return _behind(told, self._decide(flow, outcome, Classification(protocol, names, attributes), now))
                case Step() as step:
                    flow.next_unit(step, step.then, now)
                case other:
                    assert_never(other)
        return _so_far(flow, told)

    def _unfinished(self, flow: Flow, told: tuple[Judgement, ...], now: float) -> Decision:
        """The unit is not whole yet; it may not come in any number of pieces."""
        if flow.stream.segments <= self.limits.max_segments:
            return _so_far(flow, told)
        return _behind(told, self._except(flow, Reason.TOO_BIG, flow.key, now))

    def _judge(self, flow: Flow, found: Classification, now: float) -> Decision:
        if found.asks:
            outcome = self.judge.lookup(found.names, flow.client, found.protocol)
            if outcome.redirect and not outcome.verdict.blocks:
                outcome = outcome._replace(verdict=Verdict.BLOCK)
        else:
            found = self.judge.named(found, flow.client, flow.key.dst, now)
            outcome = self.judge.ask(found.names, Reason.NO_NAME, flow.client, found.protocol)
            if self.judge.advisers:
                found, outcome = self.judge.advised(found, outcome, flow.client, flow.key.dst)
        if (reason := self._against(flow, found, outcome)) is not None:
            return self._except(flow, reason, flow.key, now, found)
        if outcome.verdict.blocks:
            return self._decide(flow, outcome, found, now)
        if self.judge.asking.needed and not found.asks:
            return self._consult(flow, found, outcome, now)
        return self._let_on(flow, outcome, found, (found, outcome), now)

    def _consult(self, flow: Flow, found: Classification, outcome: Outcome, now: float) -> Decision:
        """Nothing stands against the unit but what slow advisers may say."""
        if flow.readers:  # else it is a claim, which was asked about when it was made
            flow.asked = self.judge.asking.ask(flow.asked, flow, flow.stream.start, found, outcome, now)
        asked, shown = flow.asked, (found, outcome)
        if asked is not None and asked.at == flow.stream.start:
            if asked.waiting:
                return Decision(flow.verdict, Action.HOLD, Reason.NEED_MORE, question=asked.number)
            found, outcome = self.judge.heard(asked, found, outcome)
            if outcome.verdict.blocks:
                return self._decide(flow, outcome, found, now)
            shown = self.judge.meanwhile(asked, found, outcome)
        return self._let_on(flow, outcome, found, shown, now)

    def _let_on(self, flow: Flow, outcome: Outcome, found: Classification, shown: Shown, now: float) -> Decision:
        """The unit is allowed; what the server has to say, and what follows."""
        watch_on = (self.strict or found.asks) and (found.confirm is not None or found.then is not None)
        if not watch_on:
            return self._unproved(flow, outcome, found, shown, now)
        # Where the answer cannot be told from an earlier one, a unit that would leave its protocol leads nowhere.
        awaits = found.confirm is not None and (flow.answer_begins or not found.hold)
        if awaits and flow.ahead_of_reply(found):
            return self._except(flow, Reason.MALFORMED, flow.key, now, found)
        told = (_judgement(flow, *shown, now),)
        if awaits:
            flow.await_reply(found, outcome.verdict, self.judge.policy.revision)
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
        if self.strict and flow.contested and found.then is not None and flow.key.dport in self._readers_on:
            return Reason.MALFORMED  # the port is a plugin's own: what that may know is not let go as another's
        return self.judge.suspicion(found)

    def _unproved(self, flow: Flow, outcome: Outcome, found: Classification, shown: Shown, now: float) -> Decision:
        """A unit of a protocol that nobody reads on, and nobody knows how a server answers."""
        if self.strict and flow.opening_seen:
            if flow.rivals and flow.claim is None:
                flow.claim, flow.readers = found, flow.rivals  # first all others say what they take it for
                return _READING
            if flow.rivals or outcome.verdict is Verdict.ACCELERATE:
                return self._on_any_reply(flow, outcome, shown, found, now)
        if outcome.verdict is Verdict.ACCELERATE and not _held_up(flow):
            return self._decide(flow, outcome, found, now)
        # So it is where the rule says inspect: the client's packets keep coming to the queue.
        told = (_judgement(flow, *shown, now),)
        flow.next_unit(found, None, now)
        flow.answers_read = False
        return Decision(flow.verdict, Action.MARK, shown[1].reason, told)

    def _on_any_reply(self, flow: Flow, outcome: Outcome, shown: Shown, unit: Classification, now: float) -> Decision:
        """E6: accelerate (or watch), but not on the client's word alone. Any reply that acknowledges what has come will
        do, where nobody knows how a server answers; what passes until then is recorded (E2)."""
        told = (_judgement(flow, *shown, now),)
        flow.doubted = bool(flow.rivals)
        flow.readers = flow.rivals or self._readers  # only what somebody reads is recorded, asked or not
        flow.await_reply(replace(unit, length=len(flow.stream.head)), outcome.verdict, self.judge.policy.revision)
        return Decision(flow.verdict, Action.MARK, shown[1].reason, told)

    def late(self, asked: Asked, now: float) -> Decision | None:
        """What becomes of a flow, by its mark and at once, that has passed before the slow advisers answered, now that
        they have. None: nothing does."""
        if asked.flow.key.proto != TCP:
            return self.datagrams.late(asked, now)
        flow = self.flows.get(asked.flow.key)
        if flow is None or flow is not asked.flow or flow.verdict in _FINAL:
            return None
        found, outcome = self.judge.late(asked, flow.client)
        if outcome.verdict.blocks or (outcome.verdict is Verdict.ACCELERATE and asked.held_up and flow.asked is asked):
            return self._decide(flow, outcome, found, now)
        if outcome.verdict is Verdict.INSPECT:
            flow.confirmed = Verdict.INSPECT  # what was told of it already
            return None
        if flow.claim is not None and flow.awaiting is None:
            return None  # it is yet to be told of
        return Decision(flow.verdict, Action.MARK, outcome.reason, (_judgement(flow, found, outcome, now),))

    def _unknown(self, flow: Flow, now: float) -> Decision:
        flow.rivals, flow.readers, flow.contested = flow.readers, (), False
        if flow.claim is not None:
            return self._judge(flow, flow.claim, now)
        if self.strict and not flow.opening_seen:
            return self._except(flow, Reason.MIDSTREAM, flow.key, now)
        if self._lacking:
            return self._except(flow, Reason.PLUGIN_ERROR, flow.key, now)
        named = self.judge.named(Classification(""), flow.client, flow.key.dst, now)
        found = named if named.names else None
        outcome = self.judge.ask(named.names, Reason.UNKNOWN_PROTOCOL, flow.client)
        if self.strict and (outcome.verdict is Verdict.ACCELERATE or (flow.rivals and not outcome.verdict.blocks)):
            return self._on_any_reply(flow, outcome, (found, outcome), named, now)
        return self._decide(flow, outcome, found, now)

    def _from_server(self, flow: Flow, segment: Segment, now: float) -> Decision:
        """E6: accelerate when the server's own bytes show that it got, and took, the unit that we judged."""
        if flow.verdict in _FINAL:
            return Decision(flow.verdict, Action.MARK, flow.reason)
        self.flows.touch(flow, now)
        self.flows.weigh(flow)
        unit = flow.awaiting
        if unit is None or flow.server is None or not segment.payload:
            return _READING if unit is None else _CONFIRMING
        flow.server.add(segment.seq, segment.payload)
        reply = flow.reply(segment.ack)
        if isinstance(reply, Pending):
            return _CONFIRMING
        if flow.revision is not self.judge.policy.revision:
            # The policy has changed between question and answer: what it says now counts.
            nameless = Reason.NO_NAME if unit.protocol else Reason.UNKNOWN_PROTOCOL
            outcome = self.judge.ask(unit.names, nameless, flow.client, unit.protocol)
            unit, outcome = self.judge.advised(unit, outcome, flow.client, flow.key.dst)
            if flow.asked is not None:
                unit, outcome = self.judge.heard(flow.asked, unit, outcome)
            if outcome.verdict.blocks:
                return self._decide(flow, outcome, unit if unit.protocol else None, now)
            flow.confirmed, flow.revision = outcome.verdict, self.judge.policy.revision
        if reply.accepted and flow.confirmed is Verdict.ACCELERATE and not _held_up(flow):
            flow.verdict, flow.reason = Verdict.ACCELERATE, Reason.CONFIRMED
            self.flows.decide(flow, now)
            return _CONFIRMED
        flow.server.advance(reply.length, reply.skip or 0)
        flow.answers_read &= reply.skip is not None
        flow.resume()
        flow.next_unit(unit, None if reply.accepted else unit.then, now)
        return _WATCHING if reply.accepted else _READING

    def _except(self, flow: Flow | None, reason: Reason, key: FlowKey | None, now: float,
                found: Classification | None = None) -> Decision:
        """The engine cannot decide: the exception policy does."""
        outcome = self.judge.exception(reason)
        if flow is not None:
            return self._decide(flow, outcome, found, now)
        told = (Judgement(key, Client(key.src), outcome, None, 1, now),) if key is not None else ()
        return Decision(outcome.verdict, Action.MARK, reason, told)

    def _decide(self, flow: Flow, outcome: Outcome, found: Classification | None, now: float) -> Decision:
        told = (_judgement(flow, found, outcome, now),)
        flow.verdict, flow.reason, flow.revision = outcome.verdict, outcome.reason, self.judge.policy.revision
        self.flows.decide(flow, now)
        return Decision(outcome.verdict, Action.MARK, outcome.reason, told)


def _so_far(flow: Flow, told: tuple[Judgement, ...]) -> Decision:
    """Nothing stands against the packet; what is new of its flow."""
    return Decision(flow.verdict, Action.MARK, told[-1].outcome.reason, told) if told else _READING


def _held_up(flow: Flow) -> bool:
    """True of a flow that would be accelerated, but that slow advisers have yet to answer."""
    if flow.asked is None or not flow.asked.until:
        return False
    flow.asked.held_up = True
    return True


def _behind(told: tuple[Judgement, ...], decision: Decision) -> Decision:
    """A decision that ends a packet whose units before have been judged."""
    return decision._replace(judgements=told + decision.judgements) if told else decision


def _judgement(flow: Flow, found: Classification | None, outcome: Outcome, now: float) -> Judgement:
    since = now if flow.since is None else flow.since
    return Judgement(flow.key, flow.client, outcome, found, flow.packets, since, flow.stream.base)


def _reused(flow: Flow, segment: Segment, now: float) -> bool:
    """True where a decided flow's tuple is another flow's by now. Strict mode has the SYN+ACK to tell."""
    return flow.verdict in _FINAL and (
        now - flow.seen > FlowTable.LINGER or abs(flow.stream.offset(segment.seq)) > _REUSE_DISTANCE)
