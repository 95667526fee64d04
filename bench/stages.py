"""What each stage of a packet's way through a worker costs, in microseconds of CPU time and as a share of the whole.

The stages are called as the engine and the worker call them, on the packets that one flow brings to the queue; what the
engine does between them is the rest. The two system calls of a packet are not here: `limit` in the table of `./dev
bench` has them and little else.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from statistics import median
from time import thread_time_ns
from typing import TypeVar

from bench.transcript import HTTP, TLS, Queued, engine, flow
from nfqdpi import plugins
from nfqdpi.core.classifier import NO_MATCH, Classifier
from nfqdpi.core.decision import Client, Judgement, Path
from nfqdpi.core.packet import Segment, parse
from nfqdpi.core.stream import StreamBuffer
from nfqdpi.core.verdict import MarkField, Verdict
from nfqdpi.daemon.events import Wording
from nfqdpi.kernel.clock import Moment

_FLOWS = 300  # of a repetition
_REPETITIONS = 15
_PATH = Path(2, 3, b"\x02\x00\x00\x00\x00\x01\x00\x00")

_Item = TypeVar("_Item")
Stages = dict[str, float]  # microseconds of a flow


def report() -> str:
    """A table for each kind of flow and mode."""
    parts = ["CPU microseconds of a flow, the median of repetitions, and the share of the whole"]
    for title, port, hello in (("HTTP", HTTP, ""), ("TLS, one segment", TLS, "curl"),
                               ("TLS, two segments", TLS, "chromium")):
        for strict in (False, True):
            stages = measure(port, hello, strict=strict)
            whole = sum(stages.values())
            packets = len(flow(0, port, hello, strict=strict))
            parts.append(f"\n{title}, {'strict' if strict else 'fast'}: {packets} packets")
            parts += [f"  {name:18}{us:8.2f}{us / whole:7.0%}" for name, us in stages.items()]
            parts.append(f"  {'whole':18}{whole:8.2f}")
    return "\n".join(parts)


def measure(port: int, hello: str, *, strict: bool) -> Stages:
    """The stages in the order in which a packet meets them."""
    flows = [flow(number, port, hello, strict=strict) for number in range(_FLOWS)]
    judge = engine(strict=strict)

    def process(packets: Sequence[Queued]) -> list[Judgement]:
        return [told for data, state in packets for told in judge.process(data, 0.0, _PATH, state).judgements]

    judgements = [told for packets in flows for told in process(packets)]
    segments = [[parse(data) for data, _ in packets] for packets in flows]
    keys = [[segment.key for segment in own if isinstance(segment, Segment)] for own in segments]
    units = [[segment for segment in own if isinstance(segment, Segment) and segment.payload
              and segment.key.dport == port] for own in segments]
    prefixes = [[b"".join(segment.payload for segment in own[: n + 1]) for n in range(len(own))] for own in units]
    names = [name for told in judgements[:_FLOWS] if told.classification for name in told.classification.names]
    clients = [Client(own[0].key.src, _PATH.sender[:6], _PATH.entered) for own in units]
    every = (one for offered in plugins.readers({}).values() for one in offered)
    readers = [one.bounded for one in every if isinstance(one, Classifier)]
    policy = judge.judge.policy
    policy.decide(names[0], clients[0])
    field = MarkField()
    wording = Wording(field)

    def stream(own: Sequence[Segment]) -> None:
        buffer = StreamBuffer(own[0].seq, judge.limits.max_bytes, judge.limits.max_segments)
        for segment in own:
            buffer.add(segment.seq, segment.payload)

    stages = {
        "parse the packet": _each(flows, lambda packets: [parse(data) for data, _ in packets]),
        "find the flow": _each(keys, lambda own: [judge.flows.get(key) for key in own]),
        "put in order": _each(units, stream),
        "read the name": _each(prefixes, lambda own: [
            next((answer for read in readers if (answer := read(prefix)) is not NO_MATCH), None) for prefix in own]),
        "ask the policy": _each(list(zip(names, clients, strict=True)), lambda asked: policy.decide(*asked)),
    }
    # Each repetition brings flows that the engine does not know yet.
    fresh = [flow(number, port, hello, strict=strict) for number in range(_FLOWS, _FLOWS * (1 + _REPETITIONS))]
    whole = _each(fresh, process, repetitions=1)
    stages["the engine's rest"] = max(0.0, whole - sum(stages.values()))
    stages["make the mark"] = _each(flows, lambda packets: [
        field.write(field.read(0x10), Verdict.ACCELERATE) for _ in packets])
    stages["tell the event"] = _each(judgements[:_FLOWS], lambda told: wording.told(
        told, Verdict.ACCELERATE, Moment(0.0, told.since), line=True))
    return stages


def _each(items: Sequence[_Item], work: Callable[[_Item], object], repetitions: int = _REPETITIONS) -> float:
    """Microseconds for one item."""
    times = []
    gc.collect()
    gc.disable()
    for _ in range(repetitions):
        started = thread_time_ns()
        for item in items:
            work(item)
        worked = thread_time_ns()
        times.append(worked - started)
    gc.enable()
    return median(times) / len(items) / 1e3
