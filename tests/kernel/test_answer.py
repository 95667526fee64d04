"""Answers in a server's name, beside conntrack."""

from __future__ import annotations

import socket
from ipaddress import ip_address

import pytest

from nfqdpi.core.envelope import datagram
from nfqdpi.core.packet import UDP, FlowKey
from nfqdpi.kernel.answer import Answerer
from nfqdpi.lab.network import CLIENT, SERVER, Family, Lab
from nfqdpi.testing.packets import ip, udp
from tests.kernel.namespaces import PROGRAM, fresh

FAMILIES: tuple[Family, ...] = (4, 6)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_answer_arrives_and_leaves_no_trace(lab: Lab, family: Family) -> None:
    """The client takes it for the server's, and conntrack does not know of it, NAT or not."""
    lab.gateway.run([PROGRAM[family], "-t", "nat", "-A", "POSTROUTING", "-o", "wan0", "-j", "MASQUERADE"])
    link = lab.client.run(["cat", "/sys/class/net/eth0/address"]).stdout
    address = bytes.fromhex(link.strip().replace(":", ""))
    with lab.client.entered(), socket.socket(
            socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as client:
        client.connect((SERVER[family], 53))
        client.settimeout(5)
        port = client.getsockname()[1]
        with lab.gateway.entered(), Answerer() as answerer:
            key = FlowKey(ip_address(SERVER[family]).packed, ip_address(CLIENT[family]).packed, 53, port, UDP)
            assert answerer.send(datagram(key, b"answer"), socket.if_nametoindex("lan0"), address)
        assert client.recv(100) == b"answer"
    assert f"dport={port} " not in lab.gateway.run(["conntrack", "-L"]).stdout


def test_what_has_nowhere_to_go() -> None:
    """An unknown interface, and one that wants another kind of address: False, and no exception."""
    with fresh(), Answerer() as answerer:
        packet = ip(17, udp(b"x"))
        assert not answerer.send(packet, 0, b"")
        assert not answerer.send(packet, 4711, bytes(6))
        assert answerer.send(packet, socket.if_nametoindex("lo"), bytes(6))
