"""The table of flows: bounded, aged, least recently used first to go."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfqdpi.core.decision import Client
from nfqdpi.core.flow import Flow
from nfqdpi.core.packet import FlowKey
from nfqdpi.core.stream import StreamBuffer
from nfqdpi.core.table import FlowTable
from nfqdpi.core.verdict import Verdict


def flow(client: int, now: float = 0.0, port: int = 1, size: int = 4) -> Flow:
    """A flow of a client, whose address has that size."""
    key = FlowKey(client.to_bytes(size, "big"), bytes(size), port, 443, 6)
    return Flow(key, Client(key.src), StreamBuffer(0, 1 << 23, 10), (), now)


def decide(table: FlowTable[Flow], decided: Flow, verdict: Verdict, now: float = 0.0) -> None:
    decided.verdict = verdict
    table.decide(decided, now)


def test_a_full_table_forgets_the_accelerated_first() -> None:
    """An accelerated flow is only a convenience; any other is evidence."""
    table = FlowTable[Flow](2)
    first, second, third = flow(1), flow(2), flow(3)
    table.open(first)
    table.open(second)
    decide(table, second, Verdict.ACCELERATE)
    table.open(third)
    assert [table.get(f.key) for f in (first, second, third)] == [first, None, third]
    assert table.evicted == 0


def test_then_the_least_recently_used_of_the_heaviest_client() -> None:
    """A packet makes its flow the last of its client's to go, and an undecided flow that goes is counted."""
    table = FlowTable[Flow](3)
    first, second, other = flow(1), flow(1, port=2), flow(2)
    for one in (other, first, second):
        table.open(one)
    table.touch(first, 1.0)
    table.open(flow(3))
    assert [table.get(f.key) for f in (first, second, other)] == [first, None, other]
    assert table.evicted == 1


def test_a_flood_evicts_itself() -> None:
    """However many flows one client opens, a few of the others' stay, and only that client's losses are suspicious."""
    table = FlowTable[Flow](64)
    modest = [flow(2, port=port) for port in range(1, 9)]
    for one in modest:
        table.open(one)
    for port in range(1, 1000):
        greedy = flow(1, port=port)
        table.open(greedy)
        greedy.since = 0.0
        table.touch(greedy, 0.0)
        table.weigh(greedy)
    assert all(table.get(one.key) is one for one in modest)
    assert table.has_lost(flow(1, port=5000).key)
    assert not table.has_lost(flow(2).key)


@pytest.mark.parametrize("flows", [1, 8])
def test_many_clients_make_nothing_dear(flows: int) -> None:
    """What it takes to make room does not grow with the number of clients."""
    assert _steps(clients=4096, flows=flows) < 2 * _steps(clients=64, flows=flows)


def _steps(clients: int, flows: int) -> int:
    """The calls, of Python's and of C's, that a hundred flows more take in a full table."""
    table, steps = FlowTable[Flow](clients * flows), 0

    def count(_frame: object, event: str, _arg: object) -> None:
        nonlocal steps
        steps += event in ("call", "c_call")

    for number in range(clients * flows):
        table.open(flow(number % clients, port=number))
    late = [flow(number, port=1 << 20) for number in range(1 << 20, (1 << 20) + 100)]
    sys.setprofile(count)
    for one in late:
        table.open(one)
    sys.setprofile(None)
    assert table.evicted == 100
    return steps


def test_a_flood_from_many_addresses_evicts_itself() -> None:
    """A host of IPv6 has as many addresses as it likes in its network: what counts is the network. Others lose nothing,
    its neighbours only what has been idle for as many flows as the table holds."""
    table = FlowTable[Flow](64)
    other = [flow(1 << 64 | 1, port=port, size=16) for port in range(1, 9)]
    neighbour = [flow(1, port=port, size=16) for port in range(1, 9)]
    for one in other + neighbour:
        table.open(one)
    for number in range(2, 1000):
        table.open(flow(number, size=16))
        if number % 40 == 0:
            table.touch(neighbour[0], 0.0)
    assert all(table.get(one.key) is one for one in other)
    assert [table.get(one.key) for one in neighbour] == [neighbour[0], *[None] * 7]


