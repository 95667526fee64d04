"""Datagrams that a client's kernel sends as one packet, which comes apart behind the gateway (UDP_SEGMENT)."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from nfqdpi.lab.network import CLIENT, SERVER, Family, Lab
from nfqdpi.lab.resolver import Resolver
from nfqdpi.lab.web import WebServer
from nfqdpi.testing.dns import dns_query
from nfqdpi.testing.quic import flight
from nfqdpi.testing.tls import hello
from tests.kernel.daily import FAMILIES, Gateway, config, wait_until
from tests.kernel.http3 import Http3Origin
from tests.kernel.test_dns import dns

UDP_SEGMENT = 103  # linux/udp.h
SHORT = b"\x40"  # a QUIC packet with a short header begins so


@pytest.fixture
def http3(lab: Lab, web: WebServer) -> Iterator[Http3Origin]:
    with Http3Origin(lab.server, web.certificate, web.here / "server.key") as listening:
        yield listening


@contextmanager
def sending(lab: Lab, family: Family) -> Iterator[Callable[..., None]]:
    """``send(port, *datagrams)``: all of the first one's length, but for the last, which may be shorter."""
    with lab.client.entered():
        sender = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
    with sender:
        sender.bind((CLIENT[family], 0))

        def send(port: int, *datagrams: bytes) -> None:
            sender.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, len(datagrams[0]))
            sender.sendto(b"".join(datagrams), (SERVER[family], port))

        yield send


@pytest.mark.parametrize("mode", ["strict", "fast"])
def test_questions(lab: Lab, gateway: Gateway, mode: str) -> None:
    """None behind another reaches the resolver; those that come one by one are judged as ever."""
    gateway(dns(lab, mode))
    allowed, blocked = (dns_query(name) for name in ("allowed.example", "www.blocked.example"))
    filled = allowed + bytes(len(blocked) - len(allowed))
    with Resolver(lab.server, lab.state / "resolver") as resolver:
        for family in FAMILIES:
            with sending(lab, family) as send:
                send(53, filled, blocked)
                send(53, allowed)
        assert wait_until(lambda: len(resolver.asked) >= 2, 5)
        assert {name for _, name in resolver.asked} == {"allowed.example"}


@pytest.mark.parametrize("mode", ["strict", "fast"])
def test_hellos(lab: Lab, gateway: Gateway, http3: Http3Origin, mode: str) -> None:
    """Neither does a hello behind what is no hello; an allowed one in two datagrams does."""
    gateway(config(lab, mode))
    for family in FAMILIES:
        for first in (SHORT, b"\xf0\0\0\0\1", b"\xc0\x1a\x2a\x3a\x4a\x08"):
            (blocked,) = flight(hello("www.blocked.example")[5:], dcid=os.urandom(8))
            with sending(lab, family) as send:
                send(443, first + bytes(len(blocked) - len(first)), blocked)
        with sending(lab, family) as send:
            send(443, *flight(hello("allowed.example")[5:], [100], dcid=os.urandom(8)))
    assert wait_until(lambda: http3.names.count("allowed.example") >= len(FAMILIES), 5)
    time.sleep(0.5)
    assert set(http3.names) == {"allowed.example"}
