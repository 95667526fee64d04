"""The advisers' process: slow advisers answer what the workers ask, one question after the other."""

from __future__ import annotations

import select
import signal
import socket
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic
from types import FrameType

from nfqdpi.core.asking import Question
from nfqdpi.core.plugin import Adviser, Overrun
from nfqdpi.daemon import questions
from nfqdpi.daemon.breaker import words
from nfqdpi.daemon.questions import Answer
from nfqdpi.daemon.turns import limit_memory
from nfqdpi.kernel.privileges import drop

_TURN = 0.5  # s: the longest from one heartbeat to the next, unless an adviser is slow
_BEAT = b"b"
_MEMORY = 256 << 20  # bytes that advisers may take, all together


class Advising:
    """``lines``: to the workers; ``channel``: to the supervisor, which ends it when it wants us to stop."""

    def __init__(self, advisers: Sequence[Adviser], lines: Sequence[socket.socket], channel: socket.socket) -> None:
        self._advisers = {one.name: one for one in advisers}
        self._lines = lines
        self._channel = channel
        self._beaten = 0.0

    def run(self) -> None:
        """Until the channel ends. Whatever an adviser does, it is not root who does it."""
        drop()
        limit_memory(_MEMORY)
        signal.signal(signal.SIGALRM, _overrun)
        poll = select.poll()
        for end in (self._channel, *self._lines):
            poll.register(end, select.POLLIN)
        while True:
            self._beat()
            ready = {descriptor for descriptor, _ in poll.poll(1000 * _TURN)}
            if self._channel.fileno() in ready:
                return  # nothing else is ever said here
            for line in self._lines:  # in turns: no worker's questions keep another's waiting
                if line.fileno() in ready and (question := questions.asked(line)) is not None:
                    self._answer(line, question)

    def _answer(self, line: socket.socket, question: Question) -> None:
        for name, until in question.until.items():
            self._beat()
            adviser, left = self._advisers.get(name), until - monotonic()
            if adviser is None:
                questions.answer(line, Answer.failure(question.number, name, "it is here no more"))
            elif left > 0:  # else nobody waits for it any more
                questions.answer(line, _advice(adviser, question, left))

    def _beat(self) -> None:
        """Show that we are alive."""
        if (now := monotonic()) - self._beaten > _TURN / 2:
            self._beaten = now
            with suppress(OSError):  # the supervisor is busy, or gone
                self._channel.send(_BEAT, socket.MSG_DONTWAIT)


def _advice(adviser: Adviser, question: Question, left: float) -> Answer:
    """What it says, within so many seconds."""
    try:
        signal.setitimer(signal.ITIMER_REAL, left)
        try:
            advice = adviser.advise(question.unit, question.client, question.server)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        return Answer.of(question.number, adviser.name, advice)
    except BaseException as error:  # noqa: BLE001  whatever it is, it is that adviser's
        return Answer.failure(question.number, adviser.name, words(error))


def _overrun(_: int, frame: FrameType | None) -> None:
    raise Overrun("its patience is over")
