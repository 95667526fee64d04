"""How long a plugin may take for a packet in a worker, and how much memory."""

from __future__ import annotations

import resource
import signal
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from types import FrameType

from nfqdpi.core.plugin import Overrun

_TICK = 0.005  # s; a plugin has its patience for a packet, and at most so long beyond


class Turns:
    """The clock that interrupts a plugin. ``running``: the plugin whose code a frame is, "" where it is none's, and the
    seconds that it has for a packet; ``packets``: how many there were so far."""

    def __init__(self, running: Callable[[FrameType | None], tuple[str, float]], packets: Callable[[], int]) -> None:
        self._running = running
        self._packets = packets
        self._ticking = self._resting = False
        self._at = ("", 0)  # whom the last tick found at which packet
        self._own = self._spent = 0.0  # what of the time was ours by then, and how much went to them since they began

    def start(self) -> None:
        """Have it tick."""
        signal.signal(signal.SIGALRM, self._tick)
        self.go_on()

    def stop(self) -> None:
        """A plugin has other things to do than packets: it is loaded."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        self._ticking = False

    def rest(self) -> None:
        """There is nothing to do: the next tick is the last."""
        self._resting = True

    def go_on(self) -> None:
        """There is again."""
        self._resting = False
        if not self._ticking:
            self._ticking = True
            signal.setitimer(signal.ITIMER_REAL, _TICK, _TICK)

    def _tick(self, _: int, frame: FrameType | None) -> None:
        """A plugin that has kept a packet for too long is interrupted. Time in which others had the CPU is not its own:
        the kernel tells how long other processes had it, but of other machines nobody does, so a tick counts no more
        than its time, however late it is."""
        if self._resting:
            self.stop()
            return
        name, patience = self._running(frame)
        if not name:
            return
        at, own = (name, self._packets()), monotonic() - waited_for_cpu()
        self._spent = self._spent + min(own - self._own, _TICK) if at == self._at else 0.0
        self._at, self._own = at, own
        if self._spent > patience - _TICK / 2:
            raise Overrun(f"more than {patience * 1000:.0f} ms for a packet")


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
