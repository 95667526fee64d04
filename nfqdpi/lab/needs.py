"""What the lab needs of the machine."""

from __future__ import annotations

import shutil

from nfqdpi.kernel.privileges import Capability

CAPABILITIES = (Capability.CAP_SYS_ADMIN, Capability.CAP_NET_ADMIN, Capability.CAP_NET_RAW)

_PROGRAMS = ("ip", "iptables", "ip6tables", "conntrack", "nginx", "openssl", "curl", "dnsmasq", "dig")


def missing_programs() -> list[str]:
    """The programs that are not on PATH."""
    return [program for program in _PROGRAMS if not shutil.which(program)]
