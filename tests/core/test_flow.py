"""The table of flows: bounded, aged, least recently used first to go."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nfqdpi.core.flow import Flow, FlowTable
from nfqdpi.core.packet import FlowKey
from nfqdpi.core.stream import StreamBuffer


def flow(number: int, now: float = 0.0) -> Flow:
    """A flow of client ``number``."""
    return Flow(FlowKey(number.to_bytes(4, "big"), bytes(4), 1, 443, 6), StreamBuffer(0, 100, 10), (), now)


def test_a_full_table_forgets_the_decided_first() -> None:
    """A decided flow is only a convenience; an undecided one is evidence."""
    table = FlowTable(2)
    first, second, third = flow(1), flow(2), flow(3)
    table.open(first)
    table.open(second)
    table.decide(second, 0.0)
    table.open(third)
    assert [table.get(f.key) for f in (first, second, third)] == [first, None, third]
    assert table.evicted == 0


def test_then_the_least_recently_used() -> None:
    """A packet makes its flow the last to go, and an undecided flow that goes is counted."""
    table = FlowTable(2)
    first, second, third = flow(1), flow(2), flow(3)
    table.open(first)
    table.open(second)
    table.touch(first, 1.0)
    table.open(third)
    assert list(table) == [first, third]
    assert table.evicted == 1


def test_decided_flows_linger_then_go() -> None:
    """What queued up behind the deciding packet still finds the decision."""
    table = FlowTable(10)
    decided = flow(1)
    table.open(decided)
    table.decide(decided, 0.0)
    table.open(flow(2, FlowTable.LINGER))
    assert table.get(decided.key) is decided
    table.open(flow(3, FlowTable.LINGER + 1))
    assert table.get(decided.key) is None


def test_idle_flows_go_last() -> None:
    """A preconnected flow may say nothing for long; then it is forgotten."""
    table = FlowTable(10)
    idle = flow(1)
    table.open(idle)
    table.open(flow(2, FlowTable.IDLE))
    assert table.get(idle.key) is idle
    table.open(flow(3, FlowTable.IDLE + 1))
    assert table.get(idle.key) is None


def test_a_decided_flow_gives_its_bytes_back() -> None:
    """A lingering flow costs what its entry costs."""
    table, decided = FlowTable(10), flow(1)
    table.open(decided)
    decided.stream.add(0, b"abc")
    decided.server = StreamBuffer(0, 100, 10)
    table.decide(decided, 0.0)
    assert decided.stream.head == b""
    assert decided.server is None


def test_a_flow_replaces_its_predecessor() -> None:
    """There is one flow a tuple, decided or not."""
    table = FlowTable(10)
    old, new = flow(1), flow(1)
    table.open(old)
    table.decide(old, 0.0)
    table.open(new)
    assert (len(table), table.get(old.key)) == (1, new)


@given(st.lists(st.tuples(st.integers(0, 8), st.sampled_from(["open", "touch", "decide"]), st.floats(0, 5000)),
                max_size=60))
def test_never_more_than_the_limit(events: list[tuple[int, str, float]]) -> None:
    """Whatever happens, the table holds at most ``limit`` flows, and the last one opened is there."""
    table, now = FlowTable(4), 0.0
    for number, event, passed in events:
        now += passed
        found = table.get(flow(number).key)
        if event == "open" or found is None:
            opened = flow(number, now)
            table.open(opened)
            assert table.get(opened.key) is opened
        elif event == "touch":
            table.touch(found, now)
        else:
            table.decide(found, now)
        assert len(table) <= 4
