"""Hearing a socket without waking up for each of its messages: to wake up costs more than to read some."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol


class Ear(Protocol):
    """A socket, or what has one; negative: it is closed."""

    def fileno(self) -> int: ...


def listen(ear: Ear, hear: Callable[[], bool], gather: float) -> None:
    """Call ``hear`` when something has come, and until the ear is closed again and again, with ``gather`` seconds in
    between; where it says that it has not heard all, others only have their turn."""
    loop = asyncio.get_running_loop()

    def come() -> None:
        loop.remove_reader(ear.fileno())
        more = False
        try:
            more = hear()
        finally:
            loop.call_later(0.0 if more else gather, wait)

    def wait() -> None:
        if ear.fileno() >= 0:
            loop.add_reader(ear.fileno(), come)

    wait()
