"""What a reload with a million names costs the traffic: `python -m bench.reload --help`.

A probe sends a small segment each millisecond on a flow that is watched, so that each waits for a verdict, while
clients open flows as fast as they can. How long the segments take is told without reloads and with one after the
other; all of it shares this machine's CPUs. What the worker itself was held up for, by its own account, comes last.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from struct import Struct

from bench.ground import SERVERS, Ground, stop
from nfqdpi.config import load
from nfqdpi.daemon.makings import Makings
from nfqdpi.lists.compile import compile_lists

_EACH = 0.001  # s between two segments of the probe
_STAMP = Struct("=d")
_SWAPS = 50
PROBE_PORT = 8080
_CONFIG = """
[queue]
workers = 1
ports = [80, {probe}]
[inspect]
mode = "fast"
[state]
directory = "{state}/state"
[[list]]
name = "names"
path = "{state}/names.txt"
[[rule]]
name = "watch"
action = "inspect"
domains = ["probe.example"]
[[rule]]
name = "listed"
action = "block"
lists = ["names"]
[events]
file = "{state}/eve.json"
[control]
socket = "{state}/control.sock"
"""


class Probe:
    """Segments with the time at which they were sent, from the client to a server."""

    def __init__(self, ground: Ground) -> None:
        self.delays: list[float] = []  # s
        with ground.server.entered(), socket.create_server((SERVERS[0], PROBE_PORT)) as listener:
            with ground.client.entered():
                self._near = socket.create_connection((SERVERS[0], PROBE_PORT))
            self._far, _ = listener.accept()
        self._near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head = b"POST / HTTP/1.1\r\nHost: probe.example\r\nContent-Length: 1000000000\r\n\r\n"
        self._near.sendall(head)
        self._far.recv(len(head), socket.MSG_WAITALL)
        threading.Thread(target=self._hear, daemon=True).start()
        threading.Thread(target=self._send, daemon=True).start()

    def take(self) -> list[float]:
        taken, self.delays = self.delays, []
        return taken

    def _send(self) -> None:
        while True:
            self._near.sendall(_STAMP.pack(time.monotonic()))
            time.sleep(_EACH)

    def _hear(self) -> None:
        while stamp := self._far.recv(_STAMP.size, socket.MSG_WAITALL):
            self.delays.append(time.monotonic() - _STAMP.unpack(stamp)[0])


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.reload", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--names", type=int, default=1_000_000, help="on the list (default: %(default)s)")
    parser.add_argument("--reloads", type=int, default=10, help="(default: %(default)s)")
    parser.add_argument("--connections", type=int, default=30_000, help="of the load, at most (default: %(default)s)")
    asked = parser.parse_args()
    print(f"Linux {os.uname().release}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}; {asked.names} names")
    with Ground() as ground:
        (ground.state / "names.txt").write_text("".join(f"n{n}.d{n % 1000}.example\n" for n in range(asked.names)))
        config = ground.state / "nfqdpi.toml"
        config.write_text(_CONFIG.format(state=ground.state, probe=PROBE_PORT))
        running = ground.start(ground.gateway, [sys.executable, "-m", "nfqdpi", "run", "-c", config], log="nfqdpi")
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
        stop(running)


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
