"""Flows that were there before the daemon: let go, cut, or left to be inspected (``[inspect] on_start``)."""

from __future__ import annotations

import socket

from nfqdpi.config import Config
from nfqdpi.core.verdict import Verdict
from nfqdpi.kernel import conntrack
from nfqdpi.kernel.netlink import Netlink

_UNDECIDED = (Verdict.UNSEEN, Verdict.INSPECT, Verdict.CONFIRM)
_FATES = {"accelerate": Verdict.ACCELERATE, "kill": Verdict.BLOCK}


def settle_older_flows(config: Config) -> int:
    """Mark every undecided TCP flow to one of our ports; how many there were. Flows that an earlier run has decided
    keep their verdicts. Raises OSError."""
    fate = _FATES.get(config.inspect.on_start)
    if fate is None:
        return 0
    older = [
        entry
        for verdict in _UNDECIDED
        for entry in conntrack.dump(config.field, verdict)
        if entry.orig.proto == socket.IPPROTO_TCP and entry.orig.dport in config.queue.ports
    ]
    with Netlink() as kernel:
        return conntrack.Conntrack(kernel).set_marks(older, config.field, fate)