def test_few_flows_with_much_on_record() -> None:
    """The bytes are bounded like the flows: the client that holds most of them loses its oldest."""
    table = FlowTable[Flow](1000)
    small = flow(2)
    table.open(small)
    for port in range(1, 40):
        big = flow(1, port=port)
        table.open(big)
        big.stream.add(0, bytes(200_000))
        table.weigh(big)
        assert table.memory <= table.memory_limit
    assert table.get(small.key) is small
    assert table.get(flow(1, port=1).key) is None
    assert table.memory == sum(one.memory for one in table)


@pytest.mark.parametrize("verdict", [Verdict.INSPECT, Verdict.BLOCK])
def test_flows_without_a_byte_weigh_something_too(verdict: Verdict) -> None:
    """Neither half-open flows nor those that their first packet has blocked come on top of a memory that is full."""
    table = FlowTable[Flow](2048)
    heavy = flow(1)
    table.open(heavy)
    heavy.stream.add(0, bytes(table.memory_limit - 4000))
    table.weigh(heavy)
    for number in range(2, 20):
        if verdict.blocks:
            decide(table, flow(number), verdict)
        else:
            table.open(flow(number))
    assert table.memory <= table.memory_limit
    assert table.get(heavy.key) is None


def test_an_expired_flow_casts_no_doubt_on_others() -> None:
    """However many flows have ended in the ordinary way: what is remembered is each by itself, from either end."""
    table = FlowTable[Flow](20_000)
    for number in range(1, 9000):
        table.open(ended := flow(number))
        table.touch(ended, 0.0, ended=True)
    for number in range(1, 9000):
        table.open(flow(number, FlowTable.ENDED + 1, port=2))
    assert all(table.has_lost(flow(number).key) for number in range(1, 9000))
    assert table.has_lost(flow(1).key.reversed())
    assert sum(table.has_lost(flow(number, port=3).key) for number in range(1, 18_000)) < 18


def test_losses_are_remembered_for_hours() -> None:
    """An expired flow and a client that has evicted one, for as long as a server may hold the front of a request; then
    nobody is under suspicion any more."""
    table = FlowTable[Flow](2)
    table.open(ended := flow(1))
    table.touch(ended, 0.0, ended=True)
    for port in range(3):
        table.open(flow(2, FlowTable.ENDED + 1, port=port))
    evicted = flow(2, port=99).key
    for hours, remembered in ((1.9, True), (2.1, True), (4, True), (4.2, False)):
        table.open(flow(3, hours * 3600))
        assert (table.has_lost(ended.key), table.has_lost(evicted)) == (remembered, remembered)


def test_an_evicted_flow_is_its_clients_loss() -> None:
    """The server's packets must not pass for a client's of an older flow; other clients of its lose nothing."""
    table = FlowTable[Flow](1)
    table.open(flow(1))
    table.open(flow(2))
    assert table.has_lost(flow(1).key.reversed())
    assert not table.has_lost(flow(3).key.reversed())


def test_accelerated_flows_linger_then_go() -> None:
    """What queued up behind the deciding packet still finds the decision."""
    table = FlowTable[Flow](10)
    decided = flow(1)
    table.open(decided)
    decide(table, decided, Verdict.ACCELERATE)
    table.open(flow(2, FlowTable.LINGER))
    assert table.get(decided.key) is decided
    table.open(flow(3, FlowTable.LINGER + 1))
    assert table.get(decided.key) is None


def test_blocked_flows_stay() -> None:
    """A blocked flow whose mark gets lost (E8, or a tuple that conntrack forgets) is still known as blocked."""
    table = FlowTable[Flow](10)
    blocked = flow(1)
    table.open(blocked)
    decide(table, blocked, Verdict.BLOCK)
    table.open(flow(2, FlowTable.IDLE))
    assert table.get(blocked.key) is blocked


