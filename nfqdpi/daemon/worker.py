"""A worker: one process, one queue, one engine. It judges, counts and tells; everything slow is the supervisor's."""

from __future__ import annotations

import resource
import select
import signal
import socket
from mmap import mmap
from pathlib import Path
from time import monotonic, sleep, time
from types import FrameType

import msgspec

from nfqdpi import assemble, plugins
from nfqdpi.core.decision import Action, Decision, Judgement, Outcome
from nfqdpi.core.known import KnownTable
from nfqdpi.core.packet import TCP
from nfqdpi.core.plugin import Overrun
from nfqdpi.core.units import UnitTable
from nfqdpi.core.verdict import Reason, Verdict
from nfqdpi.daemon import channel as talk
from nfqdpi.daemon.breaker import Breaker
from nfqdpi.daemon.channel import Kind, PluginNews
from nfqdpi.daemon.counters import VERDICTS, Counters
from nfqdpi.daemon.events import event
from nfqdpi.daemon.makings import Makings
from nfqdpi.daemon.plugin_files import PluginFiles
from nfqdpi.daemon.record import row
from nfqdpi.kernel.answer import Answerer
from nfqdpi.kernel.queue import Queue, QueueError
from nfqdpi.kernel.reset import Resetter
from nfqdpi.policy.model import Policy

_TURN = 0.5  # s: the longest from one heartbeat to the next
_TICK = 0.05  # s; a plugin has at least so long for a packet, and at most twice
_ASK = 0.0005  # s between two tries to have a queue that another still has
_GATHER = 0.02  # s that events are gathered before they are told
_BATCH_BYTES = 60_000  # of events in one message, below what a unix socket takes at once

_HEARTBEAT = Counters.index("heartbeat_ms")
_PACKETS, _BYTES, _DROPPED, _RESETS, _EVENTS_LOST = (
    Counters.index(name) for name in ("packets", "bytes", "dropped", "resets", "events_lost")
)
_VERDICTS = {verdict: Counters.index(name) for verdict, name in zip(Verdict, VERDICTS, strict=True)}
_REASONS = {reason: Counters.index(f"reason_{reason}") for reason in Reason}


