"""The lab's bad link."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress

import pytest

from nfqdpi.lab.link import Trouble
from nfqdpi.lab.network import Family, Lab
from tests.kernel.datagrams import both_ends

SO_RCVBUFFORCE = 33  # asm-generic/socket.h
SENT = 4000
BURST = 50  # within what the queues on the way hold


def received(trouble: Trouble, family: Family, *, wan: bool = False) -> list[int]:
    """The numbers of the datagrams that come through, in the order in which they come."""
    links = (None, trouble) if wan else (trouble, None)
    with Lab(f"nfqdpi-lab-test{os.getpid()}", lan=links[0], wan=links[1]) as lab, \
            both_ends(lab, 5000, family) as (client, server):
        server.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, SENT * 1024)
        server.settimeout(0.2)
        heard: list[int] = []
        for number in range(SENT):
            client.send(number.to_bytes(4))
            if number % BURST == BURST - 1:
                time.sleep(0.002)
        with suppress(TimeoutError):
            while True:
                heard.append(int.from_bytes(server.recv(4)))
        return heard


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("wan", [False, True], ids=["lan", "wan"])
def test_a_link_without_trouble_is_a_link(family: Family, *, wan: bool) -> None:
    """Everything once, and in order."""
    assert received(Trouble(), family, wan=wan) == list(range(SENT))


@pytest.mark.parametrize("wan", [False, True], ids=["lan", "wan"])
def test_trouble_is_what_was_asked_for(*, wan: bool) -> None:
    """As many are lost, doubled and late as was said."""
    lost = SENT - len(set(received(Trouble(loss=0.05), 4, wan=wan)))
    doubled = len(received(Trouble(duplicate=0.05), 4, wan=wan)) - SENT
    order = received(Trouble(reorder=0.05), 4, wan=wan)
    late = sum(number < max(order[: place + 1]) for place, number in enumerate(order))
    assert sorted(order) == list(range(SENT))
    for count in (lost, doubled, late):
        assert 0.03 * SENT < count < 0.07 * SENT
