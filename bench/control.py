"""What a hostile client of the control socket costs the traffic: `python -m bench.control --help`.

Flows are opened at an even pace, and a probe sends a small segment each millisecond on a flow that is watched, so that
each waits for a verdict. Three phases take turns: nobody attacks; the attacker is at a socket of somebody else's, who
takes and closes as slowly as the daemon does, and no more; the attacker is at the control socket. The second tells what
the attacker costs by itself, on CPUs that it shares with all the rest; what the third takes beyond it is the daemon's.

The attacker opens half requests and holds them, and then makes malformed ones, none of whose answers it waits for. It
is one whom the socket's mode lets by, so root or of the group of [control]: anybody else is refused by the kernel,
without a word to the daemon. It is nice: what it does to the CPUs is not what is asked here. How long `status` takes
meanwhile is told, too, and what CPU time the daemon's processes take.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench import machine
from bench.ground import Ground, stop
from bench.probe import Probe, daemon, even_load
from nfqdpi.daemon.ask import ask
from nfqdpi.daemon.door import BACKLOG, PAUSE
from nfqdpi.lab.namespace import LabError

_FLOWS = 10**7  # more than there is time for
_ASK = 0.1  # s between two askings for status
_SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
_BAD = (b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 1000 + b"\n", b"[" * 1000 + b"\n", b"{}\n",
        b'{"v": 9, "command": "status"}\n')


@dataclass(slots=True)
class Phase:
    """What the attacker is at, and what came of it: the probe's delays by round, sorted, and of all rounds how long
    they were, and what they had of the CPUs. All in seconds."""

    title: str
    attack: list[str | Path]
    delays: list[list[float]] = field(default_factory=list)
    took: float = 0.0
    supervisor: float = 0.0
    worker: float = 0.0
    status: float = 0.0  # the longest

    def ranks(self, share: float) -> list[float]:
        """What so many of a round's delays are below."""
        return [delays[int(len(delays) * share)] for delays in self.delays]

    def ratio(self, other: Phase, share: float) -> float:
        """Of these to the other's in the same round: the median, for what else the machine does comes and goes."""
        return median(own / base for own, base in zip(self.ranks(share), other.ranks(share), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.control", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--malformed", type=int, default=10_000, help="requests a phase, in all (default: %(default)s)")
    parser.add_argument("--half-open", type=int, default=1000, help="requests a round (default: %(default)s)")
    parser.add_argument("--rate", type=int, default=1000, help="flows a second (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=10, help="(default: %(default)s)")
    parser.add_argument("--attack", metavar="SOCKET", help=argparse.SUPPRESS)  # to ourselves
    parser.add_argument("--foil", metavar="SOCKET", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.attack:
        _attack(asked.attack, asked.malformed, asked.half_open)
    elif asked.foil:
        _foil(asked.foil)
    else:
        _measure(asked)


def _measure(asked: argparse.Namespace) -> None:
    print(f"Linux {os.uname().release}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}; {asked.rate} flows/s")
    with Ground() as ground, daemon(ground), ExitStack() as undo:
        path, other = ground.state / "control.sock", ground.state / "other.sock"
        ourselves = [sys.executable, "-m", "bench.control"]
        undo.callback(stop, ground.start(ground.gateway, [*ourselves, "--foil", other], log="foil"))
        attack: list[str | Path] = ["nice", "-n", "19", *ourselves, "--half-open", str(asked.half_open),
                                    "--malformed", str(-(-asked.malformed // asked.rounds)), "--attack"]
        phases = [Phase("nobody", []), Phase("elsewhere", [*attack, other]), Phase("here", [*attack, path])]
        probe = Probe(ground)
        with even_load(ground, _FLOWS, asked.rate):
            for number in range(asked.rounds):
                seconds = 0.0
                for phase in phases[::-1]:
                    seconds = _round(probe, path, phase, seconds)
                print(f"round {number + 1}: {seconds:.0f} s a phase, load {os.getloadavg()[0]:.1f}", flush=True)
    _tell(phases)


def _round(probe: Probe, path: Path, phase: Phase, seconds: float) -> float:
    """One phase of a round, as long as the attack takes, or without one for ``seconds``; how long that was."""
    supervisor, *workers = _pids(path)
    before = machine.spent([supervisor]), machine.spent(workers)
    probe.take()
    began = time.monotonic()
    with subprocess.Popen(phase.attack or ["sleep", str(seconds)]) as process:
        while process.poll() is None:
            time.sleep(_ASK)
            since = time.monotonic()
            ask(str(path), "status")
            phase.status = max(phase.status, time.monotonic() - since)
    took = time.monotonic() - began
    phase.delays.append(sorted(probe.take()))
    phase.took += took
    phase.supervisor += machine.spent([supervisor]) - before[0]
    phase.worker += machine.spent(workers) - before[1]
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    if [supervisor, *workers] != _pids(path):
        raise LabError("a worker was replaced")
    return took


def _pids(path: Path) -> list[int]:
    """The supervisor's and the workers'."""
    status = ask(str(path), "status")
    return [status["pid"], *(worker["pid"] for worker in status["workers"])]


def _tell(phases: list[Phase]) -> None:
    nobody, elsewhere, here = phases
    print(f"{'attack':10}{'segments':>9}" + "".join(f"{name + ' us':>9}" for name in _SHARES)
          + f"{'supervisor':>12}{'worker':>9}{'status took':>13}")
    for phase in phases:
        print(f"{phase.title:10}{sum(map(len, phase.delays)):9}"
              + "".join(f"{median(phase.ranks(share)) * 1e6:9.0f}" for share in _SHARES.values())
              + f"{phase.supervisor / phase.took:10.1%}  {phase.worker / phase.took:7.1%}{phase.status * 1e3:10.1f} ms")
    for title, base in (("here to nobody", nobody), ("here to elsewhere", elsewhere)):
        print(f"{title:19}" + "".join(f"{here.ratio(base, share):9.3f}" for share in _SHARES.values()))


def _attack(path: str, malformed: int, half_open: int) -> None:
    """Make all of these requests, or fail. Who has had to make room meanwhile is not told before it looks."""
    with ExitStack() as held:
        for _ in range(half_open):
            held.enter_context(_sent(path, b'{"command": '))
        for number in range(malformed):
            _sent(path, _BAD[number % len(_BAD)]).close()


def _sent(path: str, request: bytes) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.connect(path)
    with suppress(ConnectionError):  # the daemon was let no more in
        client.sendall(request)
    return client


def _foil(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(path)
        door.listen(BACKLOG)
        print("ready", flush=True)
        while True:
            for _ in range(BACKLOG):
                door.accept()[0].close()
            time.sleep(PAUSE)


if __name__ == "__main__":
    main()
