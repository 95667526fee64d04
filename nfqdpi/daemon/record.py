"""The flows that were decided last: what each was for, so that it can be judged again when the policy changes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any, NamedTuple

import msgspec

from nfqdpi.core.decision import Client
from nfqdpi.core.packet import TCP
from nfqdpi.core.verdict import Reason, Verdict
from nfqdpi.kernel import passage
from nfqdpi.kernel.ctnetlink import text

MOST = 1 << 17  # flows; some 25 MB when full
_MOST_BYTES = 64 << 20  # of what they were for: requests that are no honest ones have up to 17 KB of names
_ROWS = 1000  # of a piece: some milliseconds
_YES = 0xC3  # msgpack's true, the last byte of a Decided that asks


class Decided(NamedTuple):
    """What a flow was for: its names, as many as it has, its protocol, who opened it, and what was decided, why and by
    which rule (None: none spoke). ``state`` is what its mark said then: of CONFIRM the server's answer may have made
    ACCELERATE. ``before``: where a change of the policy has cut it, the state that it was taken from. ``asks``: it was
    a question, and says nothing of the flow that asked."""

    names: tuple[str, ...]
    protocol: str
    client: Client
    verdict: Verdict
    reason: Reason
    rule: str | None
    state: Verdict
    before: Verdict = Verdict.UNSEEN
    asks: bool = False

    def now_by(self, rule: str | None, before: Verdict = Verdict.UNSEEN) -> Decided:
        """The same flow under another rule."""
        return Decided(self.names, self.protocol, self.client, self.verdict, self.reason, rule, self.state, before)


Row = tuple[bytes, Decided]  # by its passage's key

_pack = msgspec.msgpack.Encoder().encode
_packed = msgspec.msgpack.Decoder(list[tuple[bytes, msgspec.Raw]]).decode
unpack = msgspec.msgpack.Decoder(Decided).decode


class Record:
    """At most ``most`` flows that take ``most_bytes``, and one message's more, by their passage's key; of a full record
    the half that was decided longer ago goes. (One flow at a time, a dictionary would be made anew over and over,
    beside the one before.)

    What a flow was for stays packed by msgpack, as it came, until somebody asks: few are asked for, and so it takes a
    third of the memory, none of which garbage collection looks at.
    """

    def __init__(self, most: int = MOST, most_bytes: int = _MOST_BYTES) -> None:
        self._half = most // 2
        self._half_bytes = most_bytes // 2
        self._bytes = 0  # that the newer half takes
        self._older: dict[bytes, bytes] = {}
        self._newer: dict[bytes, bytes] = {}

    def add(self, rows: bytes) -> None:
        """Note flows, which may be on record already, as the ones decided last; of one that asks, nothing. ``rows``: an
        array of Row, by msgpack."""
        if len(self._newer) >= self._half or self._bytes >= self._half_bytes:
            self._older, self._newer, self._bytes = self._newer, {}, 0
        flows = self._newer
        for key, raw in _packed(rows):
            packed = bytes(raw)  # of its own: the raw one keeps the whole message
            if packed[-1] != _YES:
                self._bytes += len(packed) - len(flows.get(key, b""))
                flows[key] = packed

    def flows(self) -> dict[bytes, bytes]:
        """All of them as they are now, each to be read by ``unpack``."""
        return self._older | self._newer

    def get(self, key: bytes) -> Decided | None:
        """What a passage's flow was for; None: nobody remembers."""
        packed = self._newer.get(key) or self._older.get(key)
        return unpack(packed) if packed else None

    def put(self, key: bytes, decided: Decided) -> None:
        """Change what is known of a flow that is on record."""
        for flows in (self._newer, self._older):
            if key in flows:
                flows[key] = _pack(decided)

    async def tell(self) -> AsyncIterator[bytes]:
        """For the control socket, in pieces: name, protocol, reason and rule by "src sport dst dport proto"."""
        flows = list(self.flows().items())
        yield b'"flows":{'
        for start in range(0, len(flows), _ROWS):
            rows = msgspec.json.encode(_rows(flows[start : start + _ROWS]))
            yield (b"," if start else b"") + rows[1:-1]
        yield b"}"


def _rows(flows: Iterable[tuple[bytes, bytes]]) -> dict[str, Any]:
    rows = {}
    for key, packed in flows:
        decided = unpack(packed)
        flow = passage.flow_key(key)
        proto = "TCP" if flow.proto == TCP else "UDP"
        reason = decided.reason if decided.before is Verdict.UNSEEN else Reason.RULE
        rows[f"{text(flow.src)} {flow.sport} {text(flow.dst)} {flow.dport} {proto}"] = [
            next(iter(decided.names), None), decided.protocol, reason, decided.rule]
    return rows
