"""What a forked child has to leave behind before it does its own work."""

from __future__ import annotations

import gc
import os
import signal
import socket
from collections.abc import Callable, Iterable
from typing import NoReturn


def become(kept: Iterable[socket.socket], work: Callable[[], None], failed: Callable[[str], None]) -> NoReturn:
    """The child's whole life. ``kept``: what it keeps of its parent's; ``failed`` is given its last words.

    Nothing of the supervisor's may be touched: its event loop lives on in the parent through shared descriptors, so
    they are closed as numbers, and no object of it may be collected.
    """
    gc.freeze()
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        # A terminal or a service manager signals the whole group; the supervisor decides, rules first.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        low = 3
        for descriptor in sorted(one.fileno() for one in kept):
            os.closerange(low, descriptor)
            low = descriptor + 1
        os.closerange(low, os.sysconf("SC_OPEN_MAX"))
        try:
            work()
            status = 0
        except Exception as error:  # noqa: BLE001  its last words go to the supervisor, whatever they are
            failed(str(error) or type(error).__name__)
    finally:
        os._exit(status)
