"""Flows whose opening was not captured: which side is the client, and where does one of its units begin?

Nothing but the bytes can tell. So each side is read as a client's, from each segment on, until a unit makes sense.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from nfqdpi.core.decision import Decision, Judgement
from nfqdpi.core.engine import Engine
from nfqdpi.core.packet import FlowKey, Segment
from nfqdpi.replay.entry import Entry

_KEPT = 4  # segments; what comes in the wrong order is a few places off
_MOST_SIDES = 2048  # that keep any, the latest ones: about 12 MB

Decide = Callable[[Engine, bytes, float], Decision]


class Search:
    """Looks for the client's first unit. Each engine takes one side for the client: no engine sees both."""

    def __init__(self, engine: Engine, mirror: Engine, decide: Decide) -> None:
        self._engines = (engine, mirror)
        self._decide = decide
        self._kept: dict[FlowKey, deque[tuple[int, bytes]]] = {}  # (sequence number, packet) of the latest

    def look(self, entry: Entry, segment: Segment, packet: bytes, now: float) -> None:
        """A segment with payload, of a side that may be the client. When the unit is found, the entry is ``over``: what
        would prove that the server took it may be missing as well.
        """
        engine = self._engines[segment.key != entry.key]
        flow = engine.flows.get(segment.key)
        packets = [packet]
        kept = self._keep(segment, packet)
        if flow is None or flow.stream.offset(segment.seq) < 0:
            if flow is not None and len(segment.payload) == 1:
                return  # a keep-alive probe (RFC 9293, 3.8.4)
            engine.flows.forget(segment.key)  # the stream begins here, or even before
            packets += _behind(segment.seq, kept)
        for one in packets:
            decision = self._decide(engine, one, now)
            for judgement in decision.judgements:
                if _whole(judgement):
                    self.forget(segment.key)
                    entry.key, entry.sided, entry.over, entry.told = segment.key, True, True, judgement
                    return
                if entry.told is None or not entry.recognised:
                    entry.told = judgement
            if decision.judgements:
                engine.flows.forget(segment.key)  # nothing that makes sense: begin again at another segment
                return

    def forget(self, key: FlowKey) -> None:
        """Nothing more is looked for in the flow."""
        for side in (key, key.reversed()):
            self._kept.pop(side, None)
            for engine in self._engines:
                engine.flows.forget(side)

    def _keep(self, segment: Segment, packet: bytes) -> deque[tuple[int, bytes]]:
        kept = self._kept.get(segment.key)
        if kept is None:
            if len(self._kept) >= _MOST_SIDES:
                del self._kept[next(iter(self._kept))]
            kept = self._kept[segment.key] = deque(maxlen=_KEPT)
        kept.append((segment.seq, packet))
        return kept


def _whole(judgement: Judgement) -> bool:
    """True of a unit that is one, and was not just bytes cut out of a stream."""
    found = judgement.classification
    return found is not None and (bool(found.names) or not found.flaw)


def _behind(seq: int, kept: deque[tuple[int, bytes]]) -> list[bytes]:
    """The packets that come after ``seq`` in the stream (RFC 9293, 3.4), in order."""
    ahead = sorted(((number - seq) % (1 << 32), packet) for number, packet in kept if number != seq)
    return [packet for distance, packet in ahead if distance < 1 << 31]
