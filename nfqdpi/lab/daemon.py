"""The real daemon in the lab's gateway: `nfqdpi run`, on either back end of iptables."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nfqdpi.lab.namespace import LabError
from nfqdpi.lab.network import Lab

BACK_ENDS = ("nft", "legacy")
_READY_TIMEOUT = 20.0  # seconds
_STOP_TIMEOUT = 10.0  # seconds, for the rules to be removed and the workers to end
_POLL = 0.005  # seconds


class Daemon:
    """A running daemon. ``log`` is what it printed, ``config`` its configuration file."""

    def __init__(self, lab: Lab, config_text: str, back_end: str = "", program: str = "nfqdpi") -> None:
        """Start it and wait until it says `ready`. Raises LabError if it does not.

        ``back_end`` is one of BACK_ENDS; empty: that of the ``iptables`` on PATH. ``program``: the module that is run.
        """
        self.config = lab.state / "nfqdpi.toml"
        self.config.write_text(config_text)
        self.log = lab.state / "daemon.log"
        self.log.unlink(missing_ok=True)
        environment = dict(os.environ)
        if back_end:
            environment["PATH"] = f"{_programs(lab.state / back_end, back_end)}:{environment['PATH']}"
        command = [sys.executable, "-m", program, "run", "-c", str(self.config)]
        self.process = lab.gateway.popen(command, log=self.log, env=environment)
        try:
            self._wait_until_ready()
        except BaseException:
            self.kill()
            raise

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _READY_TIMEOUT
        while "ready" not in (said := self.log.read_text(errors="backslashreplace")):
            if self.process.poll() is not None:
                raise LabError(f"the daemon ended with exit code {self.process.returncode}:\n{said.rstrip()}")
            if time.monotonic() > deadline:
                raise LabError(f"the daemon is not ready after {_READY_TIMEOUT:.0f} s:\n{said.rstrip()}")
            time.sleep(_POLL)

    def stop(self) -> int:
        """SIGTERM; its exit code. Raises LabError if it does not end."""
        self.process.terminate()
        try:
            return self.process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise LabError(f"the daemon does not end on SIGTERM:\n{self.log.read_text()}") from error

    def kill(self) -> None:
        """SIGKILL to it and its workers."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@contextmanager
def daemon(lab: Lab, config_text: str, back_end: str = "", program: str = "nfqdpi") -> Iterator[Daemon]:
    """A daemon for the length of a block."""
    running = Daemon(lab, config_text, back_end, program)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.stop()


def back_ends(lab: Lab) -> list[str]:
    """The back ends of iptables that this machine has and this kernel serves."""
    return [name for name in BACK_ENDS if shutil.which(f"iptables-{name}")
            and lab.gateway.run([f"iptables-{name}", "-t", "mangle", "-S"], check=False).returncode == 0]


def _programs(here: Path, back_end: str) -> Path:
    """A directory whose iptables programs are the back end's, to go first in PATH."""
    here.mkdir(exist_ok=True)
    for family in ("iptables", "ip6tables"):
        for program in (family, f"{family}-save", f"{family}-restore"):
            target = shutil.which(program.replace(family, f"{family}-{back_end}"))
            if target and not (here / program).exists():
                (here / program).symlink_to(target)
    return here
