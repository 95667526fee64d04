"""How it goes with more of something: workers, names, open flows, bytes of a ClientHello."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bench import machine
from bench.contenders import CONTENDERS, names
from bench.ground import HELLOS, Ground
from bench.measure import EVERY

MODES = ("fast", "strict")
_FLOWS, _ROUNDS = 10_000, 5
_NAMES, _WORKERS, _HELLO = 1000, 2, "curl"  # where that is not what grows
_HELLO_BYTES = {(HELLOS / f"{kind}.bin").stat().st_size: kind for kind in (
    "openssl-tls12", "openssl", "curl", "openssl-resumed", "firefox", "chromium", "openssl-long")}
_CONNTRACK_MAX = Path("/proc/sys/net/netfilter/nf_conntrack_max")


@dataclass(slots=True)
class Point:
    """A round's each: TLS flows a second, and CPU microseconds of nfqdpi's processes for a flow. Of the last, their
    memory in MB, the supervisor's first. ``at`` is the number of what grows."""

    at: int
    rates: list[float] = field(default_factory=list)
    own_us: list[float] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)


def measure(*, quick: bool = False) -> dict[str, Any]:
    """By what grows, and by mode, the points, as JSON has them. Rounds go through all points in turn."""
    found = {axis: {mode: [Point(at) for at in steps] for mode in MODES} for axis, steps in _axes(quick=quick).items()}
    flows, rounds = (_FLOWS // 10, 1) if quick else (_FLOWS, _ROUNDS)
    with Ground() as ground:
        for axis, modes in found.items():
            for number in range(rounds):
                for mode, points in modes.items():
                    print(f"\r{axis}, {mode}: round {number + 1} of {rounds}{'':10}", end="", file=sys.stderr,
                          flush=True)
                    _round(ground, axis, mode, points, flows)
    print(file=sys.stderr)
    return {axis: {mode: list(map(asdict, points)) for mode, points in modes.items()} for axis, modes in found.items()}


def _axes(*, quick: bool) -> Mapping[str, Sequence[int]]:
    most = 250_000 if int(_CONNTRACK_MAX.read_text()) > 300_000 else 200_000  # flows that conntrack has room for
    axes = {"workers": (1, 2), "names": (10, 1000, 10_000, 100_000, 500_000, 1_000_000),
            "open flows": (1000, 10_000, 50_000, most), "hello bytes": tuple(_HELLO_BYTES)}
    return {axis: steps[:2] for axis, steps in axes.items()} if quick else axes


def _round(ground: Ground, axis: str, mode: str, points: Sequence[Point], flows: int) -> None:
    match axis:
        case "workers" | "names":
            for point in points:
                workers, count = (point.at, _NAMES) if axis == "workers" else (_WORKERS, point.at)
                with _standing(ground, mode, workers, count):
                    _measure(ground, point, _HELLO, flows)
        case "open flows":
            with _standing(ground, mode):
                held = 0
                for point in points:
                    ground.hold(point.at - held)
                    held = point.at
                    _measure(ground, point, _HELLO, flows)
        case _:
            with _standing(ground, mode):
                for point in points:
                    _measure(ground, point, _HELLO_BYTES[point.at], flows)


@contextmanager
def _standing(ground: Ground, mode: str, workers: int = _WORKERS, count: int = _NAMES) -> Iterator[None]:
    contender = next(one for one in CONTENDERS if one.name == mode)
    ground.forget()
    with contender.running(ground, names(ground, count), workers):
        ground.spread()
        ground.load(ground.request(_HELLO), 500)
        yield


def _measure(ground: Ground, point: Point, hello: str, flows: int) -> None:
    pids = ground.gateway.pids()
    before = machine.spent(pids)
    load = ground.load(ground.request(hello), flows, "-b", EVERY)
    point.own_us.append((machine.spent(pids) - before) / load.flows * 1e6)
    point.rates.append(load.flows / load.seconds)
    point.memory_mb = machine.memory(pids)


def ratio(point: Mapping[str, Any], first: Mapping[str, Any]) -> float:
    """A point's rate to another's in the same round: the median of the rounds."""
    return median(float(one / other) for one, other in zip(point["rates"], first["rates"], strict=True))


def table(growth: Mapping[str, Any]) -> str:
    """Each mode's rates, the ratios to the first and to the one before, and the memory."""
    lines = []
    for axis, modes in growth.items():
        lines.append(f"\n{axis:>12}" + "".join(
            f"{mode + ' flows/s':>16}{'of first':>9}{'of last':>9}{'own us':>8}  {'MB':16}" for mode in modes))
        for number, (at, *_) in enumerate(zip(*([p["at"] for p in points] for points in modes.values()), strict=True)):
            cells = ""
            for points in modes.values():
                point = points[number]
                cells += (f"{median(point['rates']):16,.0f}{ratio(point, points[0]):9.2f}"
                          f"{ratio(point, points[max(0, number - 1)]):9.2f}{median(point['own_us']):8.0f}  "
                          f"{' + '.join(f'{mb:.0f}' for mb in point['memory_mb']):16}")
            lines.append(f"{at:12,}{cells}")
    return "\n".join(line.rstrip() for line in lines)
