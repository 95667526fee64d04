"""What workers and the advisers' process say to each other."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import msgspec
import pytest

from nfqdpi.core.asking import Question
from nfqdpi.core.classifier import Classification
from nfqdpi.core.plugin import Advice
from nfqdpi.core.verdict import Verdict
from nfqdpi.daemon import questions
from nfqdpi.daemon.questions import Answer

Line = tuple[socket.socket, socket.socket]


@pytest.fixture
def line() -> Iterator[Line]:
    worker, adviser = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with worker, adviser:
        yield worker, adviser


def test_a_question(line: Line) -> None:
    """It has all of the unit but what reads on; as many as the kernel takes, and no more."""
    worker, adviser = line
    unit = Classification("tls", ("a.example",), {"ja4": "x"}, length=3, then=lambda _: Classification(""), veiled=True)
    question = Question(7, unit, bytes(4), bytes(16), {"slow": 1.5})
    assert questions.asked(adviser) is None
    assert questions.ask(worker, question)
    assert questions.asked(adviser) == question._replace(
        unit=Classification("tls", ("a.example",), {"ja4": "x"}, veiled=True))
    while questions.ask(worker, question):
        pass
    assert questions.asked(adviser) is not None


@pytest.mark.parametrize("advice", [None, Advice(Verdict.ACCELERATE, ""), Advice(Verdict.BLOCK_SILENT, "so")])
def test_an_answer(line: Line, advice: Advice | None) -> None:
    """Advice, none, or what went wrong."""
    worker, adviser = line
    assert questions.answer(adviser, Answer.of(7, "slow", advice))
    assert questions.answer(adviser, Answer.failure(8, "slow", "oh no"))
    first, second = questions.answered(worker), questions.answered(worker)
    assert first is not None
    assert second is not None
    assert (first.number, first.failed, first.advice) == (7, False, advice)
    assert (second.number, second.failed, second.why) == (8, True, "oh no")
    assert questions.answered(worker) is None
    adviser.close()
    assert questions.answered(worker) is None


@pytest.mark.parametrize("said", [b"\xc1", msgspec.msgpack.encode((7, "slow", int(Verdict.UNSEEN), "")),
                                  msgspec.msgpack.encode((7, "slow", 99, "")), msgspec.msgpack.encode("answer")])
def test_what_is_no_answer(line: Line, said: bytes) -> None:
    """It costs the worker nothing: the next one counts."""
    worker, adviser = line
    adviser.send(said)
    questions.answer(adviser, Answer.of(8, "slow", None))
    found = questions.answered(worker)
    assert found is not None
    assert found.number == 8
