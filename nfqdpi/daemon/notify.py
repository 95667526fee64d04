"""sd_notify(3): tells systemd, where it started us, how we are. Elsewhere it does nothing."""

from __future__ import annotations

import os
import socket


def notify(state: str) -> None:
    """Send e.g. "READY=1". Never raises: nobody's traffic depends on it."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]  # the abstract namespace
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as systemd:
            systemd.sendto(state.encode(), address)
    except OSError:
        pass
