"""The capabilities of this process."""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path


class Capability(IntEnum):
    """Bit numbers of include/uapi/linux/capability.h."""

    CAP_NET_ADMIN = 12
    CAP_NET_RAW = 13
    CAP_SYS_ADMIN = 21


def missing(*needed: Capability) -> list[str]:
    """The names of those that this process does not have (CapEff of proc_pid_status(5))."""
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
    effective = int(status["CapEff"], 16)
    return [capability.name for capability in needed if not effective >> capability & 1]
