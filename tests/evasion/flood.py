"""More than a gateway can hold: flows that never say who they are for, and packets faster than they can be judged."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nfqdpi.lab.namespace import Namespace
from nfqdpi.lab.network import SERVER, Family
from nfqdpi.testing.http import request
from nfqdpi.testing.packets import ACK, PSH, SYN
from nfqdpi.testing.tls import record
from tests.evasion.case import DECOY
from tests.evasion.hellos import padded
from tests.evasion.packets import How, Place, segment
from tests.evasion.stage import Stage
from tests.evasion.wire import Wire, far, lan

# Nobody has these addresses: no kernel answers for them.
FLOODER: dict[Family, str] = {4: "192.0.2.70", 6: "2001:db8:1::70"}
NOBODY: dict[Family, str] = {4: "198.51.100.9", 6: "2001:db8:2::9"}

_BATCH = 200  # flows
_MOST_WAITING = 1000  # packets in the queues, of the 8192 that fit in each
_FIRST_PORT = 10_000
_WAITING, _DROPPED = 2, 5  # columns of nfnetlink_queue


def queues(gateway: Namespace, column: int) -> int:
    """The sum of a column over the namespace's queues."""
    with gateway.entered():
        lines = Path("/proc/thread-self/net/netfilter/nfnetlink_queue").read_text().splitlines()
    return sum(int(line.split()[column]) for line in lines)


def dropped(gateway: Namespace) -> int:
    """Packets that found the queue full and were dropped."""
    return queues(gateway, _DROPPED)


def half_open(stage: Stage, family: Family, flows: range) -> None:
    """Flows by number that are opened and then say 1380 bytes of a ClientHello without an end. Both ends are ours; on
    IPv6 each flow has an address of its own in the clients' network."""
    client, server = Wire(lan(stage.lab), FLOODER.values()), Wire(far(stage.lab), NOBODY.values())
    hello = record(padded(DECOY, 15_000))[:1380]
    for start in range(0, len(flows), _BATCH):
        places = [Place(family, FLOODER[family] if family == 4 else f"{FLOODER[6]}:{number:x}", NOBODY[family],
                        _FIRST_PORT + number, 443)
                  for number in flows[start : start + _BATCH]]
        for place in places:
            client.send(segment(place, 1000, 0, b"", How(flags=SYN)))
        for place in places:
            server.send(segment(place.back, 5000, 1001, b"", How(flags=SYN | ACK)))
        for place in places:
            client.send(segment(place, 1001, 5001, hello, How(flags=ACK | PSH)))
        while queues(stage.lab.gateway, _WAITING) > _MOST_WAITING:
            time.sleep(0.001)
    client.close()
    server.close()


class Burst:
    """Packets of one flow as fast as they can be sent: a body, of which every packet is queued. ``sent`` counts."""

    def __init__(self, stage: Stage, family: Family) -> None:
        head = request(DECOY, "Content-Length: 100000000", method="POST")
        self.sent = 0
        self._stream = stage.adversary.stream(family, SERVER[family], 80).open()
        self._stream.send(head)
        self._stream.await_ack(len(head))
        self._frame = self._stream.packet(b"x", len(head) + 1)
        self._going = True
        self._thread = threading.Thread(target=self._send)
        self._thread.start()

    def _send(self) -> None:
        while self._going:
            self._stream.owner.send(self._frame)
            self.sent += 1

    def stop(self) -> None:
        self._going = False
        self._thread.join()
        self._stream.close()


@contextmanager
def bursting(stage: Stage) -> Iterator[list[Burst]]:
    """A burst in each family."""
    bursts = [Burst(stage, family) for family in SERVER]
    try:
        yield bursts
    finally:
        for burst in bursts:
            burst.stop()
