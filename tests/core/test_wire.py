"""Fields off the front of a buffer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfqdpi.core.wire import Malformed, Reader


def test_fields_are_big_endian() -> None:
    """The most significant byte comes first, and each read goes on where the last one ended."""
    reader = Reader(b"\x01\x02\x03\x04\x05\x06")
    assert (reader.u8(), reader.u16(), reader.uint(3)) == (0x01, 0x0203, 0x040506)
    assert not reader


def test_a_vector_is_its_length_then_its_bytes() -> None:
    """A vector's length counts the bytes behind it."""
    reader = Reader(b"\x00\x02abc")
    assert reader.vector(2) == b"ab"
    assert reader


def test_a_reader_may_start_inside() -> None:
    """Bytes before the start are not read."""
    assert Reader(b"abc", 2).take(1) == b"c"


def test_past_the_end_is_malformed() -> None:
    """A field that reaches past the end says how much is missing; it is never cut short."""
    with pytest.raises(Malformed, match="3 bytes wanted, 2 left"):
        Reader(b"ab").take(3)
    with pytest.raises(Malformed):
        Reader(b"\x03ab").vector(1)


@pytest.mark.parametrize("read", [0, 2])
def test_less_than_nothing_is_malformed(read: int) -> None:
    """A length off the wire, less a header that it does not even cover, leads neither back nor to an error of ours."""
    reader = Reader(b"abc")
    reader.take(read)
    with pytest.raises(Malformed, match=f"-1 bytes wanted, {3 - read} left"):
        reader.take(-1)


@given(st.binary(max_size=40), st.lists(st.integers(0, 3), max_size=12))
def test_vectors_partition_the_buffer(data: bytes, sizes: list[int]) -> None:
    """Whatever the bytes, what was read is the front of the buffer: nothing twice, nothing skipped."""
    reader, seen = Reader(data), b""
    try:
        for size in sizes:
            body = reader.vector(size)
            seen += len(body).to_bytes(size, "big") + body
    except Malformed:
        pass
    assert data.startswith(seen)


@pytest.mark.parametrize(("data", "value"), [("c2197c5eff14e88c", 151288809941952652), ("9d7f3e7d", 494878333),
                                             ("7bbd", 15293), ("25", 37), ("4025", 37)])
def test_variable_length_integers(data: str, value: int) -> None:
    """The examples of RFC 9000, A.1; each cut short is too short."""
    whole = bytes.fromhex(data)
    reader = Reader(whole + b"\0")
    assert reader.varint() == value
    assert reader.at == len(whole)
    for length in range(len(whole)):
        with pytest.raises(Malformed):
            Reader(whole[:length]).varint()
