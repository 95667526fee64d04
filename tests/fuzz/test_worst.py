"""What the worst inputs cost: sending twice as much costs at most about twice as much."""

from __future__ import annotations

import pytest

from nfqdpi.testing.tls import CHANGE_CIPHER_SPEC, extension, hello, records, server_hello
from tests.core.transcript import ALLOWED, Talk, engine
from tests.fuzz.worst import CASES, seconds

_GROWTH = 4  # times the input
_MOST = 9  # times the time, where 4 is linear and 16 is quadratic; shared machines are noisy
_TOO_SHORT = 100e-6  # seconds; below it a clock tells nothing


@pytest.mark.parametrize("name", CASES)
def test_the_worst_inputs_cost_what_they_weigh(name: str) -> None:
    """No parser and no part of the engine takes more than linear time."""
    for _ in range(3):  # a neighbour may have been loud
        (short, some), (long, more) = seconds(CASES[name], 15_000, 3), seconds(CASES[name], 15_000 * _GROWTH, 3)
        if long < _TOO_SHORT or long / short < _MOST * more / some / _GROWTH:
            return
    raise AssertionError(f"{more / some:.1f} times the input took {long / short:.1f} times as long: {long:.4f} s")


def test_a_unit_in_pieces_is_read_once() -> None:
    """However many segments a unit comes in, its bytes are read once: here by counting what is given to be read."""
    flow = Talk(engine(max_segments=1000))
    flow.opens()
    data = records(hello(ALLOWED, extension(21, bytes(2000)))[5:], 1)
    lines = flow.clients(*(data[n : n + 20] for n in range(0, len(data), 20)))
    assert lines[-1] == "confirm default"
    assert set(lines[:-1]) == {"inspect need_more"}


def test_records_behind_a_hello_are_counted() -> None:
    """A client that goes on without an answer is not followed for ever."""
    flow = Talk(engine())
    flow.opens()
    assert flow.client(hello(ALLOWED)) == "confirm default"
    lines = flow.clients(*[CHANGE_CIPHER_SPEC] * 300)
    assert (lines[0], lines[200], lines[-1]) == ("confirm need_more", "confirm need_more", "block malformed")


def test_an_answer_is_not_looked_for_for_ever() -> None:
    """A server may send a byte at a time; one that never answers is not read over and over, and the flow stays with us.
    """
    answer = records(server_hello()[5:], 1)
    slow = Talk(engine())
    slow.opens()
    slow.client(hello(ALLOWED))
    assert [slow.server(answer[n : n + 1]) for n in range(len(answer))][-1] == "accelerate confirmed"
    endless = Talk(engine())
    endless.opens()
    endless.client(hello(ALLOWED))
    assert {endless.server(answer[:-1], at=0) for _ in range(5000)} == {"confirm need_more"}
    assert endless.server(answer, at=0) == "confirm need_more"
