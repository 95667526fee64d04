"""The table of units: one flow's each, by whatever way they come."""

from __future__ import annotations

from mmap import mmap

from hypothesis import given
from hypothesis import strategies as st

from nfqdpi.core.units import LIFE, SIZE, UnitTable


def test_a_unit_is_one_flows() -> None:
    """Before all workers, for as long as it is seen."""
    memory = mmap(-1, 2 * SIZE)
    one, two = UnitTable(memory), UnitTable(memory, 1)
    assert one.claim(b"unit", 1, 0.0)
    assert one.claim(b"unit", 1, LIFE)
    assert not one.claim(b"unit", 2, 2 * LIFE)
    assert not two.claim(b"unit", 2, 2 * LIFE)
    assert two.claim(b"other", 2, LIFE)
    assert one.claim(b"unit", 1, 2 * LIFE)  # who was refused has left nothing behind
    assert not one.claim(b"other", 1, 2 * LIFE)
    assert two.claim(b"unit", 2, 3 * LIFE + 1)
    assert not one.claim(b"unit", 1, 3 * LIFE + 1)


def test_a_full_table_takes_no_more() -> None:
    """Whoever fills it gets no parts of a unit by; what is in it stays, and it takes new ones once the old do not
    count."""
    table = UnitTable(mmap(-1, SIZE))
    assert table.claim(b"first", 1, 0.0)
    number = 0
    bucket = hash(b"first") % 32768
    refused = 0
    while not refused:
        number += 1
        unit = number.to_bytes(8, "big")
        if hash(unit) % 32768 == bucket:
            refused += not table.claim(unit, 2, 1.0)
    assert not table.claim(b"first", 2, 2.0)
    assert table.claim(b"first", 1, 2.0)
    assert not table.claim(unit, 2, 1.0 + LIFE)
    assert table.claim(unit, 2, 1.1 + LIFE)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5), st.integers(1, 4), st.floats(0, 80)), max_size=60))
def test_against_a_dictionary(steps: list[tuple[int, int, int, float]]) -> None:
    """Whichever worker is asked, an id that counts is the flow's that has claimed it."""
    memory = mmap(-1, 3 * SIZE)
    tables = [UnitTable(memory, part) for part in range(3)]
    owner: dict[int, tuple[int, int]] = {}
    now = 0.0
    for part, unit, flow, later in steps:
        now += later
        mine = (flow << 2) | part  # a flow is one worker's
        who, seen = owner.get(unit, (mine, 0))
        counts = unit in owner and int(now * 1000) - seen <= LIFE * 1000
        taken = tables[part].claim(b"%d" % unit, mine, now)
        assert taken == (who == mine or not counts)
        if taken:
            owner[unit] = (mine, int(now * 1000))
