"""Queues as the kernel lists them, and what a full one does."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator

import pytest

from nfqdpi.core.verdict import MarkField, Verdict
from nfqdpi.kernel import queues
from nfqdpi.kernel.queue import Queue
from nfqdpi.lab.namespace import Namespace
from tests.core.transcript import Talk, engine
from tests.kernel.listener import Listener
from tests.kernel.namespaces import fresh

NUMBER = 7


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    with fresh() as built:
        built.run(f"iptables -A INPUT -p udp --dport 5000 -j NFQUEUE --queue-num {NUMBER}".split())
        yield built


@pytest.fixture
def receiver(namespace: Namespace) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 5000))
        bound.settimeout(2)
        yield bound


def send(count: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(count):
            sender.sendto(b"datagram", ("127.0.0.1", 5000))


def received(receiver: socket.socket) -> int:
    """How many datagrams have arrived; over loopback they have when send returns."""
    receiver.setblocking(False)
    count = 0
    try:
        while receiver.recv(100):
            count += 1
    except BlockingIOError:
        return count
    return count


@pytest.mark.parametrize("on", [True, False])
def test_a_full_queue_passes_or_drops(namespace: Namespace, receiver: socket.socket, *, on: bool) -> None:
    """Of ten packets a queue of four holds four: the others pass at once when it fails open, or are gone. What it
    holds gets its verdict later in both cases: the flag's message has left nothing behind that disturbs the library."""
    listener = Listener(namespace, number=NUMBER, length=4)
    try:
        listener.pass_when_full(on=on)
        send(10)
        held = queues.queues()[NUMBER]
        assert (held.waiting, held.dropped) == (4, 0 if on else 6)
        assert received(receiver) == (6 if on else 0)
        listener.start()
        receiver.settimeout(2)
        assert [receiver.recv(100) for _ in range(4)] == [b"datagram"] * 4
        assert len(listener.packets) == 4
    finally:
        listener.close()


@pytest.mark.usefixtures("receiver")
@pytest.mark.parametrize("on", [True, False])
def test_only_a_queue_that_fails_open_lets_openings_by(namespace: Namespace, *, on: bool) -> None:
    """Without a moment's pause in a queue's length of packets some may have passed unseen where it fails open. Where it
    drops them, a client that fills it gains nothing: a flow that it has lost is not believed."""
    judge = engine(max_flows=16)
    flow = Talk(judge, now=time.monotonic())
    flow.opens()
    for sport in range(16):
        Talk(judge, sport=sport, now=flow.now).opens()
    queue = Queue(NUMBER, judge, MarkField(), length=256, pass_when_full=on)
    send(256)
    assert queue.serve()
    flow.mark = Verdict.UNSEEN
    assert flow.client(b"\xfe" * 99) == ("accelerate midstream" if on else "block timeout")
    queue.close()


def test_a_socket_that_was_full(namespace: Namespace, receiver: socket.socket) -> None:
    """What does not fit into it passes where the queue fails open, which is known then; what did fit is judged."""
    namespace.run(["iptables", "-F", "INPUT"])
    namespace.run(f"iptables -A OUTPUT -p udp -m mark --mark 0 -j NFQUEUE --queue-num {NUMBER}".split())
    judge = engine(max_flows=16)
    flow = Talk(judge, now=time.monotonic())
    flow.opens()
    for sport in range(16):
        Talk(judge, sport=sport, now=flow.now).opens()
    queue = Queue(NUMBER, judge, MarkField(), length=4096, pass_when_full=True)
    with socket.socket(fileno=os.dup(queue.fileno())) as ours:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    send(100)
    passed = received(receiver)
    assert 0 < passed < 100
    assert not queue.serve()
    assert passed + received(receiver) == 100
    assert queue.packets == 100 - passed
    flow.mark = Verdict.UNSEEN
    assert flow.client(b"\xfe" * 99) == "accelerate midstream"
    queue.close()