def test_idle_flows_go_last() -> None:
    """A preconnected flow may say nothing for long; then it is forgotten, and its client under suspicion (E7)."""
    table = FlowTable[Flow](10)
    idle = flow(1)
    table.open(idle)
    table.open(flow(2, FlowTable.IDLE))
    assert table.get(idle.key) is idle
    table.open(flow(3, FlowTable.IDLE + 1))
    table.open(flow(3, FlowTable.IDLE + 1, port=2))  # each opening looks at one client beside its own
    assert table.get(idle.key) is None
    assert table.has_lost(idle.key)


def test_a_decided_flow_gives_its_bytes_back() -> None:
    """A lingering flow costs what its entry costs."""
    table, decided = FlowTable[Flow](10), flow(1)
    table.open(decided)
    decided.stream.add(0, b"abc")
    decided.server = StreamBuffer(0, 100, 10)
    decide(table, decided, Verdict.BLOCK)
    assert decided.stream.head == b""
    assert decided.server is None


def test_a_flow_replaces_its_predecessor() -> None:
    """There is one flow a tuple, decided or not."""
    table = FlowTable[Flow](10)
    old, new = flow(1), flow(1)
    table.open(old)
    decide(table, old, Verdict.ACCELERATE)
    table.open(new)
    assert (len(table), table.get(old.key)) == (1, new)


@given(st.lists(st.tuples(st.integers(0, 8), st.sampled_from(["open", "touch", "decide"]), st.floats(0, 5000)),
                max_size=60))
def test_never_more_than_the_limit(events: list[tuple[int, str, float]]) -> None:
    """Whatever happens, the table holds at most ``limit`` flows, and the last one opened is there."""
    table, now = FlowTable[Flow](4), 0.0
    for number, event, passed in events:
        now += passed
        found = table.get(flow(number).key)
        if event == "open" or found is None:
            opened = flow(number, now)
            table.open(opened)
            assert table.get(opened.key) is opened
        elif event == "touch" and found.verdict is Verdict.INSPECT:
            table.touch(found, now)
            table.weigh(found)
        else:
            decide(table, found, Verdict.ACCELERATE if number % 2 else Verdict.BLOCK, now)
        assert len(table) <= 4


def test_an_ended_flow_that_goes_on_keeps_no_other() -> None:
    """A client may send its end over and over."""
    table = FlowTable[Flow](100)
    for one in (again := flow(1), silent := flow(2)):
        table.open(one)
        table.touch(one, 0.0, ended=True)
    table.touch(again, FlowTable.ENDED, ended=True)
    table.open(flow(3, FlowTable.ENDED + 1))
    assert [table.get(one.key) for one in (again, silent)] == [again, None]


def test_ended_flows_go_first() -> None:
    """What a client has ended makes room before anything that lives, and goes by itself once conntrack has forgotten
    it; its tuple is not trusted then (E7)."""
    table = FlowTable[Flow](4)
    living, ended, later = (flow(1, port=port) for port in (1, 2, 3))
    for one in (living, ended, later):
        table.open(one)
    for one in (ended, ended, later):
        table.touch(one, 0.0, ended=True)
    table.open(flow(1, port=4))
    table.open(flow(1, port=5))
    assert [table.get(one.key) for one in (living, ended, later)] == [living, None, later]
    assert (table.evicted, table.has_lost(ended.key)) == (0, True)
    aged = FlowTable[Flow](100)
    aged.open(first := flow(1, port=1))
    aged.touch(first, 0.0, ended=True)
    aged.open(flow(2, FlowTable.ENDED - 1))
    assert aged.get(first.key) is first
    aged.open(flow(2, FlowTable.ENDED + 1, port=9))
    assert aged.get(first.key) is None


def test_the_last_accelerated_flows_linger() -> None:
    """Packets of theirs wait in the queue yet, however full the table."""
    table = FlowTable[Flow](8)
    for port in range(1, 8):
        table.open(flow(1, port=port))
    for port in range(8, 14):
        table.open(one := flow(1, port=port))
        decide(table, one, Verdict.ACCELERATE)
    assert [port for port in range(1, 14) if table.get(flow(1, port=port).key)] == [*range(3, 8), 11, 12, 13]
