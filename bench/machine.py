"""What the machine says of itself: its name, CPU time, memory."""

from __future__ import annotations

import os
import platform
import re
import sys
import sysconfig
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from nfqdpi.build import compiled

_TICK = 1 / os.sysconf("SC_CLK_TCK")  # seconds
_IDLE, _IOWAIT, _STEAL = 3, 4, 7  # columns of /proc/stat's cpu lines (proc_stat(5)); guest time is in user time already


def named() -> dict[str, Any]:
    """What figures depend on."""
    models = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    built = ("the distribution's" if sys.base_prefix == "/usr" else  # which does not say how it was built
             "optimized" if "--enable-optimizations" in str(sysconfig.get_config_var("CONFIG_ARGS")) else
             "built without --enable-optimizations")
    return {"cpu": models[0] if models else os.uname().machine, "cpus": os.cpu_count(), "kernel": os.uname().release,
            "hypervisor": "hypervisor" in Path("/proc/cpuinfo").read_text(), "load": round(os.getloadavg()[0], 2),
            "compiled": compiled(),
            "python": f"{platform.python_version()} ({built})"}


def busy(cpu: int | None = None) -> float:
    """Seconds that one CPU, or all of them, have spent on anything: processes, system calls, softirq."""
    wanted = "cpu" if cpu is None else f"cpu{cpu}"
    for line in Path("/proc/stat").read_text().splitlines():
        name, *ticks = line.split()
        if name == wanted:
            return sum(int(of) for n, of in enumerate(ticks[:8]) if n not in (_IDLE, _IOWAIT, _STEAL)) * _TICK
    raise ValueError(wanted)


def spent(pids: Iterable[int]) -> float:
    """User and system seconds of processes. A packet's way on from the queue is in it: the kernel walks it in the
    system call that gives the verdict."""
    total = 0
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total * _TICK


def leaves(pids: Iterable[int]) -> list[int]:
    """The processes that are nobody's parent: the workers, where there is a supervisor."""
    parents = {}
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):
            parents[pid] = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return [pid for pid in parents if pid not in parents.values()]


def memory(pids: Iterable[int]) -> list[float]:
    """The proportional set size of each process, in MB (proc_pid_smaps(5)): supervisors first."""
    own = list(pids)
    workers = leaves(own)
    found = []
    for pid in sorted(own, key=lambda pid: pid in workers):
        with suppress(FileNotFoundError, ProcessLookupError):
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            found.append(round(int(rollup.partition("\nPss:")[2].split()[0]) / 1024, 1))
    return found
