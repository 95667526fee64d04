"""What plugins cost: the time in their readers, call by call, beside that of the engine that asks them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from time import perf_counter_ns
from typing import Any, NamedTuple

from nfqdpi.core.classifier import Classification, Classifier, Glimpse, Step
from nfqdpi.core.decision import Action
from nfqdpi.core.engine import Engine
from nfqdpi.core.packet import Datagram, Flags, FlowKey, Segment, parse
from nfqdpi.core.plugin import Adviser, Reader
from nfqdpi.core.verdict import FINAL, Verdict
from nfqdpi.testing.dns import dns_query
from nfqdpi.testing.flows import FromServer, flow
from nfqdpi.testing.http import request
from nfqdpi.testing.quic import quic_initial
from nfqdpi.testing.tls import hello, server_hello
from nfqdpi.testing.verdicts import maker

_ENOUGH = 500_000_000  # ns in the engine
_MOST_ROUNDS = 2000
_OWN_CALLS = 10_000  # to find out what a call of the clock itself takes
_STEP = 0.001  # s from packet to packet
_SYN_ACK = Flags.SYN | Flags.ACK


class Cost(NamedTuple):
    """``calls``: on all packets; ``us``: microseconds a call; ``share`` of the time that an engine has the packets, 0
    to 1."""

    name: str
    calls: int
    us: float
    share: float


@dataclass(slots=True)
class _Clock:
    calls: int = 0
    spent: int = 0  # ns

    def timed(self, read: Any) -> Any:
        """The reader, and whatever it says is to read on, on the clock."""

        def on_the_clock(*what: Any) -> Any:
            began = perf_counter_ns()
            answer = read(*what)
            self.spent += perf_counter_ns() - began
            self.calls += 1
            if isinstance(answer, Classification | Glimpse | Step) and answer.then is not None:
                return replace(answer, then=self.timed(answer.then))
            return answer

        return on_the_clock


def costs(offered: Mapping[str, Iterable[Reader]], packets: list[bytes] | None = None) -> list[Cost]:
    """Of each plugin's readers, by their names, on these packets or, if there are none, on flows of the protocols that
    come with nfqdpi. Raises what a reader raises."""
    clocks = {name: _Clock() for name in offered}
    make = maker(*(_on(clocks[name], reader) for name, several in offered.items() for reader in several))
    played = sample() if packets is None else packets
    _play(make(), played)  # once for nothing: what is computed only once is no part of it
    for clock in clocks.values():
        clock.calls = clock.spent = 0
    rounds: list[tuple[int, list[int]]] = []  # ns in the engine, and in each plugin's readers
    while len(rounds) < _MOST_ROUNDS and sum(total for total, _ in rounds) < _ENOUGH:
        before = [clock.spent for clock in clocks.values()]
        total = _play(make(), played)
        rounds.append((total, [clock.spent - then for clock, then in zip(clocks.values(), before, strict=True)]))
    calls = [clock.calls // len(rounds) for clock in clocks.values()]
    total, spent = min(rounds)  # the one that was disturbed least
    own = _own_time()
    loop = max(1.0, total - own * sum(calls))
    return [Cost(name, many, max(0.0, ns / many - own) / 1000 if many else 0.0, max(0.0, ns - own * many) / loop)
            for name, many, ns in zip(clocks, calls, spent, strict=True)]


def _play(engine: Engine, packets: Iterable[bytes]) -> int:
    """The packets that the rules would queue, before an engine; the ns that it has them."""
    marks: dict[FlowKey, Verdict] = {}
    spent = 0
    for number, packet in enumerate(packets):
        parsed = parse(packet)
        if not isinstance(parsed, Segment | Datagram):
            continue
        opens = isinstance(parsed, Segment) and parsed.flags & _SYN_ACK == _SYN_ACK
        back = parsed.key.reversed()
        key = back if opens or back in marks else parsed.key
        mark = marks.setdefault(key, Verdict.UNSEEN)
        if mark in FINAL or not (opens or (parsed.payload and (key == parsed.key or mark is Verdict.CONFIRM))):
            continue
        began = perf_counter_ns()
        decision = engine.process(packet, number * _STEP, state=mark)
        spent += perf_counter_ns() - began
        if decision.action is Action.MARK:
            marks[key] = decision.verdict
    return spent


def _own_time() -> float:
    """ns that the clock takes for itself, a call."""
    clock = _Clock()
    read = clock.timed(len)
    for _ in range(_OWN_CALLS):
        read(b"")
    return clock.spent / _OWN_CALLS


def sample() -> list[bytes]:
    """A flow of each protocol that comes with nfqdpi, and one of none."""
    answered = FromServer(server_hello())
    return [*flow(hello("www.example.com", quantum=True), answered, sport=1),
            *flow(request("www.example.com"), port=80, sport=2),
            *flow(b"SSH-2.0-OpenSSH_9.2p1\r\n", FromServer(b"SSH-2.0-x\r\n"), port=22, sport=3),
            *flow(bytes(64), FromServer(bytes(64)), sport=4),
            *flow(quic_initial("www.example.com"), sport=5, udp=True),
            *flow(dns_query("www.example.com"), port=53, sport=6, udp=True),
            *flow(b"\x01\0\0\0" + bytes(144), port=51820, sport=7, udp=True)]


def _on(clock: _Clock, reader: Reader) -> Reader:
    if isinstance(reader, Classifier):
        return replace(reader, classify=clock.timed(reader.classify))
    if isinstance(reader, Adviser):
        return replace(reader, advise=clock.timed(reader.advise))
    return replace(reader, read=clock.timed(reader.read))
