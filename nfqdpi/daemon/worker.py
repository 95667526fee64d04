"""A worker: one process, one queue, one engine. It judges, counts and tells; everything slow is the supervisor's."""

from __future__ import annotations

import gc
import os
import select
import socket
from collections import Counter
from mmap import mmap
from time import monotonic, sleep, time
from types import FrameType
from typing import Final

from nfqdpi import assemble, plugins
from nfqdpi.core.decision import Action, Decision, Judgement
from nfqdpi.core.known import KnownTable
from nfqdpi.core.packet import TCP
from nfqdpi.core.units import UnitTable
from nfqdpi.core.verdict import Reason, Verdict
from nfqdpi.daemon import channel as talk
from nfqdpi.daemon.breaker import Breaker
from nfqdpi.daemon.channel import Kind, PluginNews
from nfqdpi.daemon.consulting import Consulting
from nfqdpi.daemon.counters import VERDICTS, Counters
from nfqdpi.daemon.makings import Makings
from nfqdpi.daemon.plugin_files import PluginFiles
from nfqdpi.daemon.telling import Telling
from nfqdpi.daemon.turns import Turns, limit_memory
from nfqdpi.kernel.answer import Answerer
from nfqdpi.kernel.clock import Moment
from nfqdpi.kernel.queue import Queue, QueueError
from nfqdpi.kernel.reset import Resetter
from nfqdpi.kernel.slice import be_prompt

_TURN: Final = 0.5  # s: the longest from one heartbeat to the next
_ASK = 0.0005  # s between two tries to have a queue that another still has
_GATHER: Final = 0.02  # s that events are gathered before they are told
# Python looks for cycles among new objects when there are so many more than there were, and among older ones after so
# many times: a microsecond each, in which packets wait. A table makes none; full, it has a hundred thousand objects.
_GARBAGE = (5000, 100, 10)

_HEARTBEAT = Counters.index("heartbeat_ms")
_DROPPED: Final = Counters.index("dropped")
_RESETS: Final = Counters.index("resets")
_VERDICTS: Final = {verdict: Counters.index(name) for verdict, name in zip(Verdict, VERDICTS, strict=True)}
_HOLD: Final = Action.HOLD
_DROP: Final = Action.DROP


