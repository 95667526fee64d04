"""What a worker and the advisers' process say to each other, over one SOCK_SEQPACKET for each worker.

The supervisor keeps both ends: whoever ends has a successor that goes on with it. Nobody waits for the other: what does
not fit is not asked, and what is not heard in time does not count.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any, Literal, NamedTuple

import msgspec

from nfqdpi.core.asking import Question
from nfqdpi.core.classifier import Classification
from nfqdpi.core.plugin import Advice
from nfqdpi.core.verdict import Verdict

_LONGEST = 1 << 18  # bytes of a message; a unit's names and attributes come out of [inspect] max_bytes
_LONGEST_WORDS = 1000  # characters

_Row = tuple[int, bytes, bytes, dict[str, float], str, tuple[str, ...], dict[str, str], str, bool]

_encode = msgspec.msgpack.encode
_questions = msgspec.msgpack.Decoder(_Row)


class Answer(NamedTuple):
    """``verdict``: None for no advice, -1 where there will be none. ``why``: of the advice, or what went wrong."""

    number: int
    name: str
    verdict: Literal[-1, 1, 2, 3, 5] | None
    why: str

    @classmethod
    def of(cls, number: int, name: str, advice: Advice | None) -> Answer:
        verdict: Any = None if advice is None else advice.verdict  # a whole number, once it is written
        return cls(number, name, verdict, "" if advice is None else advice.why[:_LONGEST_WORDS])

    @classmethod
    def failure(cls, number: int, name: str, words: str) -> Answer:
        return cls(number, name, -1, words)

    @property
    def failed(self) -> bool:
        """There will be none."""
        return self.verdict == -1

    @property
    def advice(self) -> Advice | None:
        return None if self.verdict is None else Advice(Verdict(self.verdict), self.why)


_answers = msgspec.msgpack.Decoder(Answer)


def ask(line: socket.socket, question: Question) -> bool:
    """False where it is not taken: too many wait there, or it is too long."""
    number, unit, client, server, until = question
    return _send(line, _encode((number, client, server, until, unit.protocol, unit.names, dict(unit.attributes),
                                unit.flaw, unit.veiled)))


def asked(line: socket.socket) -> Question | None:
    """The next question; None: there is none."""
    if (message := _receive(line)) is None:
        return None
    number, client, server, until, protocol, names, attributes, flaw, veiled = _questions.decode(message)
    return Question(number, Classification(protocol, names, attributes, flaw, veiled=veiled), client, server, until)


def answer(line: socket.socket, given: Answer) -> bool:
    """False where it is not taken."""
    return _send(line, _encode(given))


def answered(line: socket.socket) -> Answer | None:
    """The next answer; None: there is none. What else a plugin has written there is none."""
    while (message := _receive(line)) is not None:
        with suppress(msgspec.DecodeError):
            return _answers.decode(message)
    return None


def _send(line: socket.socket, message: bytes) -> bool:
    try:
        line.send(message, socket.MSG_DONTWAIT)
    except OSError:
        return False
    return True


def _receive(line: socket.socket) -> bytes | None:
    try:
        return line.recv(_LONGEST, socket.MSG_DONTWAIT) or None  # the line ends only with the daemon
    except OSError:
        return None
