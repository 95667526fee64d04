"""HTTP/3 through a whole gateway: a real client and a real server, who says what it read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import product
from typing import Any

import pytest

from nfqdpi.core.verdict import Verdict
from nfqdpi.lab.gauges import queued, tracked
from nfqdpi.lab.network import Family, Lab
from nfqdpi.lab.web import WebServer
from tests.kernel.daily import FAMILIES, Gateway, config
from tests.kernel.http3 import V1, V2, Http3Client, Http3Origin
from tests.kernel.test_live_flows import translate

MODES = ("strict", "fast")
LONG = 300  # protocols on offer: the hello takes three datagrams
SHORT = 0.7  # s, where nothing is to come


@pytest.fixture
def listen(lab: Lab, web: WebServer) -> Iterator[Callable[..., Http3Origin]]:
    """``listen(...)``: an HTTP/3 server with the lab's certificate, until the test ends."""
    with ExitStack() as listening:
        yield lambda **how: listening.enter_context(
            Http3Origin(lab.server, web.certificate, web.here / "server.key", **how))


@pytest.fixture
def http3(listen: Callable[..., Http3Origin]) -> Http3Origin:
    return listen()


def mark(lab: Lab, family: Family, port: int) -> int | None:
    """A client's flow's, in conntrack; None: there is no such flow."""
    return next((one.mark for one in tracked(lab.gateway, family) if (one.proto, one.sport) == ("udp", port)), None)


def events(lab: Lab) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (lab.state / "eve.json").read_text().splitlines()]


def with_quic(text: str, value: str) -> str:
    return text.replace("[queue]\n", f'[queue]\nquic = "{value}"\n')


@pytest.mark.parametrize("mode", MODES)
def test_an_allowed_name(lab: Lab, gateway: Gateway, http3: Http3Origin, mode: str) -> None:
    """It goes on over HTTP/3, and only packets with long headers enter the queue; in fast mode none that comes behind
    the verdict."""
    running = gateway(config(lab, mode))
    for family in FAMILIES:
        with Http3Client(lab.client, family) as client:
            before = queued(lab.gateway)
            assert client.ask("allowed.example") == "ok"
            assert mark(lab, family, client.port) == Verdict.ACCELERATE
            if mode == "strict":
                assert queued(lab.gateway) - before == client.long
            before = queued(lab.gateway)
            assert [client.again("allowed.example") for _ in range(5)] == ["ok"] * 5
            assert queued(lab.gateway) == before
            assert client.sent > client.long
            if mode == "fast":
                assert client.ask("another.example") == "ok"
                assert queued(lab.gateway) == before
        assert http3.asked[client.port][:6] == ["allowed.example"] * 6
    assert running.stop() == 0
    four, six = events(lab)
    assert (six["src_port"], six["dest_port"], six["in_iface"]) == (client.port, 443, "lan0")
    for event in (four, six):
        assert (event["proto"], event["app_proto"], event["quic"]["sni"]) == ("UDP", "quic", "allowed.example")


@pytest.mark.parametrize("mode", MODES)
def test_a_blocked_name(lab: Lab, gateway: Gateway, http3: Http3Origin, mode: str) -> None:
    """The client is told that nobody is there (or nothing), and nothing of its hello reaches the server."""
    running = gateway(config(lab, mode))
    for family in FAMILIES:
        with Http3Client(lab.client, family) as client, Http3Client(lab.client, family) as quiet:
            assert client.ask("www.blocked.example") == "refused"
            assert quiet.ask("silent.example", timeout=SHORT) == "silence"
            assert not http3.datagrams[client.port] + http3.datagrams[quiet.port]
            assert client.ask("allowed.example") == "ok"  # conntrack never knew of a flow
    assert running.stop() == 0
    blocked = next(event for event in events(lab) if event["src_port"] == client.port)
    assert blocked["quic"]["sni"] == "www.blocked.example"
    assert blocked["verdict"] == {"action": "block", "reason": "rule", "rule": "ads", "list": None, "mark": 3}


@pytest.mark.parametrize("mode", MODES)
def test_a_long_hello(lab: Lab, gateway: Gateway, http3: Http3Origin, mode: str) -> None:
    """Over several datagrams, as browsers send it, in each version: the server never has the whole of one for a blocked
    name, and from then on gets nothing."""
    gateway(config(lab, mode))
    for family, versions in product(FAMILIES, ((V1,), (V2,), (V2, V1))):  # the last goes from 1 to 2
        with Http3Client(lab.client, family) as client:
            assert client.ask("allowed.example", versions=versions, protocols=LONG) == "ok"
            assert http3.said(client.port) == ["SNI allowed.example", "GET allowed.example"]
        with Http3Client(lab.client, family) as client:
            assert client.ask("blocked.example", versions=versions, protocols=LONG) == "refused"
            # Datagrams that came before the first had left were flows of their own to conntrack: the mark of the last
            # went with it, and it takes one more.
            assert [client.ask("allowed.example") for _ in range(2)] == ["refused"] * 2
            assert mark(lab, family, client.port) == Verdict.BLOCK
            assert http3.said(client.port) == []


