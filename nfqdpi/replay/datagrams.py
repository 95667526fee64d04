"""Captured datagrams: what our rules would have queued of them, and what would have come of it.

Those to a reader's own ports, as on the gateway. Those to any other port are read as QUIC, which is what it is or does
not open: what is not well there is none. A message of DNS is told of by itself, be it a question or an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from nfqdpi.core.decision import Action, Decision, Judgement, Path
from nfqdpi.core.engine import Engine
from nfqdpi.core.packet import Datagram, FlowKey
from nfqdpi.core.verdict import Verdict
from nfqdpi.replay.entry import Entry

_QUIC = 443
_ANYWHERE = Path()


class DatagramGate:
    """Tracks as many flows as the engine; those longest without a datagram go first. ``ended`` is called with each that
    has gone, and with each message; ``numbers`` are theirs. ``failed``: datagrams on which a classifier raised;
    ``failure``: what it raised first."""

    def __init__(self, engine: Engine, numbers: Iterator[int], ended: Callable[[Entry], None]) -> None:
        self._engine = engine
        self._numbers = numbers
        self._ended = ended
        self._entries: dict[FlowKey, Entry] = {}  # by the client's direction's key
        self.flows = 0
        self.failed = 0
        self.failure = ""

    def pass_by(self, datagram: Datagram, now: float) -> None:
        """A captured datagram."""
        entry = self._entry(datagram.key)
        if entry is None or entry.over or not datagram.payload:
            return
        messages = entry.key.dport in self._engine.datagrams.both
        key = datagram.key if messages else self._asked(datagram.key)
        if key is None or (datagram.key != entry.key and not messages):
            return
        decision = self._decide(Datagram(key, datagram.payload), now, entry.mark)
        if decision is None:
            return
        if key.dport != datagram.key.dport and not all(map(_well, decision.judgements)):
            entry.over = True
            return
        if decision.action is Action.MARK:
            entry.mark = decision.verdict
        for judgement in decision.judgements:
            if messages:
                message = Entry(next(self._numbers), entry.key, None, sided=True)
                message.tell(replace(judgement, key=entry.key))
                self._ended(message)
            else:
                entry.tell(replace(judgement, key=entry.key))
        let_go = entry.mark is Verdict.ACCELERATE and not self._engine.strict
        entry.over = not messages and (entry.mark.blocks or let_go)

    def close(self) -> None:
        """The capture is over: every flow has ended."""
        for entry in list(self._entries.values()):
            self._end(entry)

    def _asked(self, key: FlowKey) -> FlowKey | None:
        """The key by which the engine is asked of a client's datagram; None: there is nobody to ask."""
        engine = self._engine.datagrams
        return engine.flow_key(key) or engine.flow_key(key._replace(dport=_QUIC))

    def _decide(self, datagram: Datagram, now: float, mark: Verdict) -> Decision | None:
        asked = self._engine.datagrams
        try:
            return asked.process(datagram, now, _ANYWHERE, mark)
        except (Exception, SystemExit) as error:  # noqa: BLE001  a plugin may raise anything; as in the live queue
            self.failed += 1
            self.failure = self.failure or f"{type(error).__name__}: {error}"
            return asked.give_up(datagram.key, now)

    def _entry(self, key: FlowKey) -> Entry | None:
        """The datagram's flow, opened if it is a new one: a port that is read is the server's, or else the first one's
        peer's. None where nobody reads either."""
        client = key if key in self._entries else key.reversed()
        entry = self._entries.pop(client, None)
        if entry is None:
            client = self._client(key)
            if self._asked(client) is None:
                return None
            if len(self._entries) >= self._engine.limits.max_flows:
                self._end(next(iter(self._entries.values())))
            entry = Entry(next(self._numbers), client, None, sided=True)
            self.flows += 1
        self._entries[client] = entry
        return entry

    def _client(self, key: FlowKey) -> FlowKey:
        """The client's direction of a new flow."""
        engine = self._engine.datagrams
        return engine.flow_key(key) or engine.flow_key(key.reversed()) or key

    def _end(self, entry: Entry) -> None:
        del self._entries[entry.key]
        if (asked := self._asked(entry.key)) is not None:
            self._engine.datagrams.flows.forget(asked)
        if entry.key.dport not in self._engine.datagrams.both:
            self._ended(entry)


def _well(judgement: Judgement) -> bool:
    """True of a unit that is one, and was not just bytes that look like it."""
    found = judgement.classification
    return found is not None and not found.flaw
