"""TCP: segments in, decisions out. ``process`` finds the flow, ``_from_client`` puts bytes on record.

``Reading`` finds out what the bytes are, ``Deciding`` what becomes of the flow. E1 to E13 are the invariants of strict
mode.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import inf
from typing import Final, assert_never

from nfqdpi.core.asking import Asked
from nfqdpi.core.classifier import Classifier
from nfqdpi.core.deciding import Deciding
from nfqdpi.core.decision import CONFIRMING, READING, Action, Client, Decision, Judgement, Limits, Path
from nfqdpi.core.flow import Flow
from nfqdpi.core.judge import Judge
from nfqdpi.core.packet import Flags, FlowKey, Segment, new_tuple
from nfqdpi.core.readers import Readers
from nfqdpi.core.reading import Reading
from nfqdpi.core.stream import Added, StreamBuffer
from nfqdpi.core.table import FlowTable
from nfqdpi.core.verdict import FINAL, Reason, Verdict

_SYN: Final = Flags.SYN
_SYN_ACK: Final = Flags.SYN | Flags.ACK
_RST: Final = Flags.RST

_OVERFLOW_MEMORY: Final = 10.0  # s after a full queue in which a reply that we missed is taken to have got by
_PIECE: Final = 1 << 14  # bytes of payload that are looked at together; enough for a hello and most heads
_REUSE_DISTANCE: Final = 1 << 24  # bytes; a payload this far from a decided flow's is a new flow's on the same tuple

_OUTSIDE: Final = Decision(Verdict.INSPECT, Action.DROP, Reason.OUT_OF_WINDOW)
_UNFIT: Final = Decision(Verdict.INSPECT, Action.DROP, Reason.MALFORMED)


class Segments:
    """Decides TCP flows; one of the engine's halves. ``simulate``: as ``Reading`` has it."""

    def __init__(self, judge: Judge, limits: Limits, *, strict: bool, simulate: Reason | None = None) -> None:
        self.flows: FlowTable[Flow] = FlowTable(limits.max_flows)
        self._judge = judge
        self._limits = limits
        self._strict = strict
        self._readers = Readers()
        self._deciding = Deciding(self.flows, judge, self._readers, strict=strict)
        self._reading = Reading(self._deciding, judge, limits, self._readers, simulate=simulate)
        self._piece = min(_PIECE, limits.max_bytes // 2)
        self._overflowed = -inf

    def use(self, classifiers: Iterable[Classifier], *, lacking: bool = False) -> None:
        """From the next flow on these read; ``lacking``: as the engine has it."""
        self._readers.use(classifiers, lacking=lacking)

    def overflow(self, now: float) -> None:
        """As the engine's."""
        self._overflowed = now

    def process(  # noqa: C901, PLR0911  one for each answer
            self, segment: Segment, now: float, path: Path, state: Verdict) -> Decision:
        """Decide one segment. ``state``: what its flow's mark said when it was queued."""
        if len(segment.payload) > self._piece:
            return self._in_pieces(segment, now, path, state)
        if segment.flags & _SYN_ACK == _SYN_ACK:
            return self._server_opens(segment, now, path, state)
        flow = self.flows.get(segment.key)
        if flow is None:
            # In fast mode no packet of a server's is queued.
            back = self.flows.get(segment.key.reversed()) if self._strict else None
            if back is not None:
                return _OUTSIDE if back.forged(path) else self._deciding.from_server(back, segment, now)  # E6
        elif flow.opening_seen and path.crosses and not flow.crosses:
            return _OUTSIDE  # E1: the SYN+ACK came from where the client is, and the way to the server leads elsewhere
        elif not self._strict and (_reused(flow, segment, now) or (state is Verdict.UNSEEN and self._freed(flow))):
            flow = None
        if flow is None:
            # The opening was not seen. Fast mode never sees it; in strict mode the flow is older than we are.
            flow = self._flow(segment.key, _client(segment, path), segment.seq + bool(segment.flags & _SYN), now)
            if self._strict and self._forgotten(segment.key, state, now):
                return self._deciding.exception(flow, Reason.TIMEOUT, now)
            flow.crosses = path.crosses
        if not flow.packets and flow.opening_seen:
            flow.client = _client(segment, path)
        if state is Verdict.UNSEEN and segment.flags & _RST and flow.verdict.blocks and not segment.payload:
            # A new flow on the tuple of a blocked one, whose reset the server never got: this is how its client answers
            # the server's challenge (RFC 5961, 4.2). It carries nothing, and the blocked flow stays blocked.
            return READING
        return self._from_client(flow, segment, now)

    def give_up(self, key: FlowKey, now: float) -> Decision | None:
        """Reading a segment raised: its flow is treated as ``plugin_error`` says. None: there is no such flow."""
        flow = self.flows.get(key) or self.flows.get(key.reversed())
        return self._deciding.exception(flow, Reason.PLUGIN_ERROR, now) if flow is not None else None

    def late(self, asked: Asked, now: float) -> Decision | None:
        """As the engine's."""
        return self._deciding.late(asked, now)

    def _in_pieces(self, segment: Segment, now: float, path: Path, state: Verdict) -> Decision:
        """What GSO has put together, as if it had come in pieces: a unit that ends in it makes room for the next."""
        told: tuple[Judgement, ...] = ()
        for piece in segment.pieces(self._piece):
            decision = self.process(piece, now, path, state)
            told += decision.judgements
            if decision.action is not Action.MARK or decision.verdict in FINAL:
                break
            state = decision.verdict
        return replace(decision, judgements=told)

    def _freed(self, flow: Flow) -> bool:
        """True of a decided flow whose mark was taken off after the policy had changed: it is judged again. Not in
        strict mode: what was blocked has been reset, and in the middle of a flow there is nothing to judge."""
        return flow.verdict in FINAL and flow.revision is not self._judge.policy.revision

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
            return READING
        if known is None or state is Verdict.UNSEEN or (known.stream.base, known.server_base) != (segment.ack, base):
            flow = self._flow(key, new_tuple(Client, (key.src, b"", 0)), segment.ack, now)
            flow.server_base = flow.acked = base
            flow.crosses = path.crosses
            self.flows.open(flow)
            return READING
        return Decision(known.verdict, Action.MARK, known.reason)  # sent again: the mark stays

    def _flow(self, key: FlowKey, client: Client, base: int, now: float) -> Flow:
        """A new one; it is not in the table yet."""
        stream = StreamBuffer(base % (1 << 32), self._limits.max_bytes, self._limits.max_segments)
        return Flow(key, client, stream, self._readers.of(key.dport), now)

    def _from_client(self, flow: Flow, segment: Segment, now: float) -> Decision:
        if flow.asked is not None and not flow.asked.judged and flow.verdict not in FINAL:
            return self._reading.held(flow, flow.asked, now)
        flow.packets += 1
        if flow.verdict in FINAL:
            return Decision(flow.verdict, Action.MARK, flow.reason)
        taken = flow.take(segment) if self._strict else flow.record(segment)
        try:
            decision = self._after(flow, taken, now)
        except BaseException:
            self.flows.touch(flow, now)  # whoever gives it up finds it there
            raise
        if flow.verdict not in FINAL:
            self.flows.touch(flow, now, ended=flow.end is not None)
            if taken is not Added.SEEN:
                self.flows.weigh(flow)
        return decision

    def _after(self, flow: Flow, taken: Added, now: float) -> Decision:  # noqa: PLR0911  one for each answer
        """What becomes of a flow by a segment of the client's."""
        waiting = READING if flow.awaiting is None else CONFIRMING
        match taken:
            case Added.NEW | Added.SEEN if flow.reply_missed and now - self._overflowed < _OVERFLOW_MEMORY:
                return self._deciding.exception(flow, Reason.MIDSTREAM, now)
            case Added.NEW:
                return self._reading.grown(flow, waiting, now)
            case Added.SEEN:
                return waiting
            case Added.UNFIT:
                return _UNFIT  # E13
            case Added.OUTSIDE | Added.PROBE:
                return _OUTSIDE if self._strict else waiting  # E4
            case Added.CONFLICT:
                return self._deciding.exception(flow, Reason.OVERLAP, now)  # E3
            case Added.FULL:
                return self._deciding.exception(flow, Reason.TOO_BIG, now)  # E2
            case other:
                assert_never(other)


def _client(segment: Segment, path: Path) -> Client:
    return new_tuple(Client, (segment.key.src, path.sender[:6], path.entered))


def _reused(flow: Flow, segment: Segment, now: float) -> bool:
    """True where a decided flow's tuple is another flow's by now. Strict mode has the SYN+ACK to tell."""
    return flow.verdict in FINAL and (
        now - flow.seen > FlowTable.LINGER or abs(flow.stream.offset(segment.seq)) > _REUSE_DISTANCE)
