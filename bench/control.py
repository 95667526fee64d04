"""What a hostile client of the control socket costs the traffic: `python -m bench.control --help`.

Flows are opened at an even pace, and a probe sends a small segment each millisecond on a flow that is watched, so that
each waits for a verdict. Rounds without and with the attack take turns: thousands of malformed requests from 32
connections at a time, and half requests that are held open. The attacker is nice: what is measured is what the daemon
does with the requests. How long `status` takes meanwhile is told, too.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from pathlib import Path

from bench.ground import Ground
from bench.probe import Probe, compare, daemon, even_load
from nfqdpi.daemon.ask import ask

_AT_A_TIME = 32
_FLOWS = 10**7  # more than there is time for
_ASK = 0.1  # s between two askings for status
_BAD = (b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 1000 + b"\n", b"[" * 1000 + b"\n", b"{}\n",
        b'{"v": 9, "command": "status"}\n')


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.control", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--malformed", type=int, default=10_000, help="requests, in all (default: %(default)s)")
    parser.add_argument("--half-open", type=int, default=1000, help="requests, at once (default: %(default)s)")
    parser.add_argument("--rate", type=int, default=1000, help="flows a second (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--attack", metavar="SOCKET", help=argparse.SUPPRESS)  # to ourselves
    asked = parser.parse_args()
    if asked.attack:
        _attack(asked.attack, asked.malformed, asked.half_open)
        return
    print(f"Linux {os.uname().release}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}; {asked.rate} flows/s")
    with Ground() as ground, daemon(ground):
        path = ground.state / "control.sock"
        probe = Probe(ground)
        attack: list[str | Path] = [sys.executable, "-m", "bench.control", "--attack", path,
                                    "--half-open", str(asked.half_open),
                                    "--malformed", str(asked.malformed // asked.rounds)]
        quiet: list[float] = []
        attacked: list[float] = []
        with even_load(ground, _FLOWS, asked.rate):
            for _ in range(asked.rounds):
                took = _round(probe, path, attack, attacked)
                _round(probe, path, ["sleep", str(took)], quiet)
        compare(quiet, attacked, cause="the attack")


def _round(probe: Probe, path: Path, command: list[str | Path], delays: list[float]) -> float:
    """The probe's delays while a command runs; how long that was."""
    probe.take()
    began = time.monotonic()
    slowest = 0.0
    with subprocess.Popen(["nice", "-n", "19", *command]) as process:
        while process.poll() is None:
            time.sleep(_ASK)
            since = time.monotonic()
            ask(str(path), "status")
            slowest = max(slowest, time.monotonic() - since)
    took = time.monotonic() - began
    delays += probe.take()
    print(f"{Path(command[0]).name:8} {took:.1f} s; status took {slowest * 1000:.1f} ms at most")
    return took


def _attack(path: str, malformed: int, half_open: int) -> None:
    held = [_connect(path) for _ in range(half_open)]
    for client in held:
        with suppress(OSError):  # it has had to make room
            client.send(b'{"command": ')
    left = count()

    def annoy() -> None:
        while (number := next(left)) < malformed:
            with suppress(OSError), _connect(path) as client:
                client.sendall(_BAD[number % len(_BAD)])
                client.shutdown(socket.SHUT_WR)
                while client.recv(4096):
                    pass

    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        for _ in range(_AT_A_TIME):
            pool.submit(annoy)
    for client in held:
        client.close()


def _connect(path: str) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.connect(path)
    return client


if __name__ == "__main__":
    main()
