"""docs/performance.md: the part that is measured, and the plots beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from bench import growth, plot, table
from bench.measure import Half
from bench.table import BASE, Rounds

BEGIN, END = "<!-- measured: written by ./dev bench -->", "<!-- measured: end -->"
_CORES = (4, 16, 64)
_LOAD = 0.7  # of a CPU: what is planned for, beside what a peak brings
_OURS = ("fast", "strict")


def write(folder: Path, result: Mapping[str, Any], rounds: Rounds) -> None:
    """Rewrite the marked part and the plots."""
    for name, text in plots(result, rounds).items():
        (folder / name).write_text(text)
    page = folder / "performance.md"
    page.write_text(fill(page.read_text(), measured(result, rounds)))


def fill(text: str, part: str) -> str:
    """The text with its marked part replaced. Raises ValueError where it has none."""
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError("the page has no marked part")
    return f"{head}{begin}\n{part.strip()}\n{end}{tail}"


def plots(result: Mapping[str, Any], rounds: Rounds) -> dict[str, str]:
    """SVG by file name."""
    fit = [name for name in rounds if name not in result["disqualified"]]
    drawn = {}
    for workload, title in (("http", "HTTP"), ("tls", "TLS"), ("download", "One flow's download")):
        values = {name: table.ratio(rounds, name, workload) for name in fit}
        drawn[f"bench-{workload}.svg"] = plot.bars(title, "rate, as a ratio to plain forwarding: more is better",
                                                   values, _OURS)
    added = {name: max(0.0, table.added(rounds, name, "tls", lambda half: half.gateway_us))
             for name in fit if name != BASE}
    drawn["bench-cpu.svg"] = plot.bars("CPU time of the gateway", "microseconds added to a TLS flow, softirq and all: "
                                       "less is better", added, _OURS)
    for axis, modes in result.get("growth", {}).items():
        series = {mode: [(point["at"], median(point["rates"])) for point in points] for mode, points in modes.items()}
        drawn[_plot(axis)] = plot.lines(f"TLS flows a second by {axis}", "", axis, series)
    return drawn


def _plot(axis: str) -> str:
    return f"bench-{axis.replace(' ', '-')}.svg"


def measured(result: Mapping[str, Any], rounds: Rounds) -> str:
    """Where, how often, and what came out."""
    of = result["machine"]
    parts = [f"Measured on {of['cpu']}, {of['cpus']} CPUs{' of a virtual machine' * of['hypervisor']}, Linux "
             f"{of['kernel']}, Python {of['python']}: {result['rounds']} rounds, {result['names']} names to block, "
             f"{result['workers']} workers.",
             *(f"Left out, for want of {', '.join(missing)}: {name}." for name, missing in result["left out"].items()),
             *(f"Disqualified: {name}: {why}." for name, why in result["disqualified"].items()),
             f"```\n{table.rates(rounds, result['disqualified'])}\n```",
             *(f"{table.WORKLOADS[workload]} at half load:\n\n```\n{table.costs(rounds, workload)}\n```"
               for workload in ("http", "tls")),
             "\n".join(f"![{title}](bench-{name}.svg)" for name, title in (
                 ("http", "HTTP flows a second"), ("tls", "TLS flows a second"), ("download", "download"),
                 ("cpu", "CPU time")))]
    if "growth" in result:
        parts += [f"With more of something, memory by process:\n\n```{growth.table(result['growth'])}\n```",
                  "\n".join(f"![TLS flows a second by {axis}]({_plot(axis)})" for axis in result["growth"])]
    if all(name in rounds for name in ("none", "rules", *_OURS)):
        parts.append(_model(rounds))
    return "\n\n".join(parts)


def constants(rounds: Rounds, name: str, workload: str) -> dict[str, float]:
    """The model's: microseconds of the gateway's CPU. ``forward``: a flow without us; ``fixed``: what the rules add to
    it; ``packets``: queued of a flow; ``packet``: for each of them, in the kernel and in the worker."""
    def gateway(half: Half) -> float:
        return half.gateway_us

    forward = table.middle(rounds[name], lambda one: one.plain[workload].gateway_us)
    fixed = table.added(rounds, "rules", workload, gateway)
    packets = table.middle(rounds[name], lambda one: one.queued[workload])
    packet = (table.added(rounds, name, workload, gateway) - fixed) / packets
    return {"forward": forward, "fixed": fixed, "packets": packets, "packet": packet}


def carries(cores: int, of: Mapping[str, float], load: float = _LOAD) -> float:
    """New flows a second."""
    return cores * load * 1e6 / (of["forward"] + of["fixed"] + of["packets"] * of["packet"])


def _model(rounds: Rounds) -> str:
    rows = [("flow", "forward us", "rules us", "queued", "us a packet", *(f"{cores} cores" for cores in _CORES))]
    for workload in ("http", "tls"):
        for name in _OURS:
            of = constants(rounds, name, workload)
            rows.append((f"{table.WORKLOADS[workload]}, {name}", f"{of['forward']:.1f}", f"{of['fixed']:.1f}",
                         f"{of['packets']:.2f}", f"{of['packet']:.1f}",
                         *(f"{carries(cores, of):,.0f}/s" for cores in _CORES)))
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join((lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]))
