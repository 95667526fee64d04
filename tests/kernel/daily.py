"""The configuration that most kernel tests run, and how they call the command line."""

from __future__ import annotations

import sys
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
