"""Flows that run already follow the policy, with real clients and servers, whatever NAT does to them."""

from __future__ import annotations

import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Literal

import pytest

from nfqdpi.core.verdict import Verdict
from nfqdpi.lab.clients import curl
from nfqdpi.lab.gauges import tracked
from nfqdpi.lab.network import SERVER, Family, Lab
from nfqdpi.lab.web import BIG_FILE, WebServer
from tests.kernel.daily import FAMILIES, Gateway, config, wait_until
from tests.kernel.origin import Origin, Visitor
from tests.kernel.test_gateway import mark
from tests.kernel.test_reload import MORE, reload

Nat = Literal["", "masquerade", "dnat", "both"]

PROGRAM: dict[Family, str] = {4: "iptables", 6: "ip6tables"}
PUBLIC: dict[Family, str] = {4: "198.51.100.99", 6: "2001:db8:2::99"}  # the server, where the gateway translates it
OTHER = MORE.replace("allowed", "another")


def translate(lab: Lab, family: Family, nat: Nat) -> str:
    """Have the gateway translate; the server's address for clients."""
    for kind, rule in (("masquerade", "POSTROUTING -o wan0 -j MASQUERADE"),
                       ("dnat", f"PREROUTING -d {PUBLIC[family]} -j DNAT --to-destination {SERVER[family]}")):
        if nat in (kind, "both"):
            lab.gateway.run([PROGRAM[family], "-t", "nat", "-A", *rule.split()])
    return PUBLIC[family] if nat in ("dnat", "both") else SERVER[family]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("mode", "nat"), [
    ("strict", ""), ("fast", ""), ("strict", "masquerade"), ("strict", "dnat"), ("strict", "both"),
])
def test_an_idle_flow_is_cut_and_freed(lab: Lab, gateway: Gateway, origin: Origin, family: Family, mode: str,
                                       nat: Nat) -> None:
    """A kept-alive flow that nobody uses is cut by a reload that blocks its name; one that is allowed again before
    anybody noticed goes on as if nothing had been."""
    server = translate(lab, family, nat)
    running = gateway(config(lab, mode))
    visitor = partial(Visitor, lab.client, family, server=server)
    with visitor() as first, visitor() as second:
        assert [first.ask("allowed.example"), second.ask("allowed.example")] == ["ok", "ok"]
        before = mark(lab, family, second.port)
        reply = reload(lab, running, config(lab, mode) + MORE)
        assert (reply["cut"], reply["freed"]) == (2, 0)
        assert mark(lab, family, first.port) == Verdict.BLOCK
        assert first.ask("allowed.example") == "reset"
        reply = reload(lab, running, config(lab, mode))
        assert (reply["cut"], reply["freed"]) == (0, 2)
        assert mark(lab, family, second.port) == before
        assert second.ask("allowed.example") == "ok"
    assert origin.read.count(b"GET / ") == 3


@pytest.mark.parametrize("family", FAMILIES)
def test_a_refused_upgrade_is_freed_as_it_was(lab: Lab, gateway: Gateway, origin: Origin, family: Family) -> None:
    """An HTTP flow that has offered to leave HTTP, in vain, is no accelerated one after it was cut and freed (E12)."""
    running = gateway(config(lab))
    with Visitor(lab.client, family) as visitor:
        assert visitor.ask("allowed.example\r\nConnection: Upgrade\r\nUpgrade: websocket") == "ok"
        assert mark(lab, family, visitor.port) == Verdict.INSPECT
        assert reload(lab, running, config(lab) + MORE)["cut"] == 1
        assert reload(lab, running, config(lab))["freed"] == 1
        assert mark(lab, family, visitor.port) == Verdict.INSPECT
        assert visitor.ask("blocked.example") == "reset"
    assert b"blocked" not in origin.read


