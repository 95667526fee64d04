"""The table of what clients were told, and what it makes of flows that hide their names."""

from __future__ import annotations

import os
import random
from ipaddress import ip_address
from mmap import mmap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfqdpi.core.classifier import Known
from nfqdpi.core.engine import Engine
from nfqdpi.core.known import IDLE, LEAST, SIZE, STAGES, KnownTable
from nfqdpi.plugins import dns, tls
from nfqdpi.policy.model import Policy
from nfqdpi.testing.dns import AAAA, A, answer, query, resource
from nfqdpi.testing.packets import ip, tcp, udp
from nfqdpi.testing.tls import hello
from tests.core.transcript import OPEN

ONE_CELL = SIZE // 8192  # a memory with a cell in each stage
CLIENT, SERVER = bytes((10, 0, 0, 2)), bytes((192, 0, 2, 1))


def table(size: int = SIZE) -> KnownTable:
    return KnownTable(mmap(-1, size))


def test_a_name_is_known_for_as_long_as_its_answer_counts() -> None:
    """Not past the TTL, nor past the time without a flow; each flow to it gives it that time anew."""
    names = table()
    names.learn(CLIENT, Known("a.example", SERVER, 250), 1000.0)
    assert names.names(CLIENT, SERVER, 1000.0 + IDLE) == ("a.example",)
    assert names.names(CLIENT, SERVER, 1000.0 + 2 * IDLE) == ("a.example",)
    assert names.names(CLIENT, SERVER, 1251.0) == ()
    names.learn(CLIENT, Known("b.example", SERVER, 3600), 1300.0)
    assert names.names(CLIENT, SERVER, 1301.0 + IDLE) == ()
    assert (names.learned, names.evicted, names.found, names.missed) == (2, 0, 2, 2)


def test_an_answer_for_once_serves_the_flow_that_follows() -> None:
    """A TTL of 0 is of the next few seconds."""
    names = table()
    names.learn(CLIENT, Known("a.example", SERVER, 0), 1000.0)
    assert names.names(CLIENT, SERVER, 1000.0 + LEAST) == ("a.example",)
    assert names.names(CLIENT, SERVER, 1000.1 + LEAST) == ()


def test_the_latest_name_of_an_address_is_the_first() -> None:
    """An address that is asked for again by an earlier name is that name's again; nobody else has heard of it."""
    names = table()
    for number, name in enumerate(("a.example", "b.example", "a.example")):
        names.learn(CLIENT, Known(name, SERVER, 60), 1000.0 + number)
        assert names.names(CLIENT, SERVER, 1000.0 + number)[0] == name
    assert names.names(CLIENT, SERVER, 1003.0) == ("a.example", "b.example")
    assert names.names(SERVER, CLIENT, 1003.0) == names.names(CLIENT, CLIENT, 1003.0) == ()


def test_a_newcomer_takes_the_place_of_the_one_unused_for_longest() -> None:
    """Where every stage is taken; a place that counts no more goes first, and is no loss."""
    names = table(ONE_CELL)
    clients = [bytes((10, 0, 1, number)) for number in range(STAGES + 1)]
    for number, client in enumerate(clients):
        names.learn(client, Known(f"{number}.example", SERVER, 60 + number), 1000.0 + number)
        names.names(clients[0], SERVER, 1000.5 + number)
    assert [bool(names.names(client, SERVER, 1005.0)) for client in clients] == [True, False, *[True] * (STAGES - 1)]
    assert names.evicted == 1
    names.learn(CLIENT, Known("late.example", SERVER, 60), 1061.0)  # the TTL of the first is over
    assert (names.names(CLIENT, SERVER, 1061.0), names.evicted) == (("late.example",), 1)


def test_what_no_host_is_called_is_not_put_down() -> None:
    """A name that escaped bytes make longer than names are."""
    names = table()
    names.learn(CLIENT, Known("\\000" * 64, SERVER, 60), 1000.0)
    assert (names.names(CLIENT, SERVER, 1000.0), names.learned) == ((), 0)


PAIRS = st.tuples(st.integers(0, 5), st.integers(0, 5))


@given(st.lists(st.tuples(PAIRS, st.integers(0, 2), st.integers(0, 30), st.floats(0.001, 60)), max_size=60),
       st.integers(1, 3))
