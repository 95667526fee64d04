"""kill -9 of the supervisor while lists are updated and swapped: `python -m tests.kernel.killed [MOMENTS]`."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

from nfqdpi.lab.daemon import Daemon
from nfqdpi.lab.network import Lab
from tests.kernel.daily import config, nfqdpi, supervisor
from tests.kernel.origin import Origin, visit

_NAMES = 20_000
_LONGEST = 1.0  # s until a kill; update, compilation and swap are over by then
_LISTED = """
[[list]]
name = "ads"
path = "{names}"
[[rule]]
name = "listed"
action = "block"
lists = ["ads"]
"""


def kill_and_start(lab: Lab, moments: int) -> None:
    """After every kill the daemon starts, and blocks the list's first name and its last: old or new, but all of it."""
    names = lab.state / "names.txt"
    chance = random.Random(7)  # noqa: S311  the same moments each time
    _write(names, 0)
    text = config(lab, workers=1) + _LISTED.format(names=names)
    running = Daemon(lab, text)
    for command in (("lists", "update"), ("reload",)):
        assert nfqdpi(lab, *command, "-c", running.config).returncode == 0
    for version in range(1, moments + 1):
        _write(names, version)
        update = [sys.executable, "-m", "nfqdpi", "lists", "update", "-c", str(running.config)]
        updating = lab.gateway.popen(update, log=lab.state / "update.log")
        os.kill(supervisor(running), signal.SIGHUP)
        time.sleep(chance.uniform(0, _LONGEST))
        for process in (running.process, updating):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        running = Daemon(lab, text)
        assert [visit(lab, name) for name in ("first.example", "last.example")] == ["reset", "reset"], version
    assert running.stop() == 0


def _write(names: Path, version: int) -> None:
    """A version of the list: the same first and last name, and others between."""
    beside = names.with_suffix(".new")
    between = "".join(f"v{version}-{number}.example\n" for number in range(_NAMES))
    beside.write_text(f"first.example\n{between}last.example\n")
    beside.rename(names)


if __name__ == "__main__":
    moments = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    with Lab() as lab, Origin(lab.server):
        kill_and_start(lab, moments)
    print(f"{moments} kills, {moments} starts with a whole policy")
