"""What a reload with a million names costs the traffic: `python -m bench.reload --help`.

A probe sends a small segment each millisecond on a flow that is watched, so that each waits for a verdict, while
clients open flows as fast as they can. How long the segments take is told without reloads and with one after the
other; all of it shares this machine's CPUs. What the worker itself was held up for, by its own account, comes last.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.ground import Ground
from bench.probe import Probe, daemon
from nfqdpi.config import load
from nfqdpi.daemon.makings import Makings
from nfqdpi.lists.compile import compile_lists

_SWAPS = 50
_LISTED = """
[[list]]
name = "names"
path = "{state}/names.txt"
[[rule]]
name = "listed"
action = "block"
lists = ["names"]
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.reload", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--names", type=int, default=1_000_000, help="on the list (default: %(default)s)")
    parser.add_argument("--reloads", type=int, default=10, help="(default: %(default)s)")
    parser.add_argument("--connections", type=int, default=30_000, help="of the load, at most (default: %(default)s)")
    asked = parser.parse_args()
    print(f"Linux {os.uname().release}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}; {asked.names} names")
    with Ground() as ground:
        (ground.state / "names.txt").write_text("".join(f"n{n}.d{n % 1000}.example\n" for n in range(asked.names)))
        with daemon(ground, _LISTED.format(state=ground.state)) as config:
            _measure(ground, config, asked)


def _measure(ground: Ground, config: Path, asked: argparse.Namespace) -> None:
    _nfqdpi(ground, config, "lists", "update")
    _nfqdpi(ground, config, "reload")
    _tell_swaps(config)
    before = _status(ground, config)
    probe = Probe(ground)
    for title, reloads in (("without reloads", 0), ("with reloads", asked.reloads)):
        _tell(title, *_under_load(ground, config, asked.connections, probe, reloads))
    swaps = json.loads(_nfqdpi(ground, config, "stats", "--json"))["queues"]["0"]["swap_us"]
    print(f"the longest that the worker took for a swap: {swaps / 1000:.2f} ms")
    print("workers replaced:", 0 if _status(ground, config) == before else "some")


def _under_load(ground: Ground, config: Path, flows: int, probe: Probe, reloads: int) -> tuple[list[float], str]:
    """The probe's delays, and what became of the load."""
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(ground.load, ground.request("http"), flows, "-j", 16)
        time.sleep(0.5)
        probe.take()
        text = config.read_text()
        for number in range(reloads):
            config.write_text(text + f'[[rule]]\naction = "block"\ndomains = ["other{number}.example"]\n')
            _nfqdpi(ground, config, "reload")
        if not reloads:
            time.sleep(5)
        delays = probe.take()
        still = not loading.done()
        load = loading.result()
    return delays, (f"{load.answered} flows answered, {load.failed} failed"
                    f"{'' if still else ' (the load ended early)'}")


def _tell(title: str, delays: list[float], load: str) -> None:
    ranks = sorted(delays)
    shown = {name: ranks[min(int(len(ranks) * share), len(ranks) - 1)] * 1000
             for name, share in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("worst", 1.0))}
    print(f"{title:16} {len(delays)} probes, ms: " + ", ".join(f"{name} {ms:.2f}" for name, ms in shown.items())
          + f"; {load}")


def _tell_swaps(file: Path) -> None:
    """How long a worker takes to make the policy of its makings: what stands between two packets."""
    config = load(file)
    makings = Makings(config, compile_lists(config.state.directory, ("names",)))
    took = []
    for _ in range(_SWAPS):
        began = time.perf_counter()
        makings.policy(time.time())
        took.append((time.perf_counter() - began) * 1000)
    print(f"a policy out of its makings, ms: median {sorted(took)[_SWAPS // 2]:.2f}, worst {max(took):.2f}")


def _status(ground: Ground, config: Path) -> list[int]:
    return [worker["pid"] for worker in json.loads(_nfqdpi(ground, config, "status", "--json"))["workers"]]


def _nfqdpi(ground: Ground, config: Path, *args: str) -> str:
    return ground.gateway.run([sys.executable, "-m", "nfqdpi", *args, "-c", config], timeout=300).stdout


if __name__ == "__main__":
    main()
