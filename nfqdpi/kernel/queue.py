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
from time import monotonic, time

import netfilterqueue

from nfqdpi.core.decision import Action, Decision
from nfqdpi.core.engine import Engine
from nfqdpi.core.verdict import MarkField
from nfqdpi.kernel import nfqueue
from nfqdpi.kernel.clock import Moment
from nfqdpi.kernel.nfqueue import DROP, REPEAT, Packet

_SOCKET_BYTES = 16 << 20  # of receive buffer; packets of a usual size fill the queue first
_TOGETHER = 16  # packets that are answered at once: the first waits for the last, a quarter of a millisecond
_TURN = 256  # packets, some milliseconds; then whatever else the worker has to do


class QueueError(Exception):
    """The queue cannot be had; the message says why."""


Judged = Callable[[Decision], None]
Answered = Callable[[bytes, Decision], None]
Told = Callable[[int, Decision, float, Moment], None]
Failed = Callable[[BaseException], None]


def _unheard(*_: object) -> None:
    """Nobody wants to know."""


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
        self._verdict = nfqueue.verdicts(number)
        self._held: dict[int, Packet] = {}  # by question
        self._verdicts = bytearray()  # messages that are not sent yet
        self._sending: list[tuple[Packet, Decision, float]] = []  # whose verdicts these are, and when they were read
        self._untold: list[tuple[int, Decision, float, Moment]] = []  # what the kernel has its answers to
        self._view = memoryview(bytearray(nfqueue.LONGEST))

    def fileno(self) -> int:
        """Readable when packets wait."""
        return self._socket.fileno()

    def serve(self) -> bool:
        """Judge what waits now, or the first of it; does not block. True where there may be more."""
        more = True
        for _ in range(_TURN // _TOGETHER):
            packets = self._receive()
            for packet in packets:
                self._judge(packet)
            self._send()
            more = len(packets) == _TOGETHER
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

    def _receive(self) -> list[Packet]:
        """Packets that wait, as many as are answered together; fewer where no more wait."""
        packets: list[Packet] = []
        while len(packets) < _TOGETHER:
            try:
                size = self._socket.recv_into(self._view)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._overflow()  # the socket was full
                continue
            if (packet := nfqueue.packet(bytes(self._view[:size]))) is not None:
                packets.append(packet)
        return packets

    def _overflow(self) -> None:
        """What did not fit into the queue or the socket has passed where the queue fails open; else it was dropped, and
        no opening has got by (nfnetlink_queue.c: __nfqnl_enqueue_packet)."""
        if self._pass_when_full:
            self._engine.overflow(monotonic())

    def _judge(self, packet: Packet) -> None:
        self.packets += 1
        data = packet.data
        pending = True
        now = monotonic()
        try:
            decision = self._engine.process(data, now, packet.path, self._field.read(packet.mark))
            self._answer(packet, decision, now)
            pending = False
        except BaseException as error:  # noqa: BLE001  the one place: a packet must not go without a verdict
            self._count(error)
            if pending:
                self._answer(packet, self._engine.give_up(data, now), now)

    def _answer(self, packet: Packet, decision: Decision, now: float) -> None:
        if decision.judgements:
            self._judged(decision)
        self._sending.append((packet, decision, now))
        number, mark = packet.number, packet.mark
        if decision.action is not Action.MARK:
            if decision.action is Action.HOLD:  # the kernel keeps it, and takes verdicts in any order
                self._held[decision.question] = packet
            else:
                self._verdicts += self._verdict(DROP, number, mark)
        elif decision.onward is not None:
            mark = self._field.write(mark, decision.verdict)
            self._verdicts += nfqueue.replacing(self.number, number, mark, decision.onward)
            self._send()  # the next may be as long as this one
        else:
            # NF_REPEAT: the packet meets the chain again, whose first rule keeps the mark in conntrack. A plain
            # accept would leave the chain before that rule.
            self._verdicts += self._verdict(REPEAT, number, self._field.write(mark, decision.verdict))

    def _send(self) -> None:
        """Give the kernel its answers. In one message they cost a system call, and the packets go on one after the
        other, in which the kernel's code stays in the caches as ours did before."""
        if self._verdicts:
            self._socket.send(self._verdicts)
            self._verdicts.clear()
        answered = Moment(time(), monotonic())
        for packet, decision, read in self._sending:
            if decision.back is not None or decision.verdict.blocks:
                try:
                    self._answered(packet.data, decision)
                except Exception as error:  # noqa: BLE001  as below
                    self._count(error)
            # None waits longer than none, where the clock has been set back.
            waited = max(0.0, answered.wall - packet.arrived) if packet.arrived else answered.steady - read
            self._untold.append((len(packet.data), decision, waited, answered))
        self._sending.clear()

    @property
    def untold(self) -> bool:
        """True while there is something to tell."""
        return bool(self._untold)

    def tell(self) -> None:
        """Tell of all that was answered. No packet waits for it, and of several together all but the first find in the
        caches what it takes."""
        told, self._untold = self._untold, []
        for length, decision, waited, answered in told:
            try:
                self._told(length, decision, waited, answered)
            except Exception as error:  # noqa: BLE001  what cannot be told costs no other packet
                self._count(error)

    def _count(self, error: BaseException) -> None:
        self.faults += 1
        self._failed(error)


def _drop(packet: netfilterqueue.Packet) -> None:
    packet.drop()
