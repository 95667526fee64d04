"""sd_notify(3): tells systemd, where it started us, how we are. Elsewhere it does nothing."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from time import CLOCK_MONOTONIC, clock_gettime_ns


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


def reloading() -> None:
    """A reload begins; "READY=1" ends it, whether or not anything came of it."""
    notify(f"RELOADING=1\nMONOTONIC_USEC={clock_gettime_ns(CLOCK_MONOTONIC) // 1000}")


async def stay_alive(well: Callable[[], bool]) -> None:
    """Feed systemd's watchdog for ever, twice within its patience, as often as all is ``well``. Where it has set none,
    this is done at once."""
    if (patience := _patience()) is None:
        return
    while True:
        if well():
            notify("WATCHDOG=1")
        await asyncio.sleep(patience / 2)


def _patience() -> float | None:
    """Seconds of silence after which systemd kills us (sd_watchdog_enabled(3)); None: it does not listen to us."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 1e6 if microseconds.isdecimal() and int(microseconds) else None
