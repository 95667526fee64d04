"""What the kernel's connection tracking and our rules would do with a captured packet: queue it, or not.

The chain of iptables/strict.rules (or fast.rules), for TCP on every port (``datagrams`` has those of UDP). A capture is
not a kernel, though: it may begin in the middle of a flow, with either side and in any order. Where the opening was not
captured, ``midstream`` looks for the first unit that makes sense.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from nfqdpi.core.decision import Action, Decision
from nfqdpi.core.engine import Engine
from nfqdpi.core.packet import Datagram, Flags, FlowKey, Segment
from nfqdpi.core.verdict import FINAL, Verdict
from nfqdpi.replay.datagrams import DatagramGate
from nfqdpi.replay.entry import Entry
from nfqdpi.replay.midstream import Search

_SYN, _SYN_ACK = Flags.SYN, Flags.SYN | Flags.ACK
_END = Flags.FIN | Flags.RST


class Gate:
    """Tracks as many flows as the engine; those longest without a packet go first. ``ended`` is called with each.

    ``mirror`` is a second engine: while nobody knows which side is the client, it takes the second one for it.
    """

    def __init__(self, engine: Engine, mirror: Engine, ended: Callable[[Entry], None]) -> None:
        self._engine = engine
        self._strict = engine.strict
        self._limit = engine.limits.max_flows
        self._numbers = count()
        self._ended = ended
        self._search = Search(engine, mirror, self._decide)
        self._entries: dict[FlowKey, Entry] = {}  # by the smaller of the two directions' keys
        self._streams = 0
        self._failed = 0
        self._failure = ""
        self._datagrams = DatagramGate(engine, self._numbers, ended)

    def pass_by(self, packet: bytes, segment: Segment, now: float) -> None:
        """A captured packet, IP header first, and the segment in it."""
        entry = self._entry(segment)
        if entry is None:
            return
        if segment.flags & _END:
            entry.closed = True
        if entry.over:
            return
        from_client = segment.key == entry.key
        if not entry.ready:
            if segment.payload and (from_client or not entry.sided):
                self._search.look(entry, segment, packet, now)
        elif from_client and self._reply_missed(entry, segment):
            entry.over = True
        elif self._queued(entry, segment, from_client):
            decision = self._decide(self._engine, packet, now, entry.mark)
            if decision.action is Action.MARK:
                entry.mark = decision.verdict
                entry.over = entry.mark in FINAL
            for judgement in decision.judgements:
                entry.tell(judgement)

    def datagram_by(self, datagram: Datagram, now: float) -> None:
        """A captured datagram."""
        self._datagrams.pass_by(datagram, now)

    def close(self) -> None:
        """The capture is over: every flow has ended."""
        for entry in list(self._entries.values()):
            self._end(entry)
        self._datagrams.close()

    @property
    def flows(self) -> int:
        """How many there were."""
        return self._streams + self._datagrams.flows

    @property
    def failed(self) -> int:
        """Packets on which a classifier raised."""
        return self._failed + self._datagrams.failed

    @property
    def failure(self) -> str:
        """What it raised first."""
        return self._failure or self._datagrams.failure

    def _queued(self, entry: Entry, segment: Segment, from_client: bool) -> bool:
        """The chain, from the undecided flows' rules on."""
        if from_client:
            return bool(segment.payload) and (segment.flags & _SYN_ACK != _SYN_ACK or not self._strict)
        if not self._strict:
            return False
        return segment.flags & _SYN_ACK == _SYN_ACK or (entry.mark is Verdict.CONFIRM and bool(segment.payload))

    def _reply_missed(self, entry: Entry, segment: Segment) -> bool:
        """True where the client has read more of the reply that the engine waits for than was captured."""
        flow = self._engine.flows.get(entry.key) if entry.mark is Verdict.CONFIRM else None
        if flow is None or flow.server is None:
            return False
        return flow.server.offset(segment.ack) > flow.server.start + len(flow.server.head)

    def _decide(self, engine: Engine, packet: bytes, now: float, mark: Verdict = Verdict.UNSEEN) -> Decision:
        try:
            return engine.process(packet, now, state=mark)
        except (Exception, SystemExit) as error:  # noqa: BLE001  a plugin may raise anything; as in the live queue
            self._failed += 1
            self._failure = self._failure or f"{type(error).__name__}: {error}"
            return engine.give_up(packet, now)

    def _entry(self, segment: Segment) -> Entry | None:
        """The packet's flow, opened if it is a new one; None for what opens none: neither a SYN nor payload."""
        key, back = segment.key, segment.key.reversed()
        place = min(key, back)
        entry = self._entries.get(place)
        opening = segment.flags & _SYN_ACK
        if opening == _SYN:
            base = (segment.seq + 1) % (1 << 32)
            if entry is None or _reused(entry, key, base):
                entry = self._open(key, base, entry)
                entry.early, entry.ready = len(segment.payload), not self._strict
            entry.again = entry.told is not None
        elif opening == _SYN_ACK:
            if entry is None or _reused(entry, back, segment.ack) or (entry.again and entry.server_base != segment.seq):
                entry = self._open(back, segment.ack, entry)
            if entry.key == back:
                entry.server_base = segment.seq
            # Bytes that the SYN brought (RFC 7413) and the server took lie before what this packet acknowledges: the
            # engine is better off without it. On a strict gateway no such SYN passes.
            entry.ready = entry.ready or (entry.key == back and entry.base == segment.ack)
        elif entry is None:
            if not segment.payload:
                return None
            entry = self._open(key, None, None)
        self._entries[place] = self._entries.pop(place)
        return entry

    def _open(self, client: FlowKey, base: int | None, former: Entry | None) -> Entry:
        if former is not None:
            self._end(former)
        elif len(self._entries) >= self._limit:
            self._end(next(iter(self._entries.values())))
        entry = Entry(next(self._numbers), client, base, sided=base is not None)
        self._streams += 1
        self._entries[min(client, client.reversed())] = entry
        return entry

    def _end(self, entry: Entry) -> None:
        del self._entries[min(entry.key, entry.key.reversed())]
        self._search.forget(entry.key)
        self._ended(entry)


def _reused(entry: Entry, client: FlowKey, base: int) -> bool:
    """True where an opening by ``client`` is not a repetition of the one that made the entry (E8)."""
    if entry.key != client:
        return entry.closed or not entry.sided
    return entry.closed or entry.base is None or base not in (entry.base, (entry.base + entry.early) % (1 << 32))
