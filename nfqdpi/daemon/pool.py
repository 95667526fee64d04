"""The worker processes: forked, watched, replaced.

A worker is killed when its heart has stopped or the kernel no longer knows its queue, and retired when it has grown too
big. A retired one judges what waits; its successor is ready by then, and takes the queue in the moment it is free.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial
from mmap import mmap
from time import monotonic

from nfqdpi.config import Config
from nfqdpi.core import known, units
from nfqdpi.core.units import UnitTable
from nfqdpi.daemon import channel as talk
from nfqdpi.daemon.channel import Kind, Parcel, PluginNews
from nfqdpi.daemon.forked import become
from nfqdpi.daemon.gathering import listen
from nfqdpi.daemon.makings import Makings
from nfqdpi.daemon.place import START, Place
from nfqdpi.daemon.plugin_files import PluginFiles
from nfqdpi.daemon.worker import Worker
from nfqdpi.kernel import queues

_WATCH = 0.25  # s between two looks at all of them: one that hangs has a successor within 2 s
_STOP = 2.0  # s that a worker may take to end when asked
_LOOK = 0.002  # s between two looks at whether all decide by another policy
_GATHER = 0.05  # s in which messages of a worker gather
_AT_A_TIME = 16  # of them; some milliseconds


class PoolError(Exception):
    """The workers cannot start; the message says why."""


class Pool:
    """One worker a queue, and for each a line to the advisers' process, whose ends ``lines`` are. ``files``: of the
    plugins that are loaded. ``take`` gets what they have decided, as rows and
    lines, ``tell`` what befell one: kind, message and how many it was about, if any.

    A fork, not an exec: a worker starts in milliseconds, and has exactly the configuration that the supervisor has,
    and the plugins that it has loaded, whatever the files say by now.
    """

    def __init__(self, config: Config, files: PluginFiles, take: Callable[[bytes, bytes], None],
                 tell: Callable[[str, str, int], None]) -> None:
        self.places = [Place(config.queue.first + n) for n in range(config.worker_count)]
        self._makings = Makings(config)
        self._names = mmap(-1, known.SIZE)  # what clients were told outlives a worker
        self._units = mmap(-1, units.SIZE * len(self.places))  # and so does which flow a unit began on
        # Whoever works there, or advises, goes on with the line of the one before.
        lines = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in self.places]
        self._lines = {place: ours for place, (ours, _) in zip(self.places, lines, strict=True)}
        self.lines = [theirs for _, theirs in lines]
        self._number = 0  # of these makings
        self._files = files
        self._take = take
        self._tell = tell
        self.plugin_faults: dict[str, int] = {}  # by the plugins' names
        self._most_memory = config.service.worker_memory
        self._stopping = False
        self._watching: asyncio.Task[None] | None = None

    @property
    def well(self) -> bool:
        """True while every queue has a worker that answers."""
        return all(place.pid and place.ready.is_set() and not place.hangs for place in self.places)

    @property
    def troubles(self) -> list[str]:
        """What is wrong now with workers, a line each."""
        return [*(place.trouble for place in self.places if place.trouble),
                *(f"queue {place.number}: plugin {name!r} is left out: it has gone wrong too often"
                  for place in self.places for name in place.left_out)]

    async def start(self, makings: Makings) -> None:
        """All workers, each owning its queue. Raises PoolError where one cannot."""
        self._makings = makings
        for place in self.places:
            self._fork(place)
        for place in self.places:
            try:
                await asyncio.wait_for(place.ready.wait(), START)
            except TimeoutError:
                place.failure = f"not ready after {START:.0f} s"
            if place.failure:
                raise PoolError(f"queue {place.number}: {place.failure}")
        self._watching = asyncio.create_task(self._watch())

    async def govern(self, makings: Makings) -> None:
        """Once this returns, every decision is made by a policy of these makings, and the events of all decisions
        before have been heard. One that hangs is replaced meanwhile, as always: its successor has the new ones."""
        self._makings = makings
        self._number += 1
        parcel = Parcel(self._number, makings)
        for place in self.places:
            if place.pid and place.channel is not None:
                try:
                    parcel.send(place.channel)
                except OSError:  # it listens no more
                    place.kill()
        parcel.close()
        while late := [place for place in self.places if place.pid and place.policy < self._number]:
            await asyncio.sleep(_LOOK)
            for place in late:
                if place.channel is not None:
                    self._hear_some(place, place.channel)

    async def stop(self) -> None:
        """Ask every worker to judge what waits and go; kill those that do not."""
        self._stopping = True
        if self._watching is not None:
            self._watching.cancel()
        for place in self.places:
            if place.pid and place.channel is not None:
                place.channel.shutdown(socket.SHUT_WR)  # the worker reads the end, and still tells what it has
        deadline = monotonic() + _STOP
        while any(place.pid or place.retired for place in self.places):
            await asyncio.sleep(0.01)
            if monotonic() > deadline:
                for place in self.places:
                    place.kill()

    def _fork(self, place: Place) -> None:
        ours, theirs = talk.pair()
        place.counters["heartbeat_ms"] = round(monotonic() * 1000)
        sys.stderr.flush()
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            patience = START if place.retired else 0.0  # the one before may keep the queue for so long
            line = self._lines[place]
            become((theirs, line), lambda: Worker(place.number, self._makings, place.counters, theirs, line,
                                                  self._names, UnitTable(self._units, self.places.index(place)),
                                                  self._files, patience=patience).run(),
                   lambda words: theirs.sendall(Kind.FAILED(words.encode())))
        theirs.close()
        place.born(pid, ours, self._number)
        loop = asyncio.get_running_loop()
        listen(ours, partial(self._hear_some, place, ours), _GATHER)
        death = os.pidfd_open(pid)
        loop.add_reader(death, self._bury, place, pid, ours, death)

    def _hear_some(self, place: Place, channel: socket.socket) -> bool:
        """Messages of a worker. False: these were all."""
        return all(self._hear(place, channel) for _ in range(_AT_A_TIME))

    def _hear(self, place: Place, channel: socket.socket) -> bool:
        """One message of a worker. False: there is none."""
        if not (message := talk.heard(channel)):
            return False
        content = message[1:]
        match Kind(message[:1]):
            case Kind.READY:
                place.counters["heartbeat_ms"] = round(monotonic() * 1000)  # its first is yet to come
                place.ready.set()
            case Kind.DECIDED:
                count, rows, lines = talk.decided_of(content)
                place.told += count
                self._take(rows, lines)
            case Kind.GOVERNED:
                place.policy = talk.number_of(content)
            case Kind.PLUGINS:
                self._note(place, PluginNews.read(content))
            case Kind.FAILED:
                place.failure = content.decode()
        return True

    def _note(self, place: Place, news: PluginNews) -> None:
        """Plugins have gone wrong, or have been tried again."""
        for name, count in news.faults.items():
            self.plugin_faults[name] = self.plugin_faults.get(name, 0) + count
        for name in sorted(set(news.left_out) - set(place.left_out)):
            self._tell("plugin_left_out", f"queue {place.number}: plugin {name!r} has gone wrong too often and is left "
                                          f"out for a while; the last time: {news.words}", 0)
        place.left_out = news.left_out

    def _bury(self, place: Place, pid: int, channel: socket.socket, death: int) -> None:
        """A worker has ended: read its last words, start the next."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(death)
        os.close(death)
        _, status = os.waitpid(pid, 0)
        while self._hear(place, channel):
            pass
        loop.remove_reader(channel)
        channel.close()
        if retired := pid == place.retired:
            place.retired = 0
        else:
            place.pid = 0
        if lost := place.lose_untold():
            self._tell("events_lost", f"{lost} events are missing here: worker {pid} had not told them yet", lost)
        if retired:
            return
        how = f"was killed by signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else "ended by itself"
        last_words = f": {place.failure}" if place.failure else ""
        place.failure = place.failure or f"the worker {how}"
        started = place.ready.is_set()
        place.ready.set()
        if not self._stopping and (started or place.starts > 1):
            pause = place.pause()
            self._tell("worker_ended",
                       f"queue {place.number}: worker {pid} {how}{last_words}; next one in {pause:.1f} s", 0)
            loop.call_later(pause, self._replace, place)

    def _replace(self, place: Place) -> None:
        if not self._stopping:
            self._fork(place)

    def _retire(self, place: Place) -> None:
        """Have the worker judge what waits and end, and its successor take over then."""
        if place.channel is not None:
            place.retired = place.pid
            place.channel.shutdown(socket.SHUT_WR)
            self._fork(place)
            asyncio.get_running_loop().call_later(_STOP, self._expel, place, place.retired)

    def _expel(self, place: Place, pid: int) -> None:
        if place.retired == pid:
            os.kill(pid, signal.SIGKILL)

    async def _watch(self) -> None:
        """Replace workers that hang, whose queue has died, or that have grown too big."""
        while True:
            await asyncio.sleep(_WATCH)
            try:
                kernel = queues.queues()
            except OSError:  # nobody has shown it to us (queues.show_to)
                kernel = None
            for place in self.places:
                who = f"queue {place.number}: worker {place.pid}"
                if place.hangs:
                    self._tell("worker_hung", f"{who} has hung for {place.silence:.1f} s; killed", 0)
                    place.kill()
                elif not place.pid or not place.ready.is_set() or place.retired:
                    pass  # it begins, or ends
                elif kernel is not None and place.deaf(kernel.get(place.number)):
                    self._tell("queue_lost", f"{who} lives, but its queue is no longer its own; killed", 0)
                    place.kill()
                elif self._most_memory and not place.young and (memory := place.memory) > self._most_memory:
                    self._tell("worker_memory", f"{who} has grown to {memory >> 20} MB; it is being replaced", 0)
                    self._retire(place)
