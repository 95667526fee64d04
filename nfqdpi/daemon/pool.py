"""The worker processes: forked, watched, replaced."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

from nfqdpi.config import Config
from nfqdpi.daemon import channel as talk
from nfqdpi.daemon.channel import Kind, Parcel
from nfqdpi.daemon.counters import Counters
from nfqdpi.daemon.makings import Makings
from nfqdpi.daemon.worker import Worker

_START = 5.0  # s that a worker may take to own its queue
_HANG = 2.0  # s without a heartbeat after which a worker is taken for hung
_STOP = 2.0  # s that a worker may take to end when asked
_SHORT_LIFE = 5.0  # s; a worker that dies younger waits longer for its successor each time, up to this long
_ANSWER = 2.0  # s that a worker may take to decide by another policy
_LOOK = 0.002  # s between two looks at whether it does


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
        self.policy = 0  # the number of the one that the worker decides by
        self._born = 0.0
        self._short_lives = 0

    def born(self, pid: int, channel: socket.socket, policy: int) -> None:
        """A new worker."""
        self.pid, self.channel, self.policy, self._born = pid, channel, policy, monotonic()
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

    A fork, not an exec: a worker starts in milliseconds, and has exactly the configuration that the supervisor has,
    whatever the file says by now.
    """

    def __init__(self, config: Config, lines: Callable[[bytes], None], say: Callable[[str], None]) -> None:
        self.places = [Place(config.queue.first + n) for n in range(config.worker_count)]
        self._makings = Makings(config)
        self._number = 0  # of these makings
        self._lines = lines
        self._say = say
        self._stopping = False
        self._watching: asyncio.Task[None] | None = None

    @property
    def well(self) -> bool:
        """True while every queue has a worker that answers."""
        alive = monotonic() - _HANG
        return all(place.pid and place.ready.is_set() and place.counters["heartbeat_ms"] / 1000 > alive
                   for place in self.places)

    async def start(self, makings: Makings) -> None:
        """All workers, each owning its queue. Raises PoolError where one cannot."""
        self._makings = makings
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

    async def govern(self, makings: Makings) -> None:
        """Once this returns, every decision is made by a policy of these makings, and the events of all decisions
        before have been heard. A worker that does not answer is killed: its successor has the new ones."""
        self._makings = makings
        self._number += 1
        parcel = Parcel(self._number, makings)
        for place in self.places:
            if place.pid and place.channel is not None:
                with suppress(OSError):  # it will not answer, then
                    parcel.send(place.channel)
        parcel.close()
        deadline = monotonic() + _ANSWER
        while late := [place for place in self.places if place.pid and place.policy < self._number]:
            if monotonic() > deadline:
                break
            await asyncio.sleep(_LOOK)
        for place in late:
            self._say(f"queue {place.number}: worker {place.pid} does not take the new policy; killed")
            place.kill()

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
            _become_worker(place, self._makings, theirs)
        theirs.close()
        place.born(pid, ours, self._number)
        loop = asyncio.get_running_loop()
        loop.add_reader(ours, self._hear, place, ours)
        death = os.pidfd_open(pid)
        loop.add_reader(death, self._bury, place, ours, death)

    def _hear(self, place: Place, channel: socket.socket) -> bool:
        """One message of a worker. False: there is none."""
        try:
            message = channel.recv(talk.LONGEST)
        except OSError:
            return False
        if not message:
            asyncio.get_running_loop().remove_reader(channel)
            return False
        content = message[1:]
        match Kind(message[:1]):
            case Kind.READY:
                place.ready.set()
            case Kind.LINES:
                self._lines(content)
            case Kind.GOVERNED:
                place.policy = talk.number_of(content)
            case Kind.FAILED:
                place.failure = content.decode()
        return True

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


def _become_worker(place: Place, makings: Makings, channel: socket.socket) -> None:
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
            Worker(place.number, makings, place.counters, channel).run()
            status = 0
        except Exception as error:  # noqa: BLE001  its last words go to the supervisor, whatever they are
            channel.send(Kind.FAILED(str(error).encode() or type(error).__name__.encode()))
    finally:
        os._exit(status)
