"""The daemon: workers first, then the rules, then ready; and on SIGTERM the same backwards.

With the rules gone first nothing new is queued, so the workers judge what waits and leave nothing behind.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import defaultdict
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from time import monotonic, time
from typing import Any

import msgspec

from nfqdpi import __version__, plugins
from nfqdpi.build import compiled
from nfqdpi.config import Config, ConfigError
from nfqdpi.core.observer import Block
from nfqdpi.core.verdict import Verdict
from nfqdpi.daemon.advisers import Advisers
from nfqdpi.daemon.control import Control
from nfqdpi.daemon.domains import Domains
from nfqdpi.daemon.events import ACTION_OF
from nfqdpi.daemon.exposition import Snapshot, exposition
from nfqdpi.daemon.governor import Governor
from nfqdpi.daemon.guard import Guard
from nfqdpi.daemon.makings import Makings
from nfqdpi.daemon.metrics import Metrics
from nfqdpi.daemon.notify import notify, reloading, stay_alive
from nfqdpi.daemon.observers import Observers
from nfqdpi.daemon.older import settle_older_flows
from nfqdpi.daemon.plugin_files import PluginFiles
from nfqdpi.daemon.pool import Pool
from nfqdpi.daemon.record import Decided, Record, Row
from nfqdpi.daemon.rules import ruleset
from nfqdpi.daemon.tally import Tallies
from nfqdpi.daemon.volume import Volume
from nfqdpi.events.model import notice
from nfqdpi.events.writer import EventLog
from nfqdpi.kernel import firewall, queues
from nfqdpi.kernel.ctnetlink import text


class Supervisor:
    """Runs the gateway in the network namespace that it was started in. ``read`` gives the configuration as the files
    have it later on; ``say`` is given a line for the operator."""

    def __init__(self, config: Config, *, read: Callable[[], Config], with_rules: bool,
                 say: Callable[[str], None]) -> None:
        self._config = config
        plugins.readers(config.plugin)  # here and now: whatever happens to their files, every worker inherits them
        self._plugin_files = PluginFiles()
        self._guard = Guard(ruleset(config), self._tell) if with_rules else None
        self._say = say
        self._events = EventLog(config)
        self._pool = Pool(config, self._plugin_files, self._take, self._tell)
        self._record = Record()
        self._domains = Domains()
        self._tallies = Tallies()
        self._observers = Observers(self._tell, self._block)
        self._advisers = Advisers(self._pool.lines, self._tell)
        self._volume = Volume(self._record, config.metrics.domains, self._tell, self._observers.ended,
                              lambda: self._observers.wanted)
        self._governor = Governor(config, self._record, read=self._read, govern=self._govern, say=say)
        self._read_files = read
        self._tasks: set[asyncio.Task[None]] = set()
        self._decoder = msgspec.msgpack.Decoder(list[Row])
        self._started = monotonic()
        self._control = Control(config.control, {
            "status": self._status, "stats": self._stats, "flows": self._record.tell, "domains": self._by_domain,
            "top": self._top, "volume": self._volume.read,
            "reload": self._governor.reload, "by_hand": self._governor.by_hand,
        })
        self._metrics = Metrics(config.metrics.listen, lambda: exposition(
            Snapshot(self._status(), self._stats(), self._tallies, self._volume)))

    async def run(self) -> None:
        """Until SIGTERM or SIGINT; SIGHUP reloads, SIGUSR1 opens the event file anew. Raises PolicyError, PoolError,
        firewall.FirewallError or OSError where it cannot start; nothing is left behind then."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        loop.add_signal_handler(signal.SIGUSR1, self._events.reopen)
        async with AsyncExitStack() as undo:
            undo.callback(self._close_events)
            await self._governor.start()
            undo.push_async_callback(self._pool.stop)
            if self._config.fail.simulate != "no_listener":
                await self._pool.start(self._governor.makings)
            for beside in (self._observers, self._advisers):
                undo.push_async_callback(beside.stop)
                beside.change(self._config)
            undo.callback(self._control.stop)
            await self._control.start()
            if older := settle_older_flows(self._config):
                self._say(f"{older} flows are older than we are: {self._config.inspect.on_start}")
            if self._guard:
                self._refuse_others_rules()
                undo.callback(firewall.remove)
                self._guard.install()
            undo.callback(self._metrics.stop)
            await self._metrics.start()
            for trouble in self._metrics.troubles:
                self._say(trouble)
            guards = [self._guard.keep()] if self._guard else []
            for task in (self._governor.follow(), self._volume.follow(), self._observers.keep(), self._advisers.keep(),
                         stay_alive(self._well), *guards):
                undo.push_async_callback(_ended, asyncio.create_task(task))
            await asyncio.sleep(0)  # they begin: the kernel tells of a flow's end if somebody listens when it begins
            first, last = self._pool.places[0].number, self._pool.places[-1].number
            self._say(f"ready: version {__version__}, pid {os.getpid()}, {self._config.inspect.mode} mode, "
                      f"queue{'s' if last > first else ''} {first}{f'-{last}' if last > first else ''}")
            if self._config.fail.simulate:
                self._say(f"simulating {self._config.fail.simulate}: no flow is judged by the policy")
            notify("READY=1")
            await stop.wait()
            notify("STOPPING=1")

    def _tell(self, kind: str, message: str, count: int = 0) -> None:
        """What befell the gateway: an event, and a line for the operator."""
        self._say(message)
        self._events.write(notice(kind, message, count))

    def _close_events(self) -> None:
        self._events.close()
        if self._events.lost:
            self._say(f"{self._events.lost} events were lost on their way to {', '.join(self._events.names)}")

    def _well(self) -> bool:
        return self._pool.well or self._config.fail.simulate == "no_listener"

    def _hang_up(self) -> None:
        task = asyncio.create_task(self._reload_aloud())
        self._tasks.add(task)  # the loop itself keeps no task alive
        task.add_done_callback(self._tasks.discard)

    async def _reload_aloud(self) -> None:
        """For a signal, which gets no reply."""
        reloading()
        try:
            reply = await self._governor.reload()
        finally:
            notify("READY=1")
        for problem in reply["problems"]:
            self._say(f"not reloaded: {problem}")
        if not reply["problems"]:
            later = f"; only a restart reads {', '.join(reply['restart'])}" if reply["restart"] else ""
            self._say(f"reloaded: {reply['cut']} running flows cut, {reply['freed']} freed{later}")

    def _refuse_others_rules(self) -> None:
        """A namespace has one set of rules: ours in place of a living daemon's would leave that one without traffic."""
        mine = {place.number for place in self._pool.places}
        held = queues.queues()
        for number in sorted(firewall.queue_numbers() - mine & held.keys()):
            raise firewall.FirewallError(
                f"the rules are another daemon's: queue {number} is owned by process {held[number].owner or 'unknown'}")

    def _take(self, rows: bytes, lines: bytes) -> None:
        """What a worker has decided: put on record, counted, and written."""
        found = self._decoder.decode(rows)
        self._observers.decided(len(found), rows)
        self._record.add(rows)
        verdicts: defaultdict[Verdict, list[Decided]] = defaultdict(list)
        for _, decided in found:
            verdicts[decided.verdict].append(decided)
        for verdict, flows in verdicts.items():
            self._tallies.add(ACTION_OF[verdict], flows)
            self._domains.add(ACTION_OF[verdict], [flow.names[0] for flow in flows if flow.names])
        if lines:
            self._events.write(lines)

    def _read(self) -> Config:
        """The configuration as the files have it now, checked by the plugins as they are now. Raises ConfigError."""
        changed = self._plugin_files.refresh()
        try:
            config = self._read_files()
            plugins.readers(config.plugin)
            plugins.observers(config.plugin)
        except (ConfigError, plugins.PluginError) as error:
            self._plugin_files.take_back()
            raise ConfigError(error.problems if isinstance(error, ConfigError) else [str(error)]) from error
        if changed:
            self._observers.renew()
            self._advisers.renew()
        return config

    async def _govern(self, makings: Makings) -> None:
        """Others decide, by other plugins perhaps, which may want other ports."""
        await self._pool.govern(makings)
        self._observers.change(makings.config)
        self._advisers.change(makings.config)
        if self._guard:
            await asyncio.to_thread(self._guard.change, ruleset(makings.config))

    def _block(self, wanted: Block) -> None:
        """An observer asks for a change by hand."""
        task = asyncio.create_task(self._block_aloud(wanted))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _block_aloud(self, wanted: Block) -> None:
        for problem in await self._governor.block(wanted.domain, text(wanted.client), wanted.seconds):
            self._say(f"{wanted.domain} is not blocked for {text(wanted.client)}: {problem}")

    async def _top(self) -> dict[str, Any]:
        return {**self._tallies.read(), "bytes": (await self._volume.read())["name"]}

    async def _by_domain(self) -> dict[str, Any]:
        reply = self._domains.read()
        moved = {row["domain"]: row for row in (await self._volume.read())["domain"]}
        return reply | {"domains": [{**row, **moved.get(row["domain"], {})} for row in reply["domains"]]}

    def _status(self) -> dict[str, Any]:
        kernel = queues.queues()
        now = monotonic()
        return {
            "version": __version__,
            "compiled": compiled(),
            "pid": os.getpid(),
            "uptime_s": round(now - self._started, 1),
            "mode": self._config.inspect.mode,
            "rules": self._guard is not None,
            "limits": self._governor.limits,
            "by_hand": self._governor.sweeping,
            "troubles": self._events.troubles,
            "degraded": [*self._pool.troubles, *self._observers.troubles, *self._advisers.troubles,
                         *self._governor.troubles, *self._metrics.troubles, *self._volume.troubles,
                         *(self._guard.troubles if self._guard else ())],
            "workers": [
                {
                    "queue": place.number,
                    "pid": place.pid or None,
                    "starts": place.starts,
                    "memory_bytes": place.memory,
                    "silent_ms": round(now * 1000) - place.counters["heartbeat_ms"],
                    "owns_queue": place.number in kernel,
                }
                for place in self._pool.places
            ],
        }

    def _stats(self) -> dict[str, Any]:
        workers = {str(place.number): place.counters.read() for place in self._pool.places}
        total = {
            name: sum(one[name] for one in workers.values())
            for name in next(iter(workers.values())) if name not in ("heartbeat_ms", "swap_us")
        }
        total["events_lost"] += self._events.lost
        total["bypassed"] = self._guard.bypassed() if self._guard else 0
        return {
            "time": time(),
            "total": total,
            "queues": {str(place.number): {n: v for n, v in workers[str(place.number)].items() if n != "heartbeat_ms"}
                       for place in self._pool.places},
            "observers": self._observers.read(),
            "advisers": self._advisers.read(),
            "plugin_faults": self._pool.plugin_faults,
            "kernel": [queue._asdict() for number, queue in queues.queues().items() if str(number) in workers],
        }


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
