"""What this machine lacks for nfqdpi, what it means, and how to mend it.

Looking changes nothing: rules are tried in an empty network namespace made for it, and everything else is read.
``settings.mend`` is the one thing that changes something.
"""

from __future__ import annotations

from collections.abc import Iterator

from nfqdpi.config.model import Config
from nfqdpi.doctor import interfaces, netfilter, offloads, settings, upkeep
from nfqdpi.doctor.finding import Finding, Level
from nfqdpi.kernel import firewall
from nfqdpi.kernel.firewall import FirewallError
from nfqdpi.kernel.privileges import Capability, missing
from nfqdpi.plugins import PluginError

__all__ = ["Finding", "Level", "examine"]

_CHECKS = (*netfilter.CHECKS, interfaces.examine, settings.examine, *offloads.CHECKS)


def examine(config: Config) -> Iterator[Finding]:
    """The findings, in the order in which they are worth mending."""
    lacking = missing(Capability.CAP_NET_ADMIN, Capability.CAP_NET_RAW, Capability.CAP_SYS_ADMIN)
    if lacking:
        yield Finding("privileges", Level.FAIL, f"no {' and no '.join(lacking)}: the kernel cannot be looked at",
                      "sudo nfqdpi doctor; the daemon itself needs CAP_NET_ADMIN and CAP_NET_RAW")
    else:
        yield Finding("privileges", Level.OK, "CAP_NET_ADMIN and CAP_NET_RAW are there")
    programs = firewall.absent()
    if programs:
        yield Finding("programs", Level.FAIL, f"no {', no '.join(programs)} on PATH: rules can be neither "
                      "installed nor looked at",
                      "apt install iptables; where it is there already: PATH=$PATH:/usr/sbin nfqdpi doctor")
    for check in (*(() if lacking else _CHECKS), *upkeep.CHECKS):
        if programs and check in netfilter.BY_IPTABLES | offloads.BY_IPTABLES:
            continue
        try:
            yield from check(config)
        except (OSError, FirewallError, PluginError) as error:
            what = f"{check.__module__.rpartition('.')[2]} {check.__name__.lstrip('_')}".removesuffix(" examine")
            yield Finding(what, Level.FAIL, f"could not be looked at: {error}")
