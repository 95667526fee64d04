"""One NFQUEUE and the loop's inner step: packet in, verdict out, on every path.

The only file that imports NetfilterQueue, the only clock that the engine gets, and the only place where an exception
becomes a verdict. The library opens, binds and closes the queue; packets are read here, because its own loop takes no
more than 4016 bytes of one, and so none that GSO has put together: an upload then costs a fortieth.
"""

from __future__ import annotations

import errno
import os
import socket
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic, time
from typing import Final

import netfilterqueue

from nfqdpi.core._native import mypyc_attr
from nfqdpi.core.decision import Action, Decision
from nfqdpi.core.engine import Engine
from nfqdpi.core.verdict import MarkField
from nfqdpi.kernel import nfqueue
from nfqdpi.kernel.clock import Moment
from nfqdpi.kernel.inbox import Inbox
from nfqdpi.kernel.nfqueue import DROP, REPEAT, Packet, Packets, Verdicts

_SOCKET_BYTES = 16 << 20  # of receive buffer; packets of a usual size fill the queue first
_TOGETHER: Final = 16  # packets that are answered at once: the first waits for the last, a quarter of a millisecond
_TURN: Final = 256  # packets, some milliseconds; then whatever else the worker has to do
_MARK: Final = Action.MARK
_HOLD: Final = Action.HOLD


class QueueError(Exception):
    """The queue cannot be had; the message says why."""


Judged = Callable[[Decision], None]
Answered = Callable[[bytes, Decision], None]
Told = Callable[[int, Decision, float, Moment], None]
Failed = Callable[[BaseException], None]


def _unheard(*_: object) -> None:
    """Nobody wants to know."""


@mypyc_attr(acyclic=True)
@dataclass(slots=True, init=False)
class _Answer:
    """As whoever wants to know is told of it."""

    length: int
    decision: Decision
    waited: float
    answered: Moment

    def __init__(self, length: int, decision: Decision, waited: float, answered: Moment) -> None:
        self.length, self.decision, self.waited, self.answered = length, decision, waited, answered