@pytest.mark.parametrize("mode", MODES)
def test_retry(lab: Lab, gateway: Gateway, listen: Callable[..., Http3Origin], mode: str) -> None:
    """A server that has every client begin anew."""
    http3 = listen(retry=True)
    gateway(config(lab, mode))
    for family in FAMILIES:
        with Http3Client(lab.client, family) as client:
            assert client.ask("allowed.example") == "ok"
            assert http3.said(client.port) == ["SNI allowed.example", "GET allowed.example"]
        with Http3Client(lab.client, family) as client:
            assert client.ask("blocked.example") == "refused"
            assert http3.datagrams[client.port] == 0


def test_another_connection_on_the_same_flow(lab: Lab, gateway: Gateway, http3: Http3Origin) -> None:
    """In strict mode it is judged like the first; where it is blocked, so is the first from then on."""
    gateway(config(lab))
    for family in FAMILIES:
        with Http3Client(lab.client, family) as client:
            assert client.ask("allowed.example") == "ok"
            assert client.ask("another.example", protocols=LONG) == "ok"
            assert mark(lab, family, client.port) == Verdict.ACCELERATE
            assert client.ask("blocked.example") == "refused"
            assert mark(lab, family, client.port) == Verdict.BLOCK
            assert client.ask("allowed.example") == "refused"
            assert http3.hellos[client.port] == ["allowed.example", "another.example"]
            assert b"blocked" not in http3.heard[client.port]


@pytest.mark.parametrize(("quic", "outcome"), [("reject", "refused"), ("ignore", "ok")])
def test_not_inspected(lab: Lab, gateway: Gateway, http3: Http3Origin, quic: str, outcome: str) -> None:
    """Where the configuration rejects UDP 443 or leaves it alone, no name is asked for."""
    gateway(with_quic(config(lab), quic))
    for family, name in product(FAMILIES, ("allowed.example", "blocked.example")):
        with Http3Client(lab.client, family) as client:
            assert client.ask(name) == outcome
    assert queued(lab.gateway) == 0


@pytest.mark.parametrize(("interfaces", "outcome"), [
    ('lan = ["lan0"]', "refused"), ('lan = ["lan0"]\nwan = ["wan0"]', "refused"), ('wan = ["other0"]', "ok")])
def test_interfaces(lab: Lab, gateway: Gateway, http3: Http3Origin, interfaces: str, outcome: str) -> None:
    """Only what goes over those that the configuration names is inspected."""
    gateway(config(lab).replace("[queue]\n", f"[queue]\n{interfaces}\n"))
    for family in FAMILIES:
        with Http3Client(lab.client, family) as client:
            assert client.ask("blocked.example") == outcome


@pytest.mark.parametrize("family", FAMILIES)
def test_behind_nat(lab: Lab, gateway: Gateway, http3: Http3Origin, family: Family) -> None:
    """With masquerading and DNAT, too."""
    server = translate(lab, family, "both")
    gateway(config(lab))
    with Http3Client(lab.client, family, server=server) as client:
        assert client.ask("allowed.example") == "ok"
        assert client.ask("blocked.example", protocols=LONG) == "refused"
        assert client.ask("allowed.example") == "refused"
    assert "blocked.example" not in http3.names


@pytest.mark.parametrize(("fail", "outcome"), [("open", "ok"), ("closed", "silence")])
def test_nobody_listens(lab: Lab, gateway: Gateway, http3: Http3Origin, fail: str, outcome: str) -> None:
    """A killed daemon: what begins then passes, or does not, as [fail] says; what was allowed before goes on."""
    running = gateway(config(lab, fail=fail))
    with ExitStack() as sockets:
        old, new = ([sockets.enter_context(Http3Client(lab.client, family)) for family in FAMILIES] for _ in range(2))
        assert [client.ask("allowed.example") for client in old] == ["ok", "ok"]
        running.kill()
        assert [client.ask("blocked.example", timeout=SHORT) for client in new] == [outcome, outcome]
        assert [client.again("allowed.example") for client in old] == ["ok", "ok"]
