"""What strict mode costs beside fast mode and no DPI: `./dev bench`, or `python -m bench --help`.

Client, gateway, workers and server share this machine's CPUs, so the rates are no router's; the ratios and the workers'
CPU time per connection are what to read. Rounds alternate between the three, and the medians are told.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from bench import ground
from bench.ground import WAYS, Cost, Way
from nfqdpi.lab.cases import NAMES
from nfqdpi.lab.network import Lab
from nfqdpi.lab.web import WebServer

Costs = dict[Way, list[Cost]]


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="of each mode (default: %(default)s)")
    parser.add_argument("--connections", type=int, default=5000, help="a round (default: %(default)s)")
    parser.add_argument("--megabytes", type=int, default=1000, help="of the upload (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write every round's numbers to this file")
    asked = parser.parse_args()
    result: dict[str, Any] = {"cpus": os.cpu_count(), "kernel": os.uname().release, "rounds": asked.rounds}
    print(f"Linux {result['kernel']}, {result['cpus']} CPUs, load {os.getloadavg()[0]:.1f}; {asked.rounds} rounds\n")

    with Lab() as lab:
        WebServer(lab.server, lab.state / "web", NAMES)
        visitor = ground.build_visitor(lab.state)
        for title, port in (("plain HTTP", 80), ("TLS with Chromium's hello", 443)):
            work = partial(ground.visit, lab, visitor, 4, port, asked.connections)
            result[title] = _rounds(lab, asked.rounds, work)
            _print_connections(title, asked.connections, result[title])
    with Lab() as lab, ground.sink(lab):
        result["upload"] = _rounds(lab, asked.rounds, partial(ground.upload, lab, asked.megabytes * 1_000_000))
        _print_upload(asked.megabytes, result["upload"])
    if asked.json:
        asked.json.write_text(json.dumps(result, default=asdict, indent=1) + "\n")


def _print_connections(title: str, count: int, costs: Costs) -> None:
    print(f"{count} connections, {title}\n"
          f"{'':8}{'conn/s':>10}{'of none':>9}{'queued/conn':>13}{'worker CPU us/conn':>20}")
    for way, cost in _medians(costs).items():
        print(f"{way:8}{count / cost.seconds:10.0f}{_ratio(costs, way):9.2f}{cost.queued / count:13.2f}"
              f"{cost.cpu / count * 1e6:20.0f}")
    print(flush=True)


def _print_upload(megabytes: int, costs: Costs) -> None:
    print(f"POST of {megabytes} MB by plain HTTP\n"
          f"{'':8}{'seconds':>10}{'MB/s':>9}{'of none':>9}{'queued':>10}{'worker CPU s':>14}")
    for way, cost in _medians(costs).items():
        print(f"{way:8}{cost.seconds:10.2f}{megabytes / cost.seconds:9.0f}{_ratio(costs, way):9.2f}"
              f"{cost.queued:10.0f}{cost.cpu:14.2f}")


def _rounds(lab: Lab, rounds: int, work: Callable[[], float]) -> Costs:
    ground.measure(lab, "none", work)  # caches, neighbours
    costs: Costs = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way in WAYS:
            costs[way].append(ground.measure(lab, way, work))
    return costs


def _medians(costs: Costs) -> dict[Way, Cost]:
    return {way: Cost(median(c.seconds for c in of), round(median(c.queued for c in of)), median(c.cpu for c in of))
            for way, of in costs.items()}


def _ratio(costs: Costs, way: Way) -> float:
    """Its rate to that of no DPI in the same round, the median of the rounds."""
    return median(none.seconds / one.seconds for none, one in zip(costs["none"], costs[way], strict=True))


if __name__ == "__main__":
    main()
