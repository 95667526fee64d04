"""One contender, one round: its flows a second, its bulk, its time to first byte and CPU time at half load."""

from __future__ import annotations

import gc
from dataclasses import dataclass, field
from pathlib import Path

from bench import machine
from bench.contenders import Contender
from bench.ground import Ground, Load
from nfqdpi.lab import gauges

EVERY = 50  # flows to a blocked name: one of so many
_PARALLEL = 256  # flows at a time: with 64 the machine's two CPUs are as busy, but queues are short
_REQUESTS = 20  # of a flow that is kept open
_WARM_UP = 500  # flows: caches, neighbours
_HALVED = {"http": "http", "tls": "curl"}  # the workloads of half load, and what they ask for


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    flows: int = 20_000  # of each kind
    megabytes: int = 4000  # of the download
    upload: int = 300  # megabytes
    seconds: float = 3.0  # at half load


@dataclass(frozen=True, slots=True)
class Half:
    """With the gateway alone on a CPU, at half of what the contender can do there. ``gateway_us``: of that CPU, for a
    flow, all in all; ``own_us``: of the contender's processes; ``workers_us``: of these without a supervisor. Where
    ``rate`` is not ``wanted``, the load was too much."""

    wanted: int
    rate: float
    p50_us: float
    p99_us: float
    gateway_us: float
    own_us: float
    workers_us: float


@dataclass(slots=True)
class Round:
    """``rates``: flows or requests a second, bytes a second, by workload. ``queued``: packets a flow. ``wrong``: what
    became of flows that should not have. ``plain``: what plain forwarding makes of the load of ``half``."""

    rates: dict[str, float] = field(default_factory=dict)
    queued: dict[str, float] = field(default_factory=dict)
    half: dict[str, Half] = field(default_factory=dict)
    plain: dict[str, Half] = field(default_factory=dict)
    memory_mb: list[float] = field(default_factory=list)
    through: int = 0
    wrong: list[str] = field(default_factory=list)


def measure(ground: Ground, contender: Contender, names: Path, size: Size, workers: int) -> Round:
    """A fresh start of the contender, and all workloads; another for half load."""
    result = Round()
    ground.forget()
    ground.spread()
    gc.collect()
    with contender.running(ground, names, workers):
        for kind in ("http", "curl", "chromium"):
            ground.load(ground.request(kind), _WARM_UP)
        for workload, kind, requests in (("http", "http", 1), ("tls", "curl", 1), ("browser", "chromium", 1),
                                         ("requests", "http", _REQUESTS)):
            flows = size.flows if requests == 1 else size.flows * 2 // requests
            queued = gauges.queued(ground.gateway)
            load = ground.load(ground.request(kind), flows, "-j", _PARALLEL, "-b", EVERY, "-k", requests)
            result.queued[workload] = (gauges.queued(ground.gateway) - queued) / load.flows
            result.rates[workload] = (load.answered * requests + load.refused) / load.seconds
            _check(result, workload, contender, load)
        result.memory_mb = machine.memory(ground.gateway.pids())
        _bulk(ground, result, size)
    with contender.running(ground, names, 1):  # as a gateway with one CPU has it
        cpu = ground.part()
        for workload, kind in _HALVED.items():
            load = ground.load(ground.request(kind), size.flows, "-j", _PARALLEL)
            result.half[workload] = _half(ground, kind, round(load.flows / load.seconds / 2), size, cpu)
    for workload, kind in _HALVED.items():
        result.plain[workload] = _half(ground, kind, result.half[workload].wanted, size, cpu)
    return result


def _check(result: Round, workload: str, contender: Contender, load: Load) -> None:
    if contender.decides:
        result.through += load.through
        if load.failed > load.flows / 1000:
            result.wrong.append(f"{workload}: {load.failed} of {load.flows} flows failed")
    elif load.failed + load.refused:
        result.wrong.append(f"{workload}: {load.failed + load.refused} of {load.flows} flows failed")


def _bulk(ground: Ground, result: Round, size: Size) -> None:
    """One flow down, by TLS; one up, by plain HTTP, which strict mode reads on."""
    for workload, request, options, amount in (
        ("download", ground.request("curl"), ("-d", size.megabytes * 1_000_000), size.megabytes),
        ("upload", ground.post(size.upload * 1_000_000), ("-u", size.upload * 1_000_000), size.upload),
    ):
        load = ground.load(request, 1, *options)
        result.rates[workload] = amount * 1e6 * load.answered / load.seconds
        if not load.answered:
            result.wrong.append(f"{workload}: it did not come to its end")


def _half(ground: Ground, kind: str, rate: int, size: Size, cpu: int) -> Half:
    own = ground.gateway.pids()
    workers = machine.leaves(own)
    before = machine.busy(cpu), machine.spent(own), machine.spent(workers)
    load = ground.load(ground.request(kind), round(rate * size.seconds), "-r", rate)
    after = machine.busy(cpu), machine.spent(own), machine.spent(workers)
    spent = ((to - since) / load.flows * 1e6 for since, to in zip(before, after, strict=True))
    return Half(rate, load.flows / load.seconds, load.p50_us, load.p99_us, *spent)
