"""A moment on both clocks, and what the kernel thinks of its own."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

_TIMEX = 208  # bytes of struct timex on 64-bit machines; a 32-bit one's is shorter (linux/timex.h)
_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronized


@dataclass(slots=True, init=False)
class Moment:
    """Seconds: of the ``wall`` clock since 1970, and of the ``steady`` one that nobody sets."""

    wall: float
    steady: float

    def __init__(self, wall: float, steady: float) -> None:
        self.wall, self.steady = wall, steady


def synchronized() -> bool:
    """True where somebody keeps the clock right: NTP, PTP or whoever calls adjtimex(2). Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    state = libc.adjtimex(ctypes.create_string_buffer(_TIMEX))  # all zero: nothing is to be changed
    if state < 0:
        raise OSError(ctypes.get_errno(), "adjtimex")
    return bool(state != _TIME_ERROR)
