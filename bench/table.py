"""The rounds of all contenders as medians, ratios and a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median

from bench.measure import Half, Round

BASE = "none"
WORKLOADS = {"http": "HTTP", "tls": "TLS", "browser": "TLS, 2 segments", "requests": "requests", "download": "down",
             "upload": "up"}
_BYTES = ("download", "upload")
_PACE = 0.97  # of the flows that were due; with fewer, those that wait are what is measured

Rounds = Mapping[str, Sequence[Round]]


def ratio(rounds: Rounds, name: str, workload: str, base: str = BASE) -> float:
    """A contender's rate to the base's in the same round: the median of the rounds."""
    return median(one.rates[workload] / other.rates[workload]
                  for one, other in zip(rounds[name], rounds[base], strict=True))


def middle(rounds: Sequence[Round], value: Callable[[Round], float]) -> float:
    return median(map(value, rounds))


def added(rounds: Rounds, name: str, workload: str, value: Callable[[Half], float]) -> float:
    """What a contender adds to a figure at half load, over plain forwarding right after: the median of the rounds."""
    return median(value(one.half[workload]) - value(one.plain[workload]) for one in rounds[name])


def disqualified(rounds: Sequence[Round], *, decides: bool) -> str:
    """Why a contender's figures do not count, or ""."""
    if decides and (through := sum(one.through for one in rounds)):
        return f"lets {through} blocked flows through"
    return next((wrong for one in rounds for wrong in one.wrong), "")


def rates(rounds: Rounds, outcasts: Mapping[str, str]) -> str:
    """Flows a second (MB a second of the transfers), and the ratio to the base."""
    lines = [f"{'':14}" + "".join(f"{title:>19}" for title in WORKLOADS.values())]
    for name, own in rounds.items():
        cells = []
        for workload in WORKLOADS:
            rate = median(one.rates[workload] for one in own)
            cells.append(f"{rate / (1e6 if workload in _BYTES else 1):12,.0f} {ratio(rounds, name, workload):6.2f}")
        lines.append(f"{name:14}{''.join(cells)}" + (f"   {outcasts[name]}" if name in outcasts else ""))
    return "\n".join(lines)


def costs(rounds: Rounds, workload: str) -> str:
    """What a flow costs, and how long it waits."""
    lines = [f"{'':14}{'queued':>8}{'flows/s':>10}{'gateway us':>12}{'added':>8}{'own us':>9}{'workers':>9}"
             f"{'p50 us':>9}{'added':>8}{'p99 us':>9}{'added':>8}{'memory MB':>12}"]
    for name, own in rounds.items():
        def at(value: Callable[[Half], float], own: Sequence[Round] = own) -> float:
            return middle(own, lambda one: value(one.half[workload]))

        def over(value: Callable[[Half], float], name: str = name) -> float:
            return added(rounds, name, workload, value)

        late = at(lambda h: h.rate / h.wanted) < _PACE
        lines.append(
            f"{name:14}{middle(own, lambda one: one.queued[workload]):8.2f}{at(lambda h: h.rate):10,.0f}"
            f"{at(lambda h: h.gateway_us):12.1f}{over(lambda h: h.gateway_us):8.1f}{at(lambda h: h.own_us):9.1f}"
            f"{at(lambda h: h.workers_us):9.1f}{at(lambda h: h.p50_us):9.0f}{over(lambda h: h.p50_us):8.0f}"
            f"{at(lambda h: h.p99_us):9.0f}{over(lambda h: h.p99_us):8.0f}"
            f"{middle(own, lambda one: sum(one.memory_mb)):12.1f}"
            + "   (more than it could carry)" * late)
    return "\n".join(lines)
