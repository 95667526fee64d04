"""Flows that the kernel cannot decide alone yet, and the bounded table that holds them."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from nfqdpi.core.classifier import NEED_MORE, Classification, Classify, Step
from nfqdpi.core.packet import FlowKey
from nfqdpi.core.stream import StreamBuffer
from nfqdpi.core.verdict import Reason, Verdict

_SERVER_BYTES = 16640  # a ServerHello's record at its longest (RFC 8446, 5.1: 2^14 + 256), to find the reply in
_SERVER_SEGMENTS = 64


class Flow:
    """One TCP flow while packets of it reach us. ``key`` is in the client's direction.

    ``stream`` holds what the client sent. ``verdict`` is INSPECT while units are read, CONFIRM while the server's
    reply to the unit ``awaiting`` is outstanding (``server``: its first bytes), and final once decided; ``confirmed``
    is what it becomes when the server takes the unit. ``since``: when the unit being read began, in ``now``'s seconds;
    None between units.
    """

    __slots__ = ("acked", "awaiting", "confirmed", "key", "packets", "readers", "reason", "seen", "server",
                 "server_base", "since", "stream", "verdict")

    def __init__(self, key: FlowKey, stream: StreamBuffer, readers: tuple[Classify, ...], now: float) -> None:
        self.key = key
        self.stream = stream
        self.readers = readers
        self.seen = now
        self.since: float | None = None
        self.packets = 0  # payload packets that reached us
        self.server_base: int | None = None  # by the server's SYN+ACK; None: not ours to see, as in fast mode
        self.acked = 0  # the client has read the server's stream up to this sequence number
        self.verdict = Verdict.INSPECT
        self.reason = Reason.NEED_MORE
        self.confirmed = Verdict.ACCELERATE
        self.awaiting: Classification | None = None
        self.server: StreamBuffer | None = None

    @property
    def opening_seen(self) -> bool:
        """True where the stream's base is the server's word (E1)."""
        return self.server_base is not None

    def await_reply(self, unit: Classification, confirmed: Verdict) -> None:
        """The unit is allowed if the server takes it: ``confirmed`` is the verdict then."""
        self.verdict, self.awaiting, self.confirmed = Verdict.CONFIRM, unit, confirmed
        # Replies to earlier units passed unread; this one begins where the client has read to.
        if self.server is None or self.server.offset(self.acked) > self.server.start:
            self.server = StreamBuffer(self.acked, _SERVER_BYTES, _SERVER_SEGMENTS)

    def resume(self) -> None:
        """The server did not take the unit: read the next."""
        self.verdict, self.awaiting = Verdict.INSPECT, None

    def ahead_of_reply(self, unit: Classification) -> bool:
        """True where the client has sent, behind a unit that the server has not answered, what the server could take
        for the next one: nobody would stand between its reply and the client any more."""
        rest = self.stream.head[unit.length + unit.skip :]
        if unit.hold:
            return bool(rest)
        then = unit.then
        while rest and then is not None:
            answer = then(rest)
            if not isinstance(answer, Step):
                return answer is not NEED_MORE
            rest, then = rest[answer.length + answer.skip :], answer.then
        return False

    @property
    def held_from(self) -> int | None:
        """The stream offset from which nothing may pass before the server's reply; None: all may."""
        unit = self.awaiting
        return self.stream.start + unit.length + unit.skip if unit is not None and unit.hold else None


class FlowTable:
    """At most ``limit`` flows, least recently used first to go; decided ones stay ``LINGER`` seconds.

    No sweep: each insertion looks at the two oldest of either kind, so that expiry keeps up with opening and the loop
    never stalls. An evicted flow whose client goes on is midstream to us.
    """

    LINGER = 10.0  # s: packets that queued up behind the deciding one, and early retransmissions
    IDLE = 3600.0  # s: a kept-alive or preconnected flow without a byte; longer than any browser holds one open

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.evicted = 0
        self.crowded = -inf  # when the table was last so full that a flow with an unjudged unit went
        self._open: dict[FlowKey, Flow] = {}
        self._decided: dict[FlowKey, Flow] = {}

    def __len__(self) -> int:
        return len(self._open) + len(self._decided)

    def __iter__(self) -> Iterator[Flow]:
        """The undecided flows, least recently used first."""
        return iter(self._open.values())

    def get(self, key: FlowKey) -> Flow | None:
        """The flow with this key in the client's direction, decided or not."""
        return self._open.get(key) or self._decided.get(key)

    def open(self, flow: Flow) -> None:
        """Add a flow in place of any with its key; make room first."""
        self.forget(flow.key)
        self._age(flow.seen)
        if len(self) >= self.limit:
            self._evict(flow.seen)
        self._open[flow.key] = flow

    def _evict(self, now: float) -> None:
        flows = self._decided or self._open
        oldest = flows.pop(next(iter(flows)))
        if flows is self._open:
            self.evicted += 1
            if oldest.since is not None:
                self.crowded = now

    def touch(self, flow: Flow, now: float) -> None:
        """A packet of an undecided flow: it is the last to be evicted now."""
        flow.seen = now
        if flow.key in self._open:
            self._open[flow.key] = self._open.pop(flow.key)

    def decide(self, flow: Flow, now: float) -> None:
        """The flow is decided: it lingers without its bytes."""
        flow.seen = now
        flow.stream.clear()
        flow.server = None
        self._open.pop(flow.key, None)
        self._decided[flow.key] = flow

    def forget(self, key: FlowKey) -> None:
        """Drop the flow, if there."""
        self._open.pop(key, None)
        self._decided.pop(key, None)

    def _age(self, now: float) -> None:
        for flows, life in ((self._decided, self.LINGER), (self._open, self.IDLE)):
            for _ in range(2):
                oldest = next(iter(flows.values()), None)
                if oldest is None or now - oldest.seen <= life:
                    break
                del flows[oldest.key]
