"""How soon a process gets the CPU when it wakes up (linux/sched/types.h, sched_setattr(2))."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from struct import Struct

_ATTRIBUTES = Struct("=IIQiIQQQ")  # struct sched_attr: size, policy, flags, nice, priority; runtime, deadline, period
_NUMBERS = {"x86_64": 314, "aarch64": 274, "riscv64": 274}  # of the system call, which few libcs wrap
_SHORT = 100_000  # ns, the least that the kernel grants


def be_prompt() -> None:
    """Ask for short turns. Since Linux 6.12 who has them need not wait for the end of another's longer one
    (kernel/sched/fair.c: PREEMPT_SHORT); the share of the CPU stays the same. Without effect on older kernels, under
    another policy than the usual one, or where it is forbidden."""
    number = _NUMBERS.get(platform.machine()) if sys.maxsize > 1 << 32 else None  # 32-bit programs have others
    if number is None or (policy := os.sched_getscheduler(0)) != os.SCHED_OTHER:
        return
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    ctypes.CDLL(None).syscall(number, 0, _ATTRIBUTES.pack(_ATTRIBUTES.size, policy, 0, nice, 0, _SHORT, 0, 0), 0)