class Worker:
    """``channel``: to the supervisor. Its end means to stop: the supervisor wants it, or is gone and could not replace
    us. ``names``: the memory of a KnownTable, which all workers share; ``units``: a part of what they share, too.
    ``files``: of the plugins that are loaded. ``patience``: seconds that the worker before us may still keep the queue.
    """

    def __init__(  # noqa: PLR0913, PLR0917  each is of another maker
        self, number: int, makings: Makings, counters: Counters, channel: socket.socket, names: mmap,
        units: UnitTable, files: PluginFiles, *, patience: float = 0.0,
    ) -> None:
        config = makings.config
        self._makings = makings
        self._policy = makings.policy(time())
        self._unlogged = _unlogged(self._policy)
        self._counters = counters
        self._cells = counters.cells
        self._channel = channel
        self._field = config.field
        self._noted = 0  # verdicts that are not told yet
        self._rows, self._lines = bytearray(), bytearray()  # of them
        self._verdicts = config.events.verdicts
        self._counted: dict[str, int] = {}  # what of the queue's and engine's counts is on the page
        self._latencies: list[float] = []  # of verdicts since the last beat, in seconds
        self._owed = b""  # the word that we decide by another policy, while the supervisor does not take it
        self._left_out: list[str] = []  # the plugins that the supervisor knows to be
        self._over = False
        self._beaten = 0.0  # when, in monotonic seconds
        self._packer, self._encoder = msgspec.msgpack.Encoder(), msgspec.json.Encoder()
        self._answerer = Answerer()
        self._resetter = Resetter()
        self._known = KnownTable(names)
        self._engine = assemble.engine(config, self._policy, self._known, units=units)
        self._breaker = Breaker(plugins.readers(config.plugin))
        self._plugin_files = files
        self._looked, self._began = 0, 0.0  # the packet that a plugin had when the clock ticked, and since when
        self._deaf = config.fail.simulate == "queue_full"
        length = 1 if self._deaf else config.queue.length
        deadline = monotonic() + patience
        while True:
            try:
                self._queue = Queue(number, self._engine, config.field, self._judged, self._told, length=length,
                                    pass_when_full=config.pass_when_full, failed=self._failed)
                break
            except QueueError:
                if monotonic() > deadline:
                    raise
                sleep(_ASK)

    def run(self) -> None:
        """Judge until the channel ends; what waits in the queue then is judged first."""
        self._limit(self._makings.config.service.worker_memory)
        self._channel.send(Kind.READY())
        poll = select.poll()
        if not self._deaf:
            poll.register(self._queue, select.POLLIN)
        poll.register(self._channel, select.POLLIN)
        while not self._over:
            ready = poll.poll(1000 * (_GATHER if self._noted else _TURN))
            if not self._deaf:
                self._queue.serve()
            now = monotonic()
            if now - self._beaten > _GATHER or any(descriptor == self._channel.fileno() for descriptor, _ in ready):
                self._beat(now)
        self._queue.close()
        self._beat(monotonic())

    def _beat(self, now: float) -> None:
        """Show that we are alive, and how things stand; hear what the supervisor wants."""
        self._beaten = now
        self._cells[_HEARTBEAT] = round(now * 1000)
        self._policy.set_time(time(), self._makings.spent)
        self._counters.add_latencies(self._latencies)
        self._latencies.clear()
        self._flush()
        self._hear()
        if self._breaker.rested(now):
            self._use()
        if self._breaker.faults or self._left_out != self._breaker.left_out:
            news = PluginNews(self._breaker.faults, self._breaker.words, self._breaker.left_out)
            if self._send(news.message()):
                self._breaker.faults, self._left_out = {}, news.left_out
        streams, datagrams = self._engine.flows, self._engine.datagrams.flows
        self._counters["flows"] = len(streams) + len(datagrams)
        known = self._known
        for name, count in (("faults", self._queue.faults), ("evicted", streams.evicted + datagrams.evicted),
                            ("names_learned", known.learned), ("names_evicted", known.evicted),
                            ("names_found", known.found), ("names_missed", known.missed)):
            self._counters[name] += count - self._counted.get(name, 0)
            self._counted[name] = count

    def _hear(self) -> None:
        """Take another policy, or note that this is the end."""
        began = monotonic()
        try:
            heard = talk.receive(self._channel)
        except BlockingIOError:
            return
        except OSError:  # the supervisor is gone, with words of ours unheard
            heard = None
        if heard is None:
            self._over = True
            return
        before = self._makings
        number, self._makings = heard
        self._policy = self._makings.policy(time())
        self._unlogged = _unlogged(self._policy)
        self._engine.govern(self._policy, self._makings.config.exceptions)
        if self._plugin_files.refresh() or self._makings.config.plugin != before.config.plugin:
            self._breaker = Breaker(plugins.readers(self._makings.config.plugin))
            self._use()
        self._counters["swap_us"] = max(self._counters["swap_us"], round((monotonic() - began) * 1e6))
        self._owed = talk.governed(number)
        self._flush()

    def _use(self) -> None:
        """From the next flow on, the plugins read that are not left out."""
        self._engine.use(self._breaker.in_use, lacking=bool(self._breaker.left_out))

    def _failed(self, error: BaseException) -> None:
        """Judging a packet has raised."""
        if self._breaker.fault(error, monotonic()):
            self._use()

    def _limit(self, memory: int) -> None:
        """Have the clock tick, for plugins that take too long, and memory end somewhere, for those that take too much:
        beyond twice what the supervisor lets a worker have."""
        signal.signal(signal.SIGALRM, self._tick)
        signal.setitimer(signal.ITIMER_REAL, _TICK, _TICK)
        if memory:
            used = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_DATA, (used + 2 * memory, resource.RLIM_INFINITY))

    def _tick(self, _: int, frame: FrameType | None) -> None:
        """A plugin that has kept a packet for a tick is interrupted. Time in which others had the CPU is not its own.
        """
        if not self._breaker.running(frame):
            return
        had = monotonic() - waited_for_cpu()
        if self._queue.packets != self._looked:
            self._looked, self._began = self._queue.packets, had
        elif had - self._began > _TICK / 2:
            raise Overrun(f"more than {_TICK * 1000:.0f} ms for a packet")

    def _judged(self, decision: Decision) -> None:
        """Before the verdict: count it, so that the event is missed should we not come to tell it."""
        for judgement in decision.judgements:
            self._cells[_VERDICTS[judgement.outcome.verdict]] += 1
            self._cells[_REASONS[judgement.outcome.reason]] += 1

    def _told(self, data: bytes, decision: Decision, waited: float) -> None:
        """After the verdict, for which the packet has ``waited`` seconds: count it, reset a blocked flow's far side,
        tell the supervisor."""
        cells = self._cells
        cells[_PACKETS] += 1
        cells[_BYTES] += len(data)
        self._latencies.append(waited)
        if decision.action is Action.DROP:
            cells[_DROPPED] += 1
        if decision.back is not None:
            client = decision.judgements[0].client
            self._answerer.send(decision.back, client.interface, client.mac)
        for judgement in decision.judgements:
            verdict = judgement.outcome.verdict
            if verdict.blocks and judgement.key.proto == TCP:
                # The kernel's REJECT resets the sender of the held packet (or nothing does: respond = "drop"); this
                # resets who waits for it, so that no half of a request stays alive there.
                cells[_RESETS] += self._resetter.reset(data)
            self._note(judgement, decision.verdict)

    def _note(self, judgement: Judgement, state: Verdict) -> None:
        """Keep, until it is time to tell, what the record has of a verdict, and its line where one is wanted."""
        told = event(judgement, self._field.value(state), monotonic())
        self._rows += self._packer.encode(row(judgement, told, state))
        self._noted += 1
        if self._logged(judgement.outcome):
            self._lines += self._encoder.encode(told) + b"\n"
        if len(self._rows) + len(self._lines) > _BATCH_BYTES:
            self._flush()

    def _logged(self, outcome: Outcome) -> bool:
        """True of what the event file is to have."""
        if outcome.rule in self._unlogged:
            return False
        match self._verdicts:
            case "all":
                return True
            case "blocked":
                return outcome.verdict.blocks
            case "none":
                return False

    def _flush(self) -> None:
        """Tell the supervisor what there is to tell: the events before the policy that is newer than they."""
        if self._noted:
            # A verdict is never delayed for an event.
            if not self._send(talk.decided(self._noted, self._rows, self._lines)):
                self._cells[_EVENTS_LOST] += self._noted
            self._rows.clear()
            self._lines.clear()
            self._noted = 0
        if self._owed and self._send(self._owed):
            self._owed = b""

    def _send(self, message: bytes) -> bool:
        """False where the supervisor does not keep up."""
        try:
            self._channel.send(message, socket.MSG_DONTWAIT)
        except OSError:
            return False
        return True


def waited_for_cpu() -> float:
    """Seconds that this process has waited for a CPU in its life (Documentation/scheduler/sched-stats.rst)."""
    try:
        return int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, ValueError):
        return 0.0  # a kernel without CONFIG_SCHED_INFO


def _unlogged(policy: Policy) -> frozenset[str | None]:
    """The rules whose verdicts are kept out of the event file."""
    return frozenset(rule.name for rule in policy.rules if not rule.log)