def test_failing_open_can_be_taken_back(namespace: Namespace, receiver: socket.socket) -> None:
    """Off after on drops again: the mask names the flag, its value is the choice."""
    listener = Listener(namespace, number=NUMBER, length=1)
    try:
        listener.pass_when_full(on=True)
        send(3)
        assert received(receiver) == 2
        listener.pass_when_full(on=False)
        send(3)
        assert received(receiver) == 0
    finally:
        listener.close()


def test_the_owner_is_found(namespace: Namespace) -> None:
    """A queue tells who listens; one that nobody listens on is not listed."""
    assert queues.queues() == {}
    with Listener(namespace, number=NUMBER):
        [queue] = queues.queues().values()
        assert (queue.number, queue.owner) == (NUMBER, os.getpid())
    assert queues.queues() == {}


def test_packets_are_counted(namespace: Namespace, receiver: socket.socket) -> None:
    """The counter tells all packets that ever entered, judged or not."""
    with Listener(namespace, number=NUMBER):
        send(5)
        assert [receiver.recv(100) for _ in range(5)] == [b"datagram"] * 5
        time.sleep(0.01)
        assert queues.queues()[NUMBER].packets == 5


def test_the_probe_for_glue_leaves_no_queue(namespace: Namespace) -> None:
    """Asking the kernel what it can do takes no queue from anybody."""
    assert queues.glue() in (True, False)
    assert queues.queues() == {}


def test_a_packet_that_leaves_with_its_interface(namespace: Namespace) -> None:
    """The kernel drops what waits for an interface that goes down, and says so when the verdict comes: that is no
    packet, and the queue has no more for now."""
    for command in (f"iptables -A OUTPUT -d 192.0.2.9 -m mark --mark 0 -j NFQUEUE --queue-num {NUMBER}",
                    "ip link add v0 type veth peer name v1", "ip link set v1 up", "ip link set v0 up",
                    "ip addr add 192.0.2.1/24 dev v0", "ip neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev v0"):
        namespace.run(command.split())
    told: list[int] = []
    queue = Queue(NUMBER, engine(), MarkField(), length=64, pass_when_full=False,
                  told=lambda length, *_: told.append(length))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"datagram", ("192.0.2.9", 443))
        namespace.run(["ip", "link", "set", "v0", "down"])
        assert [queue.serve() for _ in range(2)] == [False, False]
        namespace.run(["ip", "link", "set", "v0", "up"])
        namespace.run(["ip", "neigh", "replace", "192.0.2.9", "lladdr", "02:00:00:00:00:09", "dev", "v0"])
        sender.sendto(b"next", ("192.0.2.9", 443))
    assert not queue.serve()
    queue.close()
    assert told == [20 + 8 + len(data) for data in (b"datagram", b"next")]


def test_packets_that_wait_together(namespace: Namespace, receiver: socket.socket) -> None:
    """All go on, in their order, though they are answered several at a time, and one cannot be told of. One that came
    alone is told of when the worker has time."""
    namespace.run(["iptables", "-F", "INPUT"])
    namespace.run(f"iptables -A OUTPUT -p udp -m mark --mark 0 -j NFQUEUE --queue-num {NUMBER}".split())
    told: list[int] = []
    failed: list[BaseException] = []

    def tell(length: int, *_: object) -> None:
        told.append(length)
        if len(told) == 3:
            raise ValueError

    queue = Queue(NUMBER, engine(), MarkField(), length=64, pass_when_full=False, told=tell, failed=failed.append)
    numbers = [b"%02d" % number for number in range(20)]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for number in numbers:
            sender.sendto(number, ("127.0.0.1", 5000))
        assert not queue.serve()
        assert [receiver.recv(100) for _ in numbers] == numbers
        assert len(told) == len(numbers)
        sender.sendto(b"alone", ("127.0.0.1", 5000))
        assert not queue.serve()
        assert receiver.recv(100) == b"alone"
        assert len(told) == len(numbers)
        queue.tell()
        assert told[-1] == 20 + 8 + len(b"alone")
    assert (queue.faults, list(map(type, failed))) == (1, [ValueError])
    queue.close()
