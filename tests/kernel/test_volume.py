"""Packets and bytes by name, against what went over a real link."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from nfqdpi.daemon.record import Record
from nfqdpi.daemon.volume import Volume
from nfqdpi.kernel import conntrack
from nfqdpi.lab.clients import curl
from nfqdpi.lab.daemon import Daemon
from nfqdpi.lab.network import CLIENT, Family, Lab
from nfqdpi.lab.web import BIG_FILE, WebServer
from tests.kernel.daily import Gateway, ask, config, wait_until
from tests.kernel.namespaces import fresh
from tests.kernel.origin import Origin, Visitor
from tests.kernel.test_conntrack import add
from tests.kernel.test_metrics import scrape
from tests.promtext import parse

_SIZE = 8_000_000
_HEADER = 14  # bytes of Ethernet's, which are none of conntrack's


def on_the_wire(lab: Lab) -> int:
    """Bytes of IP that the client has sent and received."""
    (link,) = json.loads(lab.client.run(["ip", "-s", "-j", "link", "show", "eth0"]).stdout)
    return sum(way["bytes"] - _HEADER * way["packets"] for way in link["stats64"].values())


def download(lab: Lab, web: WebServer, url: str, family: Family) -> int:
    """How many bytes that took."""
    before = on_the_wire(lab)
    answer = curl(lab.client, f"{url}/{BIG_FILE}", family, web.ca, "--range", f"0-{_SIZE - 1}", timeout=30)
    assert answer.outcome == "ok", answer
    return on_the_wire(lab) - before


def rows(lab: Lab, running: Daemon, which: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ask(lab, running, "stats", which, "--json").splitlines()]


def close(counted: int, real: int) -> bool:
    return abs(counted - real) <= real / 100 and counted > _SIZE


def test_bytes_by_name_are_those_of_the_link(lab: Lab, gateway: Gateway, web: WebServer) -> None:
    """Within 1 %: of flows that conntrack still has, of one whose end was heard, under its name, its domain and its
    client; and none is counted twice."""
    lab.gateway.set(netfilter__nf_conntrack_acct=1)
    running = gateway(config(lab) + "[metrics]\ndomains = 1\n")
    real = {"allowed.example": download(lab, web, "https://allowed.example", 4)}
    for _ in range(2):
        ((name, counted),) = [(row["name"], row["bytes"]) for row in rows(lab, running, "--names")]
        assert name == "allowed.example"
        assert close(counted, real[name]), (counted, real)
    real["www.allowed.example"] = download(lab, web, "http://www.allowed.example", 6)
    assert wait_until(lambda: "www.allowed.example" in (lab.state / "eve.json").read_text(), 5)  # it is on record
    lab.gateway.run(["conntrack", "-F"])
    counted = {row["name"]: row["bytes"] for row in rows(lab, running, "--names")}
    assert counted.keys() == real.keys()
    assert all(close(counted[name], real[name]) for name in real), (counted, real)
    domains = {row["domain"]: (row["bytes"], row["accelerate"]) for row in rows(lab, running, "--domains")}
    clients = {row["client"]: row["bytes"] for row in rows(lab, running, "--clients")}
    assert domains == {name: (volume, 1) for name, volume in counted.items()}  # nothing is registered below .example
    assert clients == {CLIENT[4]: counted["allowed.example"], CLIENT[6]: counted["www.allowed.example"]}
    top = json.loads(ask(lab, running, "top", "--by", "bytes", "--json"))["bytes"]
    assert {row["name"]: row["bytes"] for row in top} == counted
    told = parse(scrape(lab))["nfqdpi_domain_bytes_total"].samples
    assert {dict(labels)["domain"]: value for (_, labels), value in told.items()} == {
        "allowed.example": counted["allowed.example"], "other": counted["www.allowed.example"]}


def test_bytes_of_a_flow_that_lasts(lab: Lab, gateway: Gateway, origin: Origin) -> None:
    """They are told while it does, and grow; nothing else is counted when it ends."""
    lab.gateway.set(netfilter__nf_conntrack_acct=1)
    running = gateway(config(lab))

    def counted() -> int:
        return sum(row["bytes"] for row in rows(lab, running, "--names"))

    before = on_the_wire(lab)
    with Visitor(lab.client, 4) as visitor:
        assert visitor.ask("allowed.example") == "ok"
        assert wait_until(lambda: counted() > 300, 5)
        for _ in range(300):  # what neighbours ask each other is little beside it
            assert visitor.ask("allowed.example") == "ok"
        real = on_the_wire(lab) - before
        assert wait_until(lambda: abs(counted() - real) <= real / 100, 5), (counted(), real)
    sofar = counted()
    lab.gateway.run(["conntrack", "-F"])
    assert wait_until(lambda: counted() >= sofar, 5)
    assert counted() - sofar < 400  # its last segments


def test_ends_that_were_lost_are_owned_up_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where more flows end than the socket holds: in the figures, and by a notice; what is heard again counts."""
    monkeypatch.setattr(conntrack, "_EVENT_BUFFER", 4096)
    told: list[str] = []

    async def lose() -> Volume:
        volume = Volume(Record(), 0, lambda kind, *_: told.append(kind), lambda *_: None, lambda: True)
        task = asyncio.create_task(volume.follow())
        await asyncio.sleep(0)
        for sport in range(40000, 40040):
            add(namespace, sport=sport)
        namespace.run(["conntrack", "-F"])
        await asyncio.sleep(0.1)
        task.cancel()
        return volume

    with fresh() as namespace:
        volume = asyncio.run(lose())
    assert (volume.losses >= 1, told) == (True, ["volume_lost"])


def listeners(lab: Lab) -> int:
    """Sockets that hear of the ends of tracked flows (proc/net/netlink: protocol 12, and the bit of group 3)."""
    lines = lab.gateway.run(["cat", "/proc/net/netlink"]).stdout.splitlines()[1:]
    return sum(fields[1] == "12" and bool(int(fields[3], 16) & 4) for fields in map(str.split, lines))


def test_without_accounting(lab: Lab, gateway: Gateway, web: WebServer) -> None:
    """There is nothing to count, and it is said; nor is the kernel asked to tell of flows that end, until it counts."""
    lab.gateway.set(netfilter__nf_conntrack_acct=0)
    running = gateway(config(lab))
    download(lab, web, "http://allowed.example", 4)
    assert rows(lab, running, "--names") == []
    assert "nf_conntrack_acct" in ask(lab, running, "doctor", code=0)
    assert listeners(lab) == 0
    lab.gateway.set(netfilter__nf_conntrack_acct=1)
    assert wait_until(lambda: listeners(lab) == 1, 5)
    real = download(lab, web, "http://www.allowed.example", 4)
    assert wait_until(lambda: "www.allowed.example" in (lab.state / "eve.json").read_text(), 5)
    lab.gateway.run(["conntrack", "-F"])
    assert wait_until(lambda: rows(lab, running, "--names") != [], 5)
    ((name, counted),) = [(row["name"], row["bytes"]) for row in rows(lab, running, "--names")]
    assert name == "www.allowed.example"
    assert close(counted, real), (counted, real)