def test_what_it_says_was_told(steps: list[tuple[tuple[int, int], int, int, float]], cells: int) -> None:
    """Against a dictionary, whatever has to go: a name that counts no more, or was told to another, is never said."""
    names, truth, now = table(cells * ONE_CELL), dict[tuple[bytes, bytes, str], float](), 1000.0
    for (who, where), which, ttl, later in steps:
        now += later
        client, server, name = bytes((10, 0, 0, who)), bytes((192, 0, 2, where)), f"{which}.example"
        names.learn(client, Known(name, server, ttl), now)
        truth[client, server, name] = now + max(ttl, LEAST)
        assert names.names(client, server, now)[0] == name
        for one in range(6):
            for other in range(6):
                pair = bytes((10, 0, 0, one)), bytes((192, 0, 2, other))
                assert all(truth.get((*pair, said), 0) >= now for said in names.names(*pair, now))


@given(st.data())
def test_torn_cells_say_nothing(data: st.DataObject) -> None:
    """Whatever parts of cells lie over others', only what was told is said, and the table goes on."""
    memory = mmap(-1, ONE_CELL)
    names = KnownTable(memory)
    told = {bytes((10, 0, 0, who)): f"{'x' * (who * 9)}{who}.example" for who in range(STAGES)}
    for client, name in told.items():
        names.learn(client, Known(name, SERVER, 60), 1000.0)
    before = memory[:]
    for _ in range(data.draw(st.integers(1, 4))):
        start, at = (data.draw(st.integers(0, len(memory) - 1)) for _ in range(2))
        size = min(data.draw(st.integers(1, 300)), len(memory) - max(start, at))
        memory[at : at + size] = data.draw(st.sampled_from((before[start : start + size], os.urandom(size))))
    for client, name in told.items():
        assert names.names(client, SERVER, 1001.0) in ((), (name,))
    names.learn(CLIENT, Known("a.example", SERVER, 60), 1002.0)
    assert names.names(CLIENT, SERVER, 1002.0)[0] == "a.example"


def test_workers_that_write_the_same_cells() -> None:
    """Two processes that write one small table all the time, while a third reads it: no name is another pair's."""
    memory, stop = mmap(-1, ONE_CELL), mmap(-1, 1)
    pairs = [(os.urandom(4), os.urandom(4)) for _ in range(12)]
    children = []
    for _ in range(2):
        if (pid := os.fork()) == 0:
            try:
                names, now = KnownTable(memory), 1000.0
                while not stop[0]:
                    for client, server in random.sample(pairs, 12):
                        now += 0.001
                        names.learn(client, Known(f"{client.hex() * 9}.{server.hex()}", server, 60), now)
            finally:
                os._exit(0)
        children.append(pid)
    names, said = KnownTable(memory), 0
    while said < 2000:
        for client, server in pairs:
            found = names.names(client, server, 1001.0)
            assert found in ((), (f"{client.hex() * 9}.{server.hex()}",))
            said += len(found)
    stop[0] = 1
    for pid in children:
        os.waitpid(pid, 0)


@pytest.mark.parametrize("six", [False, True])
def test_flows_that_hide_their_names_have_those_that_were_asked_for(six: bool) -> None:
    """10,000 flows whose hello names nobody, of 200 clients to 500 addresses that 20,000 names share, each seen by
    another worker than its DNS: all have the name that their client asked for. Not one has another."""
    memory = mmap(-1, SIZE)
    tables = [KnownTable(memory) for _ in range(4)]
    workers = [Engine((tls.classifier, dns.over_udp(dns.Settings())), Policy(), OPEN, known=one) for one in tables]
    net, kind = ("2001:db8:{:x}::{:x}", AAAA) if six else ("10.{}.0.{}", A)
    flows = random.Random(7).sample([(client, server) for client in range(200) for server in range(500)], 10_000)  # noqa: S311
    resolver, now, named = net.format(9, 53), 1000.0, 0
    for number, (who, where) in enumerate(flows):
        client, server = net.format(1, who + 1), net.format(2 + where // 250, where % 250 + 1)
        name, now = f"host{number % 20_000}.site{where}.example", now + 0.005
        ask = ip(17, udp(query(name, kind), sport=5353, dport=53), client, resolver)
        told = answer(name, kind, resource(name, kind, ip_address(server).packed, ttl=30))
        workers[who % 4].process(ask, now)
        workers[who % 4].process(ip(17, udp(told, sport=53, dport=5353), resolver, client), now)
        opens = ip(6, tcp(hello(None), sport=number % 60_000 + 1024, dport=443), client, server)
        (judged,) = workers[(who + where) % 4].process(opens, now + 0.05).judgements
        assert judged.classification
        assert judged.classification.names in ((name,), ())
        named += judged.classification.names == (name,)
    assert named >= 9_990
    assert sum(one.evicted for one in tables) < 10
