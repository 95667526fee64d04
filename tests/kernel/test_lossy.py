"""Well-behaved clients over a bad link: nobody is hurt, and what is blocked stays blocked."""

from __future__ import annotations

import os
import socket
import time
from contextlib import ExitStack
from typing import Literal

import pytest

from nfqdpi.lab.cases import NAMES
from nfqdpi.lab.daemon import daemon
from nfqdpi.lab.link import Trouble
from nfqdpi.lab.network import Family, Lab
from nfqdpi.lab.web import WebServer
from nfqdpi.testing.packets import SYN
from nfqdpi.testing.tls import handshake, hello, record, server_hello
from tests.kernel.daily import FAMILIES, config
from tests.kernel.origin import Visitor
from tests.soak import crowd
from tests.soak.crowd import ALLOWED

TROUBLE = Trouble(loss=0.05, duplicate=0.05, reorder=0.05)
VISITS = 120  # of each program
ETH_P_ALL = 3  # linux/if_ether.h
TCP_FLAGS = {4: 14 + 20 + 13, 6: 14 + 40 + 13}  # where they stand in a frame without options


@pytest.mark.parametrize("where", ["lan", "wan"])
def test_nobody_is_hurt(where: Literal["lan", "wan"]) -> None:
    """Of some hundred parallel visits on both families, over a link before the gateway or behind it that loses,
    doubles and reorders 5 %, each ends as its name deserves; no event, no server and no client says otherwise."""
    links = (TROUBLE, None) if where == "lan" else (None, TROUBLE)
    with Lab(f"nfqdpi-lab-test{os.getpid()}", lan=links[0], wan=links[1]) as lab:
        web = WebServer(lab.server, lab.state / "web", NAMES)
        with daemon(lab, config(lab)):
            for way in ("curl", "openssl", "keep-alive", "python"):
                tally = crowd.send(lab, web, way, range(VISITS))
                assert tally.wrong == []
                assert tally.ends == {"allowed.example ok": VISITS * 9 // 10, "blocked.example reset": VISITS // 10}
        assert crowd.wrongly_blocked(lab) == []
        assert crowd.got_through(web) == []


@pytest.mark.parametrize("family", FAMILIES)
def test_a_late_copy_of_the_syn(family: Family) -> None:
    """The network repeats the SYN between a ClientHello and its answer: the flow is confirmed all the same.

    TLS 1.2, whose client goes on with a handshake message that looks like the start of another hello.
    """
    key_exchange = record(handshake(16, bytes(32)), version=0x0303)
    # A link, though without trouble: frames leave the client with whole checksums, fit to be sent again.
    with Lab(f"nfqdpi-lab-test{os.getpid()}", lan=Trouble()) as lab, daemon(lab, config(lab)), ExitStack() as sockets:
        with lab.client.entered():
            wire = sockets.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)))
        with lab.server.entered():
            kind = socket.AF_INET if family == 4 else socket.AF_INET6
            listener = sockets.enter_context(socket.create_server(("", 443), family=kind))
        wire.bind(("eth0", ETH_P_ALL))
        visitor = sockets.enter_context(Visitor(lab.client, family, port=443)).socket
        syn = next(frame for frame in iter(lambda: wire.recv(2000), b"") if frame[TCP_FLAGS[family]] == SYN)
        server = sockets.enter_context(listener.accept()[0])
        server.settimeout(2)
        visitor.sendall(hello(ALLOWED))
        assert server.recv(65536)
        wire.send(syn)
        time.sleep(0.05)
        server.sendall(server_hello())
        assert visitor.recv(65536)
        visitor.sendall(key_exchange)
        assert server.recv(65536) == key_exchange
