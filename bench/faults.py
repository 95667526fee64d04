"""What plugins that go wrong cost the traffic: `python -m bench.faults --help`.

Flows are opened at an even pace, and beside them some for a name on which a plugin raises, sleeps, loops for ever or
eats memory, at once or bit by bit; a probe sends a small segment each millisecond on a flow that is watched, so that
each waits for a verdict. Rounds take turns with others in which the same flows are for a name that harms nobody, in one
run of the daemon for each plugin.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.ground import SERVERS, Ground
from bench.probe import Probe, compare, daemon, even_load
from nfqdpi.lab.namespace import LabError
from nfqdpi.testing.package import distribution

_MEMORY = """
[service]
worker_memory = 268435456
"""
_PLUGINS = {
    "raises": "if b'wrong' in prefix: raise ValueError('wrong')",
    "sleeps": "if b'wrong' in prefix: time.sleep(5)",
    "loops": "while b'wrong' in prefix: pass",
    "eats memory": "if b'wrong' in prefix: KEPT.append(bytearray(1 << 30))",
    "grows": "if b'wrong' in prefix: KEPT.append(b'x' * (8 << 20))",
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.faults", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("plugins", nargs="*", help=f"of {', '.join(_PLUGINS)} (default: all)")
    parser.add_argument("--rate", type=int, default=500, help="flows a second (default: %(default)s)")
    parser.add_argument("--wrong", type=float, default=2, help="flows a second that go wrong (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=20, help="of a round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--first", action="store_true",
                        help="all of it before whatever else the machine does (SCHED_RR), so that it may be busy")
    asked = parser.parse_args()
    if asked.first:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    print(f"Linux {os.uname().release}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}; {asked.rate} flows/s")
    for name in asked.plugins or _PLUGINS:
        with Ground() as ground, _plugin(ground.state, _PLUGINS[name]), daemon(ground, _MEMORY, "strict"):
            _measure(ground, name, asked)


def _measure(ground: Ground, name: str, asked: argparse.Namespace) -> None:
    probe = Probe(ground)
    quiet: list[float] = []
    wrong: list[float] = []
    with even_load(ground, round(asked.rate * asked.seconds * asked.rounds * 2), asked.rate) as loading:
        for _ in range(asked.rounds):
            for delays, host in ((quiet, b"right.example"), (wrong, b"wrong.example")):
                probe.take()
                with _asking(ground, host, asked.wrong):
                    time.sleep(asked.seconds)
                delays.extend(probe.take())
    with suppress(subprocess.SubprocessError, LabError):
        load = loading.result()
        print(f"{name}: {load.failed} of {load.flows} other flows failed")
    compare(quiet, wrong, f"{name}: ")


@contextmanager
def _plugin(state: Path, body: str) -> Iterator[None]:
    """A classifier whose function has this body is installed for the daemon."""
    (state / "bad.py").write_text(
        "import time\nfrom nfqdpi.core.classifier import Classifier, NO_MATCH\nKEPT = []\n"
        f"def classify(prefix):\n    {body}\n    return NO_MATCH\n"
        "classifier = Classifier('bad', 'bad', '1', 4096, classify)\n")
    distribution(state, "bad", {"bad": "bad:classifier"})
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = f"{state}:{before}"
    try:
        yield
    finally:
        os.environ["PYTHONPATH"] = before


@contextmanager
def _asking(ground: Ground, host: bytes, rate: float) -> Iterator[None]:
    """So many flows a second for this name."""
    over = threading.Event()

    def ask() -> None:
        while not over.wait(1 / rate):
            with suppress(OSError):
                with ground.client.entered():
                    one = socket.create_connection((SERVERS[1], 80), 2)
                with one:
                    one.sendall(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
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
