"""How it goes with more of something: workers, names, open flows, bytes of a ClientHello."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from bench import machine
from bench.contenders import CONTENDERS, names
from bench.ground import Ground, Request
from bench.measure import EVERY

MODES = ("fast", "strict")
_FLOWS, _REPETITIONS = 10_000, 5
_NAMES = 1000  # where their number is not what grows
_HELLOS = ("openssl-tls12", "openssl", "curl", "openssl-resumed", "firefox", "chromium", "openssl-long")
_AXES: Mapping[str, Sequence[int]] = {
    "workers": (1, 2),
    "names": (10, 1000, 10_000, 100_000, 500_000, 1_000_000),
    "open flows": (1000, 10_000, 50_000, 250_000),
}


@dataclass(frozen=True, slots=True)
class Point:
    """TLS flows a second, CPU microseconds of nfqdpi's processes for a flow, and their memory in MB, most first: where
    ``at`` is the number of what grows."""

    at: int
    rate: float
    own_us: float
    memory_mb: list[float]


Growth = dict[str, dict[str, list[Point]]]  # by what grows, and by mode


def measure(*, quick: bool = False) -> dict[str, Any]:
    """As JSON has it: a Growth of dictionaries. Every point is measured on ground of its own."""
    found: Growth = {axis: {mode: [] for mode in MODES} for axis in (*_AXES, "hello bytes")}
    for axis, steps in _AXES.items():
        for at in steps[:2] if quick else steps:
            for mode in MODES:
                print(f"\r{axis}: {at} ({mode}){'':20}", end="", file=sys.stderr, flush=True)
                with _standing(mode, workers=at if axis == "workers" else 2,
                               count=at if axis == "names" else _NAMES) as ground:
                    if axis == "open flows":
                        ground.hold(at)
                    found[axis][mode].append(_point(ground, at, ground.request("curl"), quick=quick))
    for mode in MODES:
        with _standing(mode) as ground:
            for kind in _HELLOS:
                request = ground.request(kind)
                found["hello bytes"][mode].append(_point(ground, request.allowed.stat().st_size, request, quick=quick))
    print(file=sys.stderr)
    return {axis: {mode: [asdict(point) for point in points] for mode, points in modes.items()}
            for axis, modes in found.items()}


@contextmanager
def _standing(mode: str, *, workers: int = 2, count: int = _NAMES) -> Iterator[Ground]:
    contender = next(one for one in CONTENDERS if one.name == mode)
    with Ground() as ground, contender.running(ground, names(ground, count), workers):
        ground.spread()
        ground.load(ground.request("curl"), 500)
        yield ground


def _point(ground: Ground, at: int, request: Request, *, quick: bool) -> Point:
    rates, own = [], []
    flows = _FLOWS // 10 if quick else _FLOWS
    for _ in range(1 if quick else _REPETITIONS):
        pids = ground.gateway.pids()
        before = machine.spent(pids)
        load = ground.load(request, flows, "-b", EVERY)
        own.append((machine.spent(pids) - before) / load.flows * 1e6)
        rates.append(load.flows / load.seconds)
    memory = sorted(machine.memory(ground.gateway.pids()).values(), reverse=True)
    return Point(at, median(rates), median(own), [round(of, 1) for of in memory])


def table(growth: Mapping[str, Any]) -> str:
    """Each mode's rates, the ratio to its first, and the memory."""
    lines = []
    for axis, modes in growth.items():
        lines.append(f"\n{axis:>12}" + "".join(
            f"{mode + ' flows/s':>16}{'ratio':>7}{'own us':>9}{'MB':>8}" for mode in modes))
        for points in zip(*modes.values(), strict=True):
            first = [own[0] for own in modes.values()]
            lines.append(f"{points[0]['at']:12,}" + "".join(
                f"{point['rate']:16,.0f}{point['rate'] / start['rate']:7.2f}{point['own_us']:9.1f}"
                f"{sum(point['memory_mb']):8.1f}" for point, start in zip(points, first, strict=True)))
    return "\n".join(lines)
