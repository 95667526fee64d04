"""What the lab needs of the machine."""

from __future__ import annotations

import shutil
from pathlib import Path

_PROGRAMS = ("ip", "iptables", "ip6tables", "conntrack", "nginx", "openssl", "curl")
_CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13, "CAP_SYS_ADMIN": 21}  # linux/capability.h


def missing_programs() -> list[str]:
    """The programs that are not on PATH."""
    return [program for program in _PROGRAMS if not shutil.which(program)]


def missing_capabilities() -> list[str]:
    """The capabilities that this process has not."""
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
    effective = int(status["CapEff"], 16)
    return [name for name, bit in _CAPABILITIES.items() if not effective >> bit & 1]
