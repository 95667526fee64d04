"""One network namespace: programs run in it, threads enter it, and it goes with everything that runs inside."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_CLONE_NEWNET = 0x40000000  # linux/sched.h
_KILL_TIMEOUT = 5.0  # seconds for killed processes to be gone
_LIBC = ctypes.CDLL(None, use_errno=True)  # os.setns comes with Python 3.12


class LabError(Exception):
    """The lab could not be built or driven; the text says what failed."""


def ip(*args: str, batch: Sequence[str] = ()) -> str:
    """The output of iproute2's ``ip``; with ``batch``, of these commands, one a line. Raises LabError."""
    command = ["ip", *args, *(("-batch", "-") if batch else ())]
    done = subprocess.run(command, input="\n".join(batch), capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


class Namespace:
    """A named network namespace (``ip netns``)."""

    def __init__(self, name: str) -> None:
        self.name = name

    def add(self) -> None:
        ip("netns", "add", self.name)

    def configure(self, *commands: str) -> None:
        """``ip`` commands, all in one process."""
        ip("-n", self.name, batch=commands)

    def set(self, **values: int) -> None:
        """Settings below ``/proc/sys/net``, a double underscore for each slash: ``set(ipv4__ip_forward=1)``."""
        with self.entered():
            for key, value in values.items():
                Path("/proc/sys/net", *key.split("__")).write_text(f"{value}\n")

    def run(self, args: Sequence[str | Path], *, check: bool = True, stdin: str = "",
            timeout: float = 30) -> subprocess.CompletedProcess[str]:
        """Run a program to its end. Raises LabError if it fails (unless ``check`` is off) or takes too long."""
        try:
            done = subprocess.run(self._command(args), input=stdin, capture_output=True, text=True,
                                  errors="backslashreplace", timeout=timeout, check=False)
        except subprocess.TimeoutExpired as error:
            raise LabError(f"{args[0]} in {self.name}: no end after {timeout} s") from error
        if check and done.returncode:
            raise LabError(f"{args[0]} in {self.name}: exit {done.returncode}: {done.stderr.strip()}")
        return done

    def popen(self, args: Sequence[str | Path], *, log: Path, env: Mapping[str, str] | None = None,
              pass_fds: Sequence[int] = ()) -> subprocess.Popen[bytes]:
        """Start a program that outlives a Ctrl-C at our terminal; what it prints goes to ``log``."""
        with log.open("ab") as output:
            return subprocess.Popen(self._command(args), stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                    env=env, pass_fds=pass_fds, start_new_session=True)

    def _command(self, args: Sequence[str | Path]) -> list[str | Path]:
        return ["ip", "netns", "exec", self.name, *args]

    @contextmanager
    def entered(self) -> Iterator[None]:
        """This thread is in the namespace meanwhile; a socket made here stays in it."""
        home = os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            away = os.open(f"/run/netns/{self.name}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                _setns(away)
            finally:
                os.close(away)
            try:
                yield
            finally:
                _setns(home)
        finally:
            os.close(home)

    def pids(self) -> list[int]:
        """The processes that run in it."""
        return [int(pid) for pid in ip("netns", "pids", self.name).split()]

    def remove(self) -> None:
        """Kill what runs in it, then delete it."""
        deadline = time.monotonic() + _KILL_TIMEOUT
        while pids := self.pids():
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                with suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)  # of our own children nobody else takes the corpse away
            if time.monotonic() > deadline:
                raise LabError(f"processes in {self.name} do not die: {pids}")
            time.sleep(0.005)
        ip("netns", "delete", self.name)


def _setns(descriptor: int) -> None:
    if _LIBC.setns(descriptor, _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")
