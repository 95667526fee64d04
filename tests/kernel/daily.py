"""The configuration that most kernel tests run, how they call the command line, and what a running daemon says."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from subprocess import CompletedProcess

from nfqdpi.lab.daemon import Daemon
from nfqdpi.lab.network import Family, Lab

Gateway = Callable[..., Daemon]
FAMILIES: tuple[Family, ...] = (4, 6)

_CONFIG = """
[queue]
workers = {workers}
[inspect]
mode = "{mode}"
[fail]
default = "{fail}"
[[rule]]
name = "ads"
action = "block"
domains = ["blocked.example"]
[[rule]]
name = "quiet"
action = "block"
respond = "drop"
domains = ["silent.example"]
[state]
directory = "{state}/state"
[events]
file = "{state}/eve.json"
[control]
socket = "{state}/control.sock"
"""


def config(lab: Lab, mode: str = "strict", *, fail: str = "open", workers: int = 2) -> str:
    """blocked.example is reset, silent.example dropped, all else passes."""
    return _CONFIG.format(mode=mode, fail=fail, workers=workers, state=lab.state)


def nfqdpi(lab: Lab, *args: object) -> CompletedProcess[str]:
    """A command of the command line, run in the gateway."""
    return lab.gateway.run([sys.executable, "-m", "nfqdpi", *map(str, args)], check=False)


def ask(lab: Lab, running: Daemon, *args: str, code: int = 0) -> str:
    """What a command prints beside a running daemon, after its exit code was looked at."""
    done = nfqdpi(lab, *args, "-c", running.config)
    assert done.returncode == code, done.stderr
    return done.stdout


def workers(lab: Lab, running: Daemon) -> list[int]:
    status = nfqdpi(lab, "status", "--json", "-c", running.config).stdout  # 5 while a worker is being replaced
    return [worker["pid"] for worker in json.loads(status)["workers"]]


def replaced(lab: Lab, running: Daemon, victim: int) -> bool:
    """The only worker is another one, and owns the queue."""
    status = json.loads(nfqdpi(lab, "status", "--json", "-c", running.config).stdout)
    (worker,) = status["workers"]
    return worker["pid"] not in (victim, None) and worker["owns_queue"]


def supervisor(running: Daemon) -> int:
    """The daemon's own pid: ``ip netns exec`` has become it."""
    return running.process.pid


def notices(lab: Lab) -> list[str]:
    """The kinds of what befell the gateway, as the event file has them."""
    lines = map(json.loads, (lab.state / "eve.json").read_text().splitlines())
    return [line["notice"]["kind"] for line in lines if line["event_type"] == "notice"]


def wait_until(true: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not (so := true()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return so
