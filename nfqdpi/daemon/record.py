"""The flows that were decided last: what each was for, so that it can be judged again when the policy changes."""

from __future__ import annotations

import socket
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from nfqdpi.core.decision import Client
from nfqdpi.core.packet import TCP, UDP
from nfqdpi.core.verdict import MarkField, Reason, Verdict
from nfqdpi.events.model import Event
from nfqdpi.kernel import passage
from nfqdpi.kernel.ctnetlink import text

MOST = 1 << 17  # flows; some 50 MB when full
_ROWS = 1000  # of a piece: some milliseconds


class Decided(NamedTuple):
    """What a flow was for: its names, as many as it has, its protocol, who opened it, and what was decided, why and by
    which rule (None: none spoke). ``state`` is what its mark said then: of CONFIRM the server's answer may have made
    ACCELERATE. ``before``: where a change of the policy has cut it, the state that it was taken from."""

    names: tuple[str, ...]
    protocol: str
    client: Client
    verdict: Verdict
    reason: Reason
    rule: str | None
    state: Verdict
    before: Verdict = Verdict.UNSEEN

    def now_by(self, rule: str | None, before: Verdict = Verdict.UNSEEN) -> Decided:
        """The same flow under another rule."""
        return Decided(self.names, self.protocol, self.client, self.verdict, self.reason, rule, self.state, before)


class Record:
    """At most ``most`` flows by their passage's key; the ones decided longest ago go first."""

    def __init__(self, field: MarkField, most: int = MOST) -> None:
        self._field = field
        self._most = most
        self._flows: OrderedDict[bytes, Decided] = OrderedDict()  # the first of a dict is behind all that have gone

    def __len__(self) -> int:
        return len(self._flows)

    def __iter__(self) -> Iterator[tuple[bytes, Decided]]:
        return iter(self._flows.items())

    def remember(self, event: Event) -> None:
        """Note a verdict, in place of an earlier one on the same flow."""
        proto = TCP if event.proto == "TCP" else UDP
        address, far = _packed(event.src_ip), _packed(event.dest_ip)
        key = passage.key(proto, address, event.src_port, far, event.dest_port)
        client = _client(address, event.client.mac, event.in_iface)
        given = self._field.read(event.verdict.mark)
        verdict = given if given.blocks else Verdict[event.verdict.action.upper()]
        names, protocol, rule = _shared(event.names, event.app_proto, event.verdict.rule)
        self.add(key, Decided(names, protocol, client, verdict, Reason(event.verdict.reason), rule, given))

    def add(self, key: bytes, decided: Decided) -> None:
        """Note a flow as the one decided last."""
        self._flows.pop(key, None)
        self._flows[key] = decided
        if len(self._flows) > self._most:
            self._flows.popitem(last=False)

    def get(self, key: bytes) -> Decided | None:
        """What a passage's flow was for; None: nobody remembers."""
        return self._flows.get(key)

    def put(self, key: bytes, decided: Decided) -> None:
        """Change what is known of a flow that is on record."""
        if key in self._flows:
            self._flows[key] = decided

    async def tell(self) -> AsyncIterator[bytes]:
        """For the control socket, in pieces: name, protocol, reason and rule by "src sport dst dport proto"."""
        flows = list(self)
        yield b'"flows":{'
        for start in range(0, len(flows), _ROWS):
            rows = msgspec.json.encode(_rows(flows[start : start + _ROWS]))
            yield (b"," if start else b"") + rows[1:-1]
        yield b"}"


def _rows(flows: Iterable[tuple[bytes, Decided]]) -> dict[str, Any]:
    rows = {}
    for key, decided in flows:
        flow = passage.flow_key(key)
        proto = "TCP" if flow.proto == TCP else "UDP"
        reason = decided.reason if decided.before is Verdict.UNSEEN else Reason.RULE
        rows[f"{text(flow.src)} {flow.sport} {text(flow.dst)} {flow.dport} {proto}"] = [
            next(iter(decided.names), None), decided.protocol, reason, decided.rule]
    return rows


@lru_cache(maxsize=16384)
def _shared(names: tuple[str, ...], protocol: str, rule: str | None) -> tuple[tuple[str, ...], str, str | None]:
    """The same, as one object for all flows that have it."""
    return names, protocol, rule


@lru_cache(maxsize=4096)
def _client(address: bytes, mac: str, interface: str) -> Client:
    try:
        index = socket.if_nametoindex(interface)
    except OSError:  # it is gone, or was unknown
        index = 0
    return Client(address, bytes.fromhex(mac.replace(":", "")), index)


def _packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