@pytest.mark.parametrize("family", FAMILIES)
def test_a_tls_flow_is_freed_as_it_was(lab: Lab, gateway: Gateway, web: WebServer, family: Family) -> None:
    """Whoever holds a TLS flow that was cut and freed before it was used again notices nothing, though its event was
    written before the server had confirmed the name."""
    running = gateway(config(lab))
    with lab.client.entered():
        plain = socket.create_connection((SERVER[family], 443), 10)
    with ssl.create_default_context(cafile=web.ca).wrap_socket(plain, server_hostname="allowed.example") as visitor:
        port = visitor.getsockname()[1]
        assert wait_until(lambda: mark(lab, family, port) == Verdict.ACCELERATE, 5)
        assert reload(lab, running, config(lab) + MORE)["cut"] == 1
        assert mark(lab, family, port) == Verdict.BLOCK
        assert reload(lab, running, config(lab))["freed"] == 1
        assert mark(lab, family, port) == Verdict.ACCELERATE
        visitor.sendall(b"GET / HTTP/1.1\r\nHost: allowed.example\r\n\r\n")
        assert visitor.recv(100).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("scheme", ["https", "http"])
def test_a_running_download_is_cut(lab: Lab, gateway: Gateway, web: WebServer, family: Family, scheme: str) -> None:
    """curl is told of the reset in the middle of its file, and the server is rid of it, too."""
    running = gateway(config(lab))
    with ThreadPoolExecutor() as pool:
        download = pool.submit(curl, lab.client, f"{scheme}://allowed.example/{BIG_FILE}", family, web.ca,
                               "--limit-rate", "2M", timeout=30)
        assert wait_until(lambda: bool(decided(lab, family)), 10)
        assert reload(lab, running, config(lab) + MORE)["cut"] == 1
        answer = download.result()
    assert (answer.outcome, "reset by peer" in answer.detail) == ("reset", True), answer  # it has more words than one
    assert wait_until(lambda: not established(lab), 5)


def decided(lab: Lab, family: Family) -> list[int]:
    return [entry.mark for entry in tracked(lab.gateway, family)
            if entry.mark in (Verdict.ACCELERATE, Verdict.INSPECT) and entry.dport in (80, 443)]


def established(lab: Lab) -> list[str]:
    return lab.server.run(["ss", "-Htn", "state", "established"]).stdout.splitlines()


def test_a_flow_that_was_blocked_is_judged_anew(lab: Lab, gateway: Gateway, origin: Origin) -> None:
    """A client that asks in vain, again and again, on a flow that is dropped in silence hears from the server as soon
    as the policy allows the name: its server was told, and says that it knows no such flow."""
    running = gateway(config(lab, "fast"))
    with Visitor(lab.client, 4, timeout=0.3) as visitor:
        assert visitor.ask("silent.example") == "silence"
        silent = config(lab, "fast").replace('domains = ["silent.example"]', 'domains = ["other.example"]')
        assert reload(lab, running, silent)["freed"] == 1
        assert wait_until(lambda: visitor.ask("silent.example") == "reset", 10)


@pytest.mark.parametrize(("untracked", "answer"), [("keep", "ok"), ("cut", "reset")])
def test_what_nobody_remembers(lab: Lab, gateway: Gateway, origin: Origin, untracked: str, answer: str) -> None:
    """A flow that an earlier daemon accelerated stays, or is cut by the first change, as [policy] untracked says; a
    flow that this one knows has nothing to fear."""
    text = config(lab, "fast") + f'[policy]\nuntracked = "{untracked}"\n'
    earlier = gateway(text)
    with Visitor(lab.client, 4) as old:
        assert old.ask("allowed.example") == "ok"
        assert earlier.stop() == 0
        running = gateway(text)
        with Visitor(lab.client, 4) as known:
            assert known.ask("allowed.example") == "ok"
            reload(lab, running, text + OTHER)
            wanted = Verdict.BLOCK if answer == "reset" else Verdict.ACCELERATE
            assert wait_until(lambda: mark(lab, 4, old.port) == wanted, 3)
            assert (old.ask("allowed.example"), known.ask("allowed.example")) == (answer, "ok")


def test_evidence_against_a_flow_is_not_forgiven(lab: Lab, gateway: Gateway, origin: Origin) -> None:
    """A flow that was blocked for what it did stays so, whatever the policy says of names."""
    running = gateway(config(lab))
    with Visitor(lab.client, 4) as visitor:
        visitor.socket.sendall(b"GET / HTTP/1.1\r\nHost: no host\r\n\r\n")
        assert visitor.ask("allowed.example") == "reset"
        assert reload(lab, running, config(lab) + OTHER)["freed"] == 0
        assert mark(lab, 4, visitor.port) == Verdict.BLOCK
