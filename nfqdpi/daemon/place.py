"""One queue number, and how its worker does."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path
from time import monotonic

from nfqdpi.daemon.counters import VERDICTS, Counters
from nfqdpi.kernel.queues import Queue

START = 5.0  # s that a worker may take to own its queue
_HANG = 1.5  # s without a heartbeat, of which there are two a second, after which a worker is taken for hung
_SHORT_LIFE = 5.0  # s; a worker that dies younger waits longer for its successor each time, up to this long
_MANY = 3  # short lives in a row, which are no accident any more
_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")


class Place:
    """One queue number and whoever works there: the counters stay when the worker is replaced."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.counters = Counters()
        self.pid = 0  # 0: nobody
        self.channel: socket.socket | None = None
        self.starts = 0
        self.ready = asyncio.Event()  # the worker owns its queue, or has ended
        self.failure = ""  # why it does not
        self.told = 0  # events, by all workers here
        self.policy = 0  # the number of the one that the worker decides by
        self.port = 0  # the netlink port that the queue was bound by; 0: not seen yet
        self.left_out: list[str] = []  # plugins that the worker does without for now
        self.retired = 0  # the worker before, which still judges what waits; 0: nobody
        self._born = 0.0
        self._short_lives = 0
        self._deaf = 0  # looks in a row that found the queue not to be the worker's
        self._beat = 0  # the last heartbeat that was seen, in ms; when that was, and what the worker had run by then
        self._seen = self._ran = 0.0

    def born(self, pid: int, channel: socket.socket, policy: int) -> None:
        """A new worker."""
        self.pid, self.channel, self.policy, self._born = pid, channel, policy, monotonic()
        self.port = self._deaf = 0
        self.starts += 1
        self.failure = ""
        self.left_out = []
        self.ready.clear()

    def pause(self) -> float:
        """Seconds until the next start: none after a decent life or a first short one, then doubling."""
        self._short_lives = self._short_lives + 1 if self.young else 0
        return min(_SHORT_LIFE, 0.05 * 2**self._short_lives) if self._short_lives > 1 else 0.0

    @property
    def young(self) -> bool:
        """The worker has not lived for long, or did not."""
        return monotonic() - self._born < _SHORT_LIFE

    @property
    def trouble(self) -> str:
        """That workers here end one after the other; "" while the one that there is lives long enough."""
        if self._short_lives < _MANY or (self.pid and not self.young):
            return ""
        return (f"queue {self.number}: {self._short_lives} workers in a row ended within {_SHORT_LIFE:.0f} s of their "
                "start")

    @property
    def memory(self) -> int:
        """Bytes that the worker has for itself: lists and the program are mapped, and shared."""
        try:
            _, resident, shared, *_ = Path(f"/proc/{self.pid}/statm").read_text().split()
        except OSError:  # there is none any more
            return 0
        return (int(resident) - int(shared)) * _PAGE

    @property
    def silence(self) -> float:
        """Seconds since the worker's last heartbeat; of one that could run, those in which it had no processor do not
        count: a busy machine has kept it waiting, and a successor would wait as long."""
        now, beat, (runnable, ran) = monotonic(), self.counters["heartbeat_ms"], self._run()
        if beat != self._beat:
            self._beat, self._seen, self._ran = beat, now, ran
        waited = now - self._seen - (ran - self._ran) if runnable else 0.0
        return now - beat / 1000 - max(0.0, waited)

    def _run(self) -> tuple[bool, float]:
        """Whether the worker runs or could, and for how many seconds a processor has been its own (proc(5): state,
        utime and stime; schedstat tells of a wait only when it is over)."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:  # there is none any more
            return False, 0.0
        return fields[0] == "R", (int(fields[11]) + int(fields[12])) / _TICKS

    @property
    def hangs(self) -> bool:
        """The worker does not turn round any more: it is stopped, loops, or is stuck in a plugin."""
        return bool(self.pid) and self.silence > (_HANG if self.ready.is_set() else START)

    def lose_untold(self) -> int:
        """Count as lost the events that no worker tells any more; how many there are. While one lives, none is."""
        if self.pid or self.retired:
            return 0
        untold = sum(map(self.counters.__getitem__, VERDICTS)) - self.told - self.counters["events_lost"]
        self.counters["events_lost"] += untold
        return untold

    def deaf(self, queue: Queue | None) -> bool:
        """The kernel gives the queue's packets to nobody, or to another socket than at first; asked twice in a row: the
        queue of a worker that ends is gone a moment before the worker."""
        if queue is not None and not self.port:
            self.port = queue.portid
        self._deaf = 0 if queue is not None and queue.portid == self.port else self._deaf + 1
        return self._deaf > 1

    def kill(self) -> None:
        """End the worker at once, if there is one, and the one before."""
        for pid in filter(None, (self.pid, self.retired)):
            os.kill(pid, signal.SIGKILL)
