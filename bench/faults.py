"""What plugins that go wrong cost the traffic: `python -m bench.faults --help`.

Flows are opened at an even pace, some of them for a name on which a plugin raises, sleeps, loops for ever or eats
memory; a probe sends a small segment each millisecond on a flow that is watched, so that each waits for a verdict.
Rounds without and with such flows take turns, in one run of the daemon for each plugin.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.ground import SERVERS, Ground, stop
from bench.reload import PROBE_PORT, Probe
from nfqdpi.lab.namespace import LabError

_CONFIG = """
[queue]
workers = 1
ports = [80, {probe}]
[state]
directory = "{state}/state"
[service]
worker_memory = 268435456
[events]
file = "{state}/eve.json"
[control]
socket = "{state}/control.sock"
"""
_PLUGINS = {
    "raises": "if b'wrong' in prefix: raise ValueError('wrong')",
    "sleeps": "if b'wrong' in prefix: time.sleep(5)",
    "loops": "while b'wrong' in prefix: pass",
    "eats memory": "if b'wrong' in prefix: KEPT.append(bytearray(1 << 30))",
}
_FLOWS = 10**7  # more than there is time for
_WRONG = b"GET / HTTP/1.1\r\nHost: wrong.example\r\n\r\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.faults", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rate", type=int, default=500, help="flows a second (default: %(default)s)")
    parser.add_argument("--wrong", type=float, default=2, help="flows a second that go wrong (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=20, help="of a round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(default: %(default)s)")
    asked = parser.parse_args()
    print(f"Linux {os.uname().release}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}; {asked.rate} flows/s")
    for name, body in _PLUGINS.items():
        with Ground() as ground, _plugin(ground.state, body):
            _measure(ground, name, asked)


def _measure(ground: Ground, name: str, asked: argparse.Namespace) -> None:
    config = ground.state / "nfqdpi.toml"
    config.write_text(_CONFIG.format(state=ground.state, probe=PROBE_PORT))
    running = ground.start(ground.gateway, [sys.executable, "-m", "nfqdpi", "run", "-c", config], log="nfqdpi")
    probe = Probe(ground)
    quiet: list[float] = []
    wrong: list[float] = []
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(ground.load, ground.request("http"), round(asked.rate * asked.seconds * asked.rounds * 2),
                              "-r", asked.rate, timeout=10**6)
        time.sleep(1)
        try:
            for _ in range(asked.rounds):
                for delays, rate in ((quiet, 0.0), (wrong, asked.wrong)):
                    probe.take()
                    with _going_wrong(ground, rate):
                        time.sleep(asked.seconds)
                    delays.extend(probe.take())
        finally:
            _stop_clients(ground)
        with suppress(subprocess.SubprocessError, LabError):
            load = loading.result()
            print(f"{name}: {load.failed} of {load.flows} other flows failed")
    for label, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
        without, having = (sorted(delays)[int(len(delays) * share)] * 1e6 for delays in (quiet, wrong))
        print(f"{name}: {label}: {without:.0f} us without, {having:.0f} us with it: ratio {having / without:.3f}")
    print(f"{name}: {len(quiet)} and {len(wrong)} segments", flush=True)
    stop(running)


def _stop_clients(ground: Ground) -> None:
    for pid in ground.client.pids():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


@contextmanager
def _plugin(state: Path, body: str) -> Iterator[None]:
    """A classifier whose function has this body is installed for the daemon."""
    (state / "bad.py").write_text(
        "import time\nfrom nfqdpi.core.classifier import Classifier, NO_MATCH\nKEPT = []\n"
        f"def classify(prefix):\n    {body}\n    return NO_MATCH\n"
        "classifier = Classifier('bad', 'bad', '1', 4096, classify)\n")
    info = state / "bad-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bad\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[nfqdpi.classifiers]\nbad = bad:classifier\n")
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = f"{state}:{before}"
    try:
        yield
    finally:
        os.environ["PYTHONPATH"] = before


@contextmanager
def _going_wrong(ground: Ground, rate: float) -> Iterator[None]:
    """So many flows a second for the name on which the plugin goes wrong."""
    over = threading.Event()

    def ask() -> None:
        while rate and not over.wait(1 / rate):
            with suppress(OSError):
                with ground.client.entered():
                    one = socket.create_connection((SERVERS[1], 80), 2)
                with one:
                    one.sendall(_WRONG)
                    one.recv(100)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


if __name__ == "__main__":
    main()
