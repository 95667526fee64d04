"""What is judged is compared with later copies for as long as it is on record."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfqdpi.core.judged import Judged

LIMIT = 32

units = st.lists(st.tuples(st.integers(0, 40), st.binary(min_size=1, max_size=20)), min_size=1, max_size=40)


@given(units, st.integers(0, 800), st.binary(min_size=1, max_size=60))
def test_against_a_dictionary(pieces: list[tuple[int, bytes]], offset: int, copy: bytes) -> None:
    """Whatever was added and whatever has been forgotten since: a copy contradicts where a byte at or above the floor
    differs, and nowhere else."""
    record, known, end = Judged(LIMIT), dict[int, int](), 0
    for opaque, data in pieces:
        record.add(end + opaque, data)
        known |= dict(enumerate(data, end + opaque))
        end += opaque + len(data)
        assert record.memory <= 450 + 4 * LIMIT * 9 // 8
    expected = any(n >= record.floor and known.get(n, byte) != byte for n, byte in enumerate(copy, offset))
    assert record.contradicts(offset, copy) is expected
    assert record.contradicts(offset, bytes(known.get(n, 0) for n in range(offset, end))) is False
    assert not any(record.contradicts(n, bytes([byte])) for n, byte in known.items())


def test_a_windowful_of_chunks_is_on_record() -> None:
    """The heads and ends of a megabyte in chunks of 100 bytes: any of it may have to be sent again."""
    record = Judged(1 << 16)
    for n in range(0, 1 << 20, 106):
        record.add(n, b"64\r\n")
        record.add(n + 104, b"\r\n")
    assert record.floor == 0
    assert record.contradicts(0, b"65\r\n")


def test_nothing_is_no_piece() -> None:
    """What has no bytes leaves no trace: the next piece begins where it begins."""
    record = Judged(1 << 10)
    record.add(0, b"abc")
    record.add(10, b"")
    record.add(10, b"def")
    assert record.contradicts(10, b"xyz")
    assert not record.contradicts(3, b"xyz")
    assert not record.contradicts(0, b"abc")


@pytest.mark.parametrize("gap", [0, 1])
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_the_estimate_is_not_below_the_truth(size: int, gap: int) -> None:
    """What a record costs, with the room that its buffers keep for growing."""
    record = Judged(1 << 12)
    for n in range(5000):
        record.add(n * (size + gap), bytes(size))
        held = sum(map(sys.getsizeof, (record, record._data, record._starts, record._places)))
        assert held <= record.memory


def test_units_without_a_gap_are_one_piece() -> None:
    """What follows one another needs no telling apart."""
    record = Judged(1 << 10)
    for n in range(4096 - 64):
        record.add(n, b"x")
    assert record.floor == 0
