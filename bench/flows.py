"""How long `nfqdpi flows` takes with a full conntrack table: `python -m bench.flows --help`.

The flows are real ones, answered behind the gateway and then left open; the daemon remembers the names of those that it
decided last. Each run is a whole command as a user would give it, from its start to its end, whose output goes nowhere.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.ground import Ground
from bench.probe import daemon

_MAX = Path("/proc/sys/net/netfilter/nf_conntrack_max")  # of every namespace
_ROOM = 1.06  # beyond 95 % of what there is room for flows are dropped early (nf_conntrack_core.c: gc_worker)
_COMMANDS = ("", "--json", "--verdict accelerate", "--name x000001.example")


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.flows", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--flows", type=int, default=250_000, help="in conntrack (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="of each command (default: %(default)s)")
    asked = parser.parse_args()
    print(f"Linux {os.uname().release}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    with _room(asked.flows), Ground() as ground, daemon(ground) as config:
        while (entries := int(ground.gateway.run(["conntrack", "-C"]).stdout)) < asked.flows:
            ground.hold(asked.flows - entries)  # the same ports may come again
        print(f"{entries} entries", flush=True)
        for options in _COMMANDS:
            command = [sys.executable, "-m", "nfqdpi", "flows", "-c", str(config), *options.split()]
            lines = ground.gateway.run(command, timeout=60).stdout.count("\n")
            took = [_run(ground, command) for _ in range(asked.runs)]
            print(f"nfqdpi flows {options:24}{lines:9,} lines, s (of CPU time): "
                  + ", ".join(f"{wall:.2f} ({cpu:.2f})" for wall, cpu in took) + f"; load {os.getloadavg()[0]:.1f}",
                  flush=True)


@contextmanager
def _room(flows: int) -> Iterator[None]:
    """Conntrack has room for so many."""
    before = _MAX.read_text()
    if flows * _ROOM > int(before):
        _MAX.write_text(str(int(flows * _ROOM)))
    try:
        yield
    finally:
        _MAX.write_text(before)


def _run(ground: Ground, command: list[str]) -> tuple[float, float]:
    """Seconds from start to end, and seconds of CPU time."""
    began, before = time.monotonic(), os.times()
    with ground.gateway.popen(command, log=Path(os.devnull)) as process:
        process.wait()
    after = os.times()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return (time.monotonic() - began,
            after.children_user + after.children_system - before.children_user - before.children_system)


if __name__ == "__main__":
    main()