class Queue:
    """Queue ``number`` of this network namespace, at most ``length`` packets long, judged by ``engine``.

    ``judged`` hears of every decision that judges a flow before the kernel has it, so that no verdict goes uncounted
    when we are killed; ``answered`` right after that of those that somebody else than the packet's receiver waits for;
    ``told`` when there is time, of every one: the packet's length in bytes, the decision, how many seconds the packet
    has waited for it (since it arrived in the kernel where this tells the time, else since it was read), and when it
    was answered. ``failed`` hears what judging a packet raised.
    ``pass_when_full`` sets NFQA_CFG_F_FAIL_OPEN. Raises QueueError where the queue is taken or not permitted.
    """

    def __init__(  # noqa: PLR0913  each is one thing about a queue
        self, number: int, engine: Engine, field: MarkField, *, length: int, pass_when_full: bool,
        judged: Judged = _unheard, answered: Answered = _unheard, told: Told = _unheard, failed: Failed = _unheard
    ) -> None:
        self.number = number
        self.packets = 0
        self.faults = 0
        self._length = length
        self._pass_when_full = pass_when_full
        self._unpaused = 0  # packets without a moment in which none waited
        self._engine = engine
        self._field = field
        self._judged = judged
        self._answered = answered
        self._told = told
        self._failed = failed
        self._binding = netfilterqueue.NetfilterQueue()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it warns where the kernel grants another buffer size
                # Its callback is for its own loop, which never runs.
                self._binding.bind(number, _drop, max_len=length, sock_len=_SOCKET_BYTES)
        except OSError as error:
            raise QueueError(f"queue {number}: {error}") from error
        self._socket = socket.socket(fileno=os.dup(self._binding.get_fd()))
        self._socket.setblocking(False)
        self._socket.send(nfqueue.configuration(number, pass_when_full=pass_when_full))
        self._inbox = Inbox(self._socket.fileno(), _TOGETHER, nfqueue.LONGEST)
        self._packets = Packets()
        self._verdicts = Verdicts(number)
        self._held: dict[int, Packet] = {}  # by question
        self._now = 0.0  # when the packets at hand were read
        self._messages: list[bytes] = []  # that are not sent yet
        self._sending: list[tuple[Packet, Decision]] = []  # whose verdicts these are
        self._untold: list[_Answer] = []  # what the kernel has

    def fileno(self) -> int:
        """Readable when packets wait."""
        return self._socket.fileno()

    def serve(self) -> bool:
        """Judge what waits now, or the first of it; does not block. True where there may be more."""
        more = True
        for _ in range(_TURN // _TOGETHER):
            messages = self._receive()
            if messages:
                self._now = monotonic()  # for all of them: who waits for another's judgement has come none the later
                for message in messages:
                    if (packet := self._packets.read(message)) is not None:
                        self._judge(packet)
                self._send()
            more = len(messages) == _TOGETHER
            if not more:
                break
        if len(self._untold) >= _TOGETHER:
            self.tell()
        self._unpaused = self._unpaused + _TURN if more else 0
        if self._unpaused >= self._length:
            self._overflow()  # so was the queue, perhaps
        return more

    def resume(self, question: int) -> None:
        """Judge the packet again that was held for a question, if there is one."""
        if (packet := self._held.pop(question, None)) is not None:
            self._now = monotonic()
            self._judge(packet)
            self._send()

    def close(self) -> None:
        """Judge what waits, as much as the queue holds, and give it back."""
        for _ in range(0, self._length, _TURN):
            if not self.serve():
                break
        self.tell()
        self._socket.close()
        self._binding.unbind()

    def _receive(self) -> list[bytes]:
        """Messages that wait, as many as are answered together; fewer where no more wait."""
        while True:
            try:
                return self._inbox.read()
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._overflow()  # the socket was full

    def _overflow(self) -> None:
        """What did not fit into the queue or the socket has passed where the queue fails open; else it was dropped, and
        no opening has got by (nfnetlink_queue.c: __nfqnl_enqueue_packet)."""
        if self._pass_when_full:
            self._engine.overflow(monotonic())

    def _judge(self, packet: Packet) -> None:
        self.packets += 1
        pending = True
        try:
            self._answer(packet, self._engine.process(packet.data, self._now, packet.path,
                                                      self._field.read(packet.mark)))
            pending = False
        except BaseException as error:  # noqa: BLE001  the one place: a packet must not go without a verdict
            self._count(error)
            if pending:
                self._answer(packet, self._engine.give_up(packet.data, self._now))

    def _answer(self, packet: Packet, decision: Decision) -> None:
        if decision.judgements:
            self._judged(decision)
        self._sending.append((packet, decision))
        if decision.action is _MARK:
            mark = self._field.write(packet.mark, decision.verdict)
            if decision.onward is None:
                # NF_REPEAT: the packet meets the chain again, whose first rule keeps the mark in conntrack. A plain
                # accept would leave the chain before that rule.
                self._messages.append(self._verdicts.verdict(REPEAT, packet.number, mark))
            else:
                self._messages.append(self._verdicts.replacing(packet.number, mark, decision.onward))
                self._send()  # the next may be as long as this one
        elif decision.action is _HOLD:  # the kernel keeps it, and takes verdicts in any order
            self._held[decision.question] = packet
        else:
            self._messages.append(self._verdicts.verdict(DROP, packet.number, packet.mark))

    def _send(self) -> None:
        """Give the kernel its answers. In one message they cost a system call, and the packets go on one after the
        other, in which the kernel's code stays in the caches as ours did before."""
        if self._messages:
            self._socket.send(b"".join(self._messages))
            self._messages.clear()
        answered = Moment(time(), monotonic())
        for packet, decision in self._sending:
            if decision.back is not None or decision.verdict.blocks:
                try:
                    self._answered(packet.data, decision)
                except Exception as error:  # noqa: BLE001  as below
                    self._count(error)
            waited = answered.steady - self._now
            if packet.arrived:  # None waits longer than none, where the clock has been set back.
                waited = max(0.0, answered.wall - packet.arrived)
            self._untold.append(_Answer(len(packet.data), decision, waited, answered))
        self._sending.clear()

    @property
    def untold(self) -> bool:
        """True while there is something to tell."""
        return bool(self._untold)

    def tell(self) -> None:
        """Tell of all that was answered. No packet waits for it, and of several together all but the first find in the
        caches what it takes."""
        told, self._untold = self._untold, []
        for one in told:
            try:
                self._told(one.length, one.decision, one.waited, one.answered)
            except Exception as error:  # noqa: BLE001  what cannot be told costs no other packet
                self._count(error)

    def _count(self, error: BaseException) -> None:
        self.faults += 1
        self._failed(error)


def _drop(packet: netfilterqueue.Packet) -> None:
    packet.drop()
