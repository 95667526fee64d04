"""The first bytes of a stream: in order, bounded, first copy wins."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nfqdpi.core.stream import Added, StreamBuffer

LIMIT = 64
WRAP = 1 << 32
bases = st.sampled_from([0, 5, WRAP - 1, WRAP - 20, 1 << 31, (1 << 31) - 7])


class Model:
    """Stupid but right: a dictionary of offset -> byte. What is behind ``start`` and not in it is opaque."""

    def __init__(self) -> None:
        self.known: dict[int, int] = {}
        self.start = 0
        self.floor = 0

    @property
    def next(self) -> int:
        """The first offset of the unit, or behind it, that is not known."""
        end = self.start
        while end in self.known:
            end += 1
        return end

    def head(self) -> bytes:
        return bytes(self.known[n] for n in range(self.start, self.next))

    def add(self, offset: int, payload: bytes) -> Added:
        copy = dict(enumerate(payload, offset))
        if offset + len(payload) <= self.floor or self.floor > max(0, offset):
            return Added.PROBE if len(payload) == 1 and offset + 1 == self.next else Added.OUTSIDE
        if offset + len(payload) > self.start + LIMIT:
            return Added.FULL if offset <= self.next else Added.OUTSIDE
        if any(self.known.get(n, byte) != byte for n, byte in copy.items()):
            return Added.PROBE if len(payload) == 1 and offset + 1 == self.next else Added.CONFLICT
        fresh = {n: byte for n, byte in copy.items() if n >= self.start and n not in self.known}
        self.known |= fresh
        return Added.NEW if fresh else Added.SEEN

    def advance(self, length: int, skip: int, floor: int) -> None:
        self.floor = floor
        self.start += length + skip
        for n in range(self.start - skip, self.start):
            self.known.pop(n, None)


def buffer(base: int = 0, *, segments: int = 1000) -> StreamBuffer:
    return StreamBuffer(base, LIMIT, segments)


pieces = st.tuples(st.integers(-4, LIMIT + 4), st.integers(1, 20))


@given(bases, st.lists(pieces, max_size=25), st.data())
def test_any_cut_order_repetition_and_overlap(base: int, cuts: list[tuple[int, int]], data: st.DataObject) -> None:
    """Pieces of one text, some with a false byte, give what the dictionary gives, wherever the numbers wrap."""
    stream, model = buffer(base), Model()
    text = bytes(range(256))
    for offset, length in cuts:
        payload = bytearray(text[offset % 256 : offset % 256 + length])
        if data.draw(st.integers(0, 9), label="false byte where 0") == 0:
            payload[data.draw(st.integers(0, len(payload) - 1))] ^= 0xFF
        assert stream.add((base + offset) % WRAP, bytes(payload)) is model.add(offset, bytes(payload))
        assert stream.head == model.head()
        if stream.head and data.draw(st.integers(0, 3), label="judge where 0") == 0:
            unit, skip = data.draw(st.integers(1, len(stream.head))), data.draw(st.sampled_from([0, 0, 1, 9, 40]))
            stream.advance(unit, skip)
            model.advance(unit, skip, stream.floor)
            assert (stream.start, stream.head) == (model.start, model.head())


@given(bases, st.permutations(range(12)), st.lists(st.integers(0, 11), max_size=8))
def test_all_pieces_in_any_order_are_the_text(base: int, order: list[int], again: list[int]) -> None:
    """Once each piece has come, the prefix is the whole text, whatever came twice."""
    text = bytes(range(48))
    stream = buffer(base)
    answers = [stream.add((base + 4 * n) % WRAP, text[4 * n : 4 * n + 4]) for n in [*order, *again]]
    assert stream.head == text
    assert answers == [Added.NEW] * len(order) + [Added.SEEN] * len(again)


@given(st.binary(max_size=40), st.binary(min_size=1, max_size=40), st.integers(0, 40))
def test_a_second_copy_never_replaces_the_first(first: bytes, second: bytes, offset: int) -> None:
    """First copy wins: what was in the prefix stays as it was."""
    stream = buffer()
    stream.add(0, first)
    before = stream.head
    stream.add(offset, second)
    assert stream.head.startswith(before)


def test_a_judged_byte_is_still_compared() -> None:
    """The server may not have got the copy that we judged, so another one is a conflict."""
    stream = buffer()
    stream.add(0, b"allowed")
    stream.advance(7)
    assert stream.add(0, b"allowed") is Added.SEEN
    assert stream.add(0, b"blocked") is Added.CONFLICT
    assert stream.add(3, b"owednext") is Added.NEW
    assert stream.head == b"next"


def test_opaque_bytes_are_not_kept() -> None:
    """A body passes in any order and unread; what follows it is the next prefix."""
    stream = buffer()
    stream.add(0, b"headbo")
    stream.advance(4, skip=10)
    assert stream.head == b""
    assert stream.add(8, b"xxxx") is Added.SEEN
    assert stream.add(12, b"xxnext") is Added.NEW
    assert stream.head == b"next"


def test_early_bytes_meet_the_skip() -> None:
    """Bytes that came before the unit in front was judged are cut where the next unit starts."""
    stream = buffer()
    stream.add(6, b"bo")
    stream.add(9, b"ynext")
    stream.add(20, b"later")
    stream.add(0, b"hea")
    assert stream.add(3, b"d:") is Added.NEW
    stream.advance(5, skip=5)
    assert stream.head == b"next"
    stream.add(14, b"......")
    assert stream.head == b"next......later"


def test_a_keep_alive_probe_is_known() -> None:
    """One byte of garbage just below the next one is a probe (RFC 9293, 3.8.4), not a conflict."""
    stream = buffer()
    assert stream.add(WRAP - 1, b"\0") is Added.PROBE
    stream.add(0, b"abc")
    assert stream.add(2, b"\0") is Added.PROBE
    assert stream.add(1, b"\0") is Added.CONFLICT


def test_far_bytes_are_outside() -> None:
    """Nothing below the base and nothing far ahead of a gap is put on record."""
    stream = buffer()
    assert stream.add(WRAP - 5, b"12345") is Added.OUTSIDE
    assert stream.add(WRAP - 10_000, b"12345") is Added.OUTSIDE
    assert stream.add(LIMIT, b"1") is Added.OUTSIDE
    assert stream.head == b""


def test_too_much_in_order_is_full() -> None:
    """The limit counts from where the unit starts; a judged unit makes room."""
    stream = buffer()
    assert stream.add(0, bytes(LIMIT)) is Added.NEW
    assert stream.add(LIMIT, b"1") is Added.FULL
    stream.advance(1)
    assert stream.add(LIMIT, b"1") is Added.NEW


def test_segments_are_counted_by_unit() -> None:
    """Those that its bytes came in; repetitions do not count, nor does what waits behind a gap before it is filled."""
    stream = buffer(segments=3)
    for n in (0, 1, 4, 5):
        assert stream.add(n, b"x") is Added.NEW
        assert stream.add(n, b"x") is Added.SEEN
    assert stream.segments == 2
    assert stream.add(2, b"xx") is Added.NEW
    assert stream.head == b"xxxxxx"
    stream.advance(5)
    assert (stream.segments, stream.head) == (1, b"x")


def test_so_many_pieces_wait_behind_gaps() -> None:
    """More are not taken, but will be when the gap is filled: a lost segment is no offence."""
    stream = buffer(segments=3)
    for n in (2, 4, 6):
        assert stream.add(n, b"x") is Added.NEW
    assert stream.add(8, b"x") is Added.OUTSIDE
    assert stream.add(0, b"xx") is Added.NEW
    assert (stream.head, stream.add(8, b"x")) == (b"xxx", Added.NEW)


def test_a_stream_may_wrap_more_than_once() -> None:
    """Offsets follow the sender for as long as the stream goes on."""
    base, step = WRAP - 10, 1 << 30
    stream = buffer(base)
    stream.add(base, b"head")
    stream.advance(4, skip=3 * WRAP)
    for offset in range(4, 3 * WRAP, step):
        assert stream.add((base + offset) % WRAP, b"body") is Added.SEEN
    assert stream.add((base + 4 + 3 * WRAP) % WRAP, b"next") is Added.NEW
    assert stream.head == b"next"


def test_a_copy_that_reaches_below_the_record_is_refused() -> None:
    """Nobody can say any more whether its lower bytes are those that passed, so the server must not get them."""
    stream = buffer()
    while not stream.floor:
        stream.add(stream.start, b"x" * LIMIT)
        stream.advance(LIMIT)
    assert stream.add(stream.floor - 1, b"yx") is Added.OUTSIDE
    assert stream.add(stream.floor - 1, b"xx") is Added.OUTSIDE
    assert stream.add(stream.floor, b"x") is Added.SEEN


def test_many_tiny_units_are_bounded_too() -> None:
    """A unit costs more than its bytes: a body of chunks of one byte must not hold many times the limit."""
    stream = StreamBuffer(0, 1 << 10, 1000)
    for n in range(0, 40_000, 2):
        stream.add(n, b"xo")
        stream.advance(1, 1)
    assert stream.memory < 5 << 10
    assert stream.add(38_000, b"x") is Added.OUTSIDE
    assert stream.add(39_990, b"x") is Added.SEEN


@pytest.mark.parametrize("unit", [1, 3, LIMIT])
def test_what_is_remembered_is_bounded(unit: int) -> None:
    """However many units are judged, the record behind them stays within the limit; older copies are refused."""
    stream = buffer()
    for n in range(0, unit * 500, unit):
        assert stream.add(n, b"x" * unit) is Added.NEW
        stream.advance(unit)
    assert stream.add(0, b"y" * unit) is Added.OUTSIDE
    assert stream.add(unit * 499, b"x" * unit) is Added.SEEN
    assert stream.add(unit * 499, b"y" * unit) in (Added.CONFLICT, Added.PROBE)


@example([(0, 1)] * 5)
@given(st.lists(st.tuples(st.integers(0, LIMIT), st.integers(0, LIMIT)), max_size=30))
def test_clear_forgets(cuts: list[tuple[int, int]]) -> None:
    """After ``clear`` no byte is held."""
    stream = buffer()
    for offset, length in cuts:
        stream.add(offset, bytes(length))
    stream.advance(len(stream.head))
    stream.clear()
    assert stream.head == b""
