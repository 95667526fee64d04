"""The daemon: workers first, then the rules, then ready; and on SIGTERM the same backwards.

With the rules gone first nothing new is queued, so the workers judge what waits and leave nothing behind.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from time import monotonic, time
from typing import Any

import msgspec

from nfqdpi import __version__
from nfqdpi.config import Config
from nfqdpi.daemon.control import Control
from nfqdpi.daemon.events import Event, EventFile
from nfqdpi.daemon.notify import notify
from nfqdpi.daemon.older import settle_older_flows
from nfqdpi.daemon.pool import Pool
from nfqdpi.daemon.rules import ruleset
from nfqdpi.kernel import firewall, queues

_NAMES_REMEMBERED = 65536  # flows whose name and rule `flows` can tell; some 30 MB when full

FlowTuple = tuple[str, int, str, int, str]


class Supervisor:
    """Runs the gateway in the network namespace that it was started in. ``say`` is given a line for the operator."""

    def __init__(self, config: Config, *, with_rules: bool, say: Callable[[str], None]) -> None:
        self._config = config
        self._with_rules = with_rules
        self._say = say
        self._events = EventFile(config.events.file)
        self._pool = Pool(config, self._take_lines, say)
        self._names: dict[FlowTuple, Event] = {}
        self._decoder = msgspec.json.Decoder(Event)
        self._started = monotonic()
        self._control = Control(config.control.socket, {
            "status": self._status, "stats": self._stats, "flows": self._flows,
        })

    async def run(self) -> None:
        """Until SIGTERM, SIGINT or SIGHUP. Raises PoolError, firewall.FirewallError or OSError where it cannot start;
        nothing is left behind then."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, stop.set)
        async with AsyncExitStack() as undo:
            undo.push_async_callback(self._pool.stop)
            if self._config.fail.simulate != "no_listener":
                await self._pool.start()
            undo.callback(self._control.stop)
            await self._control.start()
            if older := settle_older_flows(self._config):
                self._say(f"{older} flows are older than we are: {self._config.inspect.on_start}")
            if self._with_rules:
                self._refuse_others_rules()
                undo.callback(firewall.remove)
                firewall.install(ruleset(self._config))
            first, last = self._pool.places[0].number, self._pool.places[-1].number
            self._say(f"ready: version {__version__}, pid {os.getpid()}, {self._config.inspect.mode} mode, "
                      f"queue{'s' if last > first else ''} {first}{f'-{last}' if last > first else ''}")
            if self._config.fail.simulate:
                self._say(f"simulating {self._config.fail.simulate}: no flow is judged by the policy")
            notify("READY=1")
            await stop.wait()
            notify("STOPPING=1")

    def _refuse_others_rules(self) -> None:
        """A namespace has one set of rules: ours in place of a living daemon's would leave that one without traffic."""
        mine = {place.number for place in self._pool.places}
        held = queues.queues()
        for number in sorted(firewall.queue_numbers() - mine & held.keys()):
            raise firewall.FirewallError(
                f"the rules are another daemon's: queue {number} is owned by process {held[number].owner or 'unknown'}")

    def _take_lines(self, lines: bytes) -> None:
        """Event lines of a worker: remembered for ``flows``, written as the configuration says."""
        wanted = bytearray()
        for line in lines.splitlines(keepends=True):
            event = self._decoder.decode(line)
            key = (event.src_ip, event.src_port, event.dest_ip, event.dest_port, event.proto)
            self._names.pop(key, None)
            self._names[key] = event
            if self._wanted(event):
                wanted += line
        while len(self._names) > _NAMES_REMEMBERED:
            del self._names[next(iter(self._names))]
        if wanted:
            self._events.write(wanted)

    def _wanted(self, event: Event) -> bool:
        match self._config.events.verdicts:
            case "all":
                return True
            case "blocked":
                return event.verdict.action == "block"
            case "none":
                return False

    def _status(self) -> dict[str, Any]:
        kernel = queues.queues()
        now = monotonic()
        return {
            "version": __version__,
            "pid": os.getpid(),
            "uptime_s": round(now - self._started, 1),
            "mode": self._config.inspect.mode,
            "rules": self._with_rules,
            "workers": [
                {
                    "queue": place.number,
                    "pid": place.pid or None,
                    "starts": place.starts,
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
            for name in next(iter(workers.values())) if name != "heartbeat_ms"
        }
        total["events_lost"] += self._events.lost
        total["bypassed"] = firewall.bypassed() if self._with_rules else 0
        return {
            "time": time(),
            "total": total,
            "queues": {str(place.number): {n: v for n, v in workers[str(place.number)].items() if n != "heartbeat_ms"}
                       for place in self._pool.places},
            "kernel": [queue._asdict() for number, queue in queues.queues().items() if str(number) in workers],
        }

    def _flows(self) -> dict[str, Any]:
        """Name, verdict and rule of the flows decided last, by "src sport dst dport proto"."""
        return {"flows": {
            " ".join(map(str, key)): [next(iter(event.names), None), event.app_proto, event.verdict.reason,
                                      event.verdict.rule]
            for key, event in self._names.items()
        }}
