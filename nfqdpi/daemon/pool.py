"""The worker processes: forked, watched, replaced."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable
from time import monotonic

from nfqdpi.config import Config
from nfqdpi.daemon.counters import Counters
from nfqdpi.daemon.worker import READY, Worker

_START = 5.0  # s that a worker may take to own its queue
_HANG = 2.0  # s without a heartbeat after which a worker is taken for hung
_STOP = 2.0  # s that a worker may take to end when asked
_SHORT_LIFE = 5.0  # s; a worker that dies younger waits longer for its successor each time, up to this long
_MESSAGE = 1 << 18  # bytes; more than a worker puts into one


class PoolError(Exception):
    """The workers cannot start; the message says why."""


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
        self._born = 0.0
        self._short_lives = 0

    def born(self, pid: int, channel: socket.socket) -> None:
        """A new worker."""
        self.pid, self.channel, self._born = pid, channel, monotonic()
        self.starts += 1
        self.failure = ""
        self.ready.clear()

    def pause(self) -> float:
        """Seconds until the next start: none after a decent life or a first short one, then doubling."""
        self._short_lives = self._short_lives + 1 if monotonic() - self._born < _SHORT_LIFE else 0
        return min(_SHORT_LIFE, 0.05 * 2**self._short_lives) if self._short_lives > 1 else 0.0

    def kill(self) -> None:
        """End the worker at once, if there is one."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)


class Pool:
    """One worker a queue. ``lines`` gets the event lines of all of them, ``say`` what an operator should read.

    A fork, not an exec: a worker starts in milliseconds, shares the compiled policy's memory, and has exactly the
    configuration that the supervisor has, whatever the file says by now.
    """

    def __init__(self, config: Config, lines: Callable[[bytes], None], say: Callable[[str], None]) -> None:
        self.places = [Place(config.queue.first + n) for n in range(config.worker_count)]
        self._config = config
        self._lines = lines
        self._say = say
        self._stopping = False
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """All workers, each owning its queue. Raises PoolError where one cannot."""
        for place in self.places:
            self._fork(place)
        for place in self.places:
            try:
                await asyncio.wait_for(place.ready.wait(), _START)
            except TimeoutError:
                place.failure = f"not ready after {_START:.0f} s"
            if place.failure:
                raise PoolError(f"queue {place.number}: {place.failure}")
        self._watching = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Ask every worker to judge what waits and go; kill those that do not."""
        self._stopping = True
        if self._watching is not None:
            self._watching.cancel()
        for place in self.places:
            if place.pid and place.channel is not None:
                place.channel.shutdown(socket.SHUT_WR)  # the worker reads the end, and still tells what it has
        deadline = monotonic() + _STOP
        while any(place.pid for place in self.places):
            await asyncio.sleep(0.01)
            if monotonic() > deadline:
                for place in self.places:
                    place.kill()

    def _fork(self, place: Place) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        place.counters["heartbeat_ms"] = round(monotonic() * 1000)
        sys.stderr.flush()
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            _become_worker(place, self._config, theirs)
        theirs.close()
        place.born(pid, ours)
        loop = asyncio.get_running_loop()
        loop.add_reader(ours, self._hear, place, ours)
        death = os.pidfd_open(pid)
        loop.add_reader(death, self._bury, place, ours, death)

    def _hear(self, place: Place, channel: socket.socket) -> bool:
        """One message of a worker: READY, events, or why it cannot start. False: there is none."""
        try:
            message = channel.recv(_MESSAGE)
        except OSError:
            return False
        if message == READY:
            place.ready.set()
        elif message.startswith(b"{"):
            self._lines(message)
        elif message:
            place.failure = message.decode()
        else:
            asyncio.get_running_loop().remove_reader(channel)
        return bool(message)

    def _bury(self, place: Place, channel: socket.socket, death: int) -> None:
        """A worker has ended: read its last words, start the next."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(death)
        os.close(death)
        _, status = os.waitpid(place.pid, 0)
        while self._hear(place, channel):
            pass
        loop.remove_reader(channel)
        channel.close()
        pid, place.pid = place.pid, 0
        how = f"was killed by signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else "ended by itself"
        last_words = f": {place.failure}" if place.failure else ""
        place.failure = place.failure or f"the worker {how}"
        started = place.ready.is_set()
        place.ready.set()
        if not self._stopping and (started or place.starts > 1):
            pause = place.pause()
            self._say(f"queue {place.number}: worker {pid} {how}{last_words}; next one in {pause:.1f} s")
            loop.call_later(pause, self._replace, place)

    def _replace(self, place: Place) -> None:
        if not self._stopping:
            self._fork(place)

    async def _watch(self) -> None:
        """Kill workers whose heart has stopped: stopped, looping, or stuck in a plugin."""
        while True:
            await asyncio.sleep(_HANG / 4)
            now = monotonic()
            for place in self.places:
                silent = now - place.counters["heartbeat_ms"] / 1000
                if place.pid and silent > _HANG:
                    self._say(f"queue {place.number}: worker {place.pid} has hung for {silent:.1f} s; killed")
                    place.kill()


def _become_worker(place: Place, config: Config, channel: socket.socket) -> None:
    """The child's whole life; does not return. Nothing of the supervisor's may be touched: its event loop lives on in
    the parent through shared descriptors, so they are closed as numbers, and no object of it may be collected."""
    gc.freeze()
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        # A terminal or a service manager signals the whole group; the supervisor decides, rules first.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        low = 3
        os.closerange(low, channel.fileno())
        os.closerange(channel.fileno() + 1, os.sysconf("SC_OPEN_MAX"))
        try:
            Worker(place.number, config, place.counters, channel).run()
            status = 0
        except Exception as error:  # noqa: BLE001  its last words go to the supervisor, whatever they are
            channel.send(str(error).encode() or type(error).__name__.encode())
    finally:
        os._exit(status)
