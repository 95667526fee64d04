"""How long a plugin may take for a packet in a worker, and how much memory."""

from __future__ import annotations

import resource
import signal
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from types import FrameType

from nfqdpi.core.plugin import Overrun

_TICK = 0.05  # s; a plugin has at least so long for a packet, and at most twice


class Turns:
    """The clock that interrupts a plugin. ``running``: the plugin whose code a frame is, "" where it is none's;
    ``packets``: how many there were so far."""

    def __init__(self, running: Callable[[FrameType | None], str], packets: Callable[[], int]) -> None:
        self._running = running
        self._packets = packets
        self._looked, self._began = 0, 0.0  # the packet that a plugin had when the clock ticked, and since when

    def start(self) -> None:
        """Have it tick."""
        signal.signal(signal.SIGALRM, self._tick)
        signal.setitimer(signal.ITIMER_REAL, _TICK, _TICK)

    def stop(self) -> None:
        """A plugin has other things to do than packets: it is loaded."""
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _tick(self, _: int, frame: FrameType | None) -> None:
        """A plugin that has kept a packet for a tick is interrupted. Time in which others had the CPU is not its own.
        """
        if not self._running(frame):
            return
        had, packets = monotonic() - waited_for_cpu(), self._packets()
        if packets != self._looked:
            self._looked, self._began = packets, had
        elif had - self._began > _TICK / 2:
            raise Overrun(f"more than {_TICK * 1000:.0f} ms for a packet")


def waited_for_cpu() -> float:
    """Seconds that this process has waited for a CPU in its life (Documentation/scheduler/sched-stats.rst)."""
    try:
        return int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, ValueError):
        return 0.0  # a kernel without CONFIG_SCHED_INFO


def limit_memory(more: int) -> None:
    """This process may take so many bytes beside what it has; then whoever asks for one gets MemoryError."""
    used = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_DATA, (used + more, resource.RLIM_INFINITY))