class Worker:
    """``channel``: to the supervisor. Its end means to stop: the supervisor wants it, or is gone and could not replace
    us. ``line``: to the advisers' process. ``names``: the memory of a KnownTable, which all workers share; ``units``: a
    part of what they share, too. ``files``: of the plugins that are loaded. ``patience``: seconds that the worker
    before us may still keep the queue.
    """

    def __init__(  # noqa: PLR0913, PLR0917  each is of another maker
        self, number: int, makings: Makings, counters: Counters, channel: socket.socket, line: socket.socket,
        names: mmap, units: UnitTable, files: PluginFiles, *, patience: float = 0.0,
    ) -> None:
        config = makings.config
        self._makings = makings
        self._policy = makings.policy(time())
        self._telling = Telling(config, self._policy, counters, channel)
        self._counters = counters
        self._cells = counters.cells
        self._channel = channel
        self._counted: dict[str, int] = {}  # what of the queue's and engine's counts is on the page
        self._latencies: list[float] = []  # of packets judged since the last beat, in seconds
        self._bytes = 0  # of them
        self._reasons: list[Reason] = []  # of verdicts since the last beat
        self._left_out: list[str] = []  # the plugins that the supervisor knows to be
        self._over = False
        self._beaten = 0.0  # when, in monotonic seconds
        self._answerer = Answerer()
        self._resetter = Resetter()
        self._known = KnownTable(names)
        self._engine = assemble.engine(config, self._policy, self._known, units=units)
        self._breaker = Breaker(plugins.readers(config.plugin))
        self._turns = Turns(self._running, lambda: self._queue.packets)
        self._plugin_files = files
        self._deaf = config.fail.simulate == "queue_full"
        length = 1 if self._deaf else config.queue.length
        deadline = monotonic() + patience
        while True:
            try:
                self._queue = Queue(number, self._engine, config.field, length=length,
                                    pass_when_full=config.pass_when_full, judged=self._judged,
                                    answered=self._answered, told=self._told, failed=self._failed)
                break
            except QueueError:
                if monotonic() > deadline:
                    raise
                sleep(_ASK)
        self._consulting = Consulting(self._engine, self._queue, config.field, line, length=length,
                                      told=self._late, failed=self._unanswered)

    def run(self) -> None:
        """Judge until the channel ends; what waits in the queue then is judged first."""
        gc.set_threshold(*_GARBAGE)
        be_prompt()
        os.register_at_fork(after_in_child=lambda: os._exit(1))  # a plugin's child must not judge, too
        self._turns.start()
        if memory := self._makings.config.service.worker_memory:
            limit_memory(2 * memory)  # beyond what the supervisor lets us have: a plugin that takes more at once
        self._channel.send(Kind.READY())
        poll = select.poll()
        if not self._deaf:
            poll.register(self._queue, select.POLLIN)
        consulting, channel, line = self._consulting, self._channel.fileno(), self._consulting.fileno()
        poll.register(channel, select.POLLIN)
        poll.register(line, select.POLLIN)
        while not self._over:
            waits = self._queue.untold or self._latencies or self._telling.noted or len(consulting)
            wait = _GATHER if waits else _TURN
            self._turns.rest()
            ready = [descriptor for descriptor, _ in poll.poll(1000 * wait)]
            self._turns.go_on()
            if not self._deaf:
                self._queue.serve()
            now = monotonic()
            if len(consulting) or line in ready:
                consulting.turn(now)
            if now - self._beaten > _GATHER or channel in ready:
                self._beat(now)
        consulting.close(monotonic())
        self._queue.close()
        self._beat(monotonic())

    def _beat(self, now: float) -> None:
        """Show that we are alive, and how things stand; hear what the supervisor wants."""
        self._beaten = now
        self._cells[_HEARTBEAT] = round(now * 1000)
        self._policy.set_time(time(), self._makings.spent)
        self._queue.tell()
        self._count()
        self._telling.flush()
        self._hear()
        if self._breaker.rested(now):
            self._use()
        if self._breaker.faults or self._left_out != self._breaker.left_out:
            news = PluginNews(self._breaker.faults, self._breaker.words, self._breaker.left_out)
            if self._telling.send(news.message()):
                self._breaker.faults, self._left_out = {}, news.left_out
        streams, datagrams = self._engine.flows, self._engine.datagrams.flows
        self._counters["flows"] = len(streams) + len(datagrams)
        known = self._known
        for name, count in (("faults", self._queue.faults), ("evicted", streams.evicted + datagrams.evicted),
                            ("names_learned", known.learned), ("names_evicted", known.evicted),
                            ("names_found", known.found), ("names_missed", known.missed)):
            self._counters[name] += count - self._counted.get(name, 0)
            self._counted[name] = count

    def _count(self) -> None:
        """Bring on the page what has been counted since the last beat: a cell takes longer than a packet's share."""
        self._counters["packets"] += len(self._latencies)
        self._counters["bytes"] += self._bytes
        self._counters.add_latencies(self._latencies)
        self._bytes = 0
        self._latencies.clear()
        for reason, count in Counter(self._reasons).items():
            self._counters[f"reason_{reason}"] += count
        self._reasons.clear()

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
        self._telling.govern(self._policy)
        self._engine.govern(self._policy, self._makings.config.exceptions)
        if self._plugin_files.refresh() or self._makings.config.plugin != before.config.plugin:
            self._turns.stop()
            self._breaker = Breaker(plugins.readers(self._makings.config.plugin))
            self._turns.start()
            self._use()
        self._counters["swap_us"] = max(self._counters["swap_us"], round((monotonic() - began) * 1e6))
        self._telling.owe(talk.governed(number))

    def _use(self) -> None:
        """From the next flow on, the plugins read that are not left out."""
        self._engine.use(self._breaker.in_use, lacking=bool(self._breaker.left_out),
                         unadvised=self._breaker.unadvised)

    def _running(self, frame: FrameType | None) -> tuple[str, float]:
        """The plugin whose code this is, of those that we have by now, and the seconds that it has for a packet."""
        name = self._breaker.running(frame)
        return name, self._breaker.patience(name)

    def _failed(self, error: BaseException) -> None:
        """Judging a packet has raised."""
        if self._breaker.fault(error, monotonic()):
            self._use()

    def _unanswered(self, adviser: str, words: str) -> None:
        """A slow adviser has failed to advise."""
        if self._breaker.unanswered(adviser, words, monotonic()):
            self._use()

    def _late(self, decision: Decision) -> None:
        """A flow is decided, and no packet of it is there."""
        self._judged(decision)
        self._queue.tell()  # what was decided of it before
        for judgement in decision.judgements:
            self._note(judgement, decision.verdict, Moment(time(), monotonic()))

    def _judged(self, decision: Decision) -> None:
        """Before the verdict: count it, so that the event is missed should we not come to tell it."""
        for judgement in decision.judgements:
            self._cells[_VERDICTS[judgement.outcome.verdict]] += 1

    def _answered(self, data: bytes, decision: Decision) -> None:
        """Right after the verdict: reset a blocked flow's far side, give the client the answer that we have."""
        for judgement in decision.judgements:
            if judgement.outcome.verdict.blocks and judgement.key.proto == TCP:
                # The kernel's REJECT resets the sender of the held packet (or nothing does: respond = "drop"); this
                # resets who waits for it, so that no half of a request stays alive there.
                self._cells[_RESETS] += self._resetter.reset(data)
        if decision.back is not None:
            client = decision.judgements[0].client
            self._answerer.send(decision.back, client.interface, client.mac)

    def _told(self, length: int, decision: Decision, waited: float, answered: Moment) -> None:
        """When there is time: count the verdict, for which a packet of this length has ``waited`` seconds, and note
        what the supervisor is to be told."""
        if decision.action is not _HOLD:  # it will be back
            if decision.action is _DROP:
                self._cells[_DROPPED] += 1
            self._bytes += length
            self._latencies.append(waited)
        for judgement in decision.judgements:
            self._note(judgement, decision.verdict, answered)

    def _note(self, judgement: Judgement, state: Verdict, answered: Moment) -> None:
        self._reasons.append(judgement.outcome.reason)
        self._telling.note(judgement, state, answered)
