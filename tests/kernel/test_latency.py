"""How long a packet has waited for its verdict, by the kernel's clock."""

from __future__ import annotations

import socket
import time

from nfqdpi import assemble
from nfqdpi.config import Config
from nfqdpi.core.decision import Decision
from nfqdpi.core.verdict import MarkField
from nfqdpi.kernel import firewall
from nfqdpi.kernel.clock import Moment
from nfqdpi.kernel.queue import Queue
from nfqdpi.kernel.ruleset import RuleSet
from nfqdpi.lab.network import Lab
from tests.kernel.origin import Origin, Visitor

_SO_TIMESTAMP = 29  # asm-generic/socket.h
_WAIT = 0.3  # seconds


def test_the_wait_in_the_queue_counts(lab: Lab, origin: Origin) -> None:
    """While somebody on the machine wants timestamps, a packet's wait begins when the kernel gets it, not when it is
    read."""
    waits = []

    def told(length: int, decision: Decision, waited: float, answered: Moment) -> None:
        waits.append(waited)

    def judged(decision: Decision) -> None:
        assert not waits

    config = Config()
    with lab.gateway.entered():
        wanting = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        wanting.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMP, 1)
        firewall.install(RuleSet(strict=False))
        queue = Queue(0, assemble.engine(config, assemble.policy(config)), MarkField(), length=100,
                      pass_when_full=False, judged=judged, told=told)
    with wanting, Visitor(lab.client, 4) as visitor:
        visitor.socket.sendall(b"GET / HTTP/1.1\r\nHost: x.example\r\n\r\n")
        time.sleep(_WAIT)
        queue.serve()
        queue.tell()
        assert visitor.socket.recv(65536).startswith(b"HTTP/1.1 200")
    queue.close()
    assert waits[0] >= _WAIT / 2
