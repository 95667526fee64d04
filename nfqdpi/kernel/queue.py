"""One NFQUEUE and the loop's inner step: packet in, verdict out, on every path.

The only file that imports NetfilterQueue, the only clock that the engine gets, and the only place where an exception
becomes a verdict: the library leaves a packet in the queue for ever when its callback raises.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from time import monotonic

import netfilterqueue

from nfqdpi.core.decision import Action, Decision, Path
from nfqdpi.core.engine import Engine
from nfqdpi.core.verdict import MarkField
from nfqdpi.kernel.queues import fail_open

_SOCKET_BYTES = 16 << 20  # of receive buffer: the queue's own length must be what fills first, not the socket


class QueueError(Exception):
    """The queue cannot be had; the message says why."""


Told = Callable[[bytes, Decision], None]


class Queue:
    """Queue ``number`` of this network namespace, at most ``length`` packets long, judged by ``engine``.

    ``told`` hears of every decision after its verdict has gone to the kernel. ``pass_when_full`` sets
    NFQA_CFG_F_FAIL_OPEN. Raises QueueError where the queue is taken or not permitted.
    """

    def __init__(  # noqa: PLR0913  each is one thing about a queue
        self, number: int, engine: Engine, field: MarkField, told: Told, *, length: int, pass_when_full: bool
    ) -> None:
        self.number = number
        self.packets = 0
        self.faults = 0
        self._length = length
        self.last_fault = ""
        self._engine = engine
        self._field = field
        self._told = told
        self._binding = netfilterqueue.NetfilterQueue()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it warns where the kernel grants another buffer size
                self._binding.bind(number, self._judge, max_len=length, sock_len=_SOCKET_BYTES)
        except OSError as error:
            raise QueueError(f"queue {number}: {error}") from error
        fail_open(self._binding.get_fd(), number, on=pass_when_full)

    def fileno(self) -> int:
        """Readable when packets wait."""
        return int(self._binding.get_fd())

    def serve(self) -> None:
        """Judge what waits now; does not block."""
        before = self.packets
        self._binding.run(block=False)
        if self.packets - before >= self._length:
            self._engine.overflow(monotonic())

    def close(self) -> None:
        """Give the queue back; the kernel drops what still waits in it."""
        self._binding.unbind()

    def _judge(self, packet: netfilterqueue.Packet) -> None:
        self.packets += 1
        data = b""
        pending = True
        now = monotonic()
        try:
            data = packet.get_payload()
            path = Path(packet.indev, packet.outdev, packet.get_hw() or b"")
            decision = self._engine.process(data, now, path, self._field.read(packet.get_mark()))
            self._answer(packet, decision)
            pending = False
            self._told(data, decision)
        except Exception as error:  # noqa: BLE001  the one place: a packet must not go without a verdict
            self.faults += 1
            self.last_fault = f"{type(error).__name__}: {error}"
            if pending:
                decision = self._engine.give_up(data, now)
                self._answer(packet, decision)
                self._told(data, decision)

    def _answer(self, packet: netfilterqueue.Packet, decision: Decision) -> None:
        if decision.action is Action.DROP:
            packet.drop()
        else:
            # NF_REPEAT: the packet meets the chain again, whose first rule keeps the mark in conntrack. A plain
            # accept would leave the chain before that rule.
            packet.set_mark(self._field.write(packet.get_mark(), decision.verdict))
            packet.repeat()
