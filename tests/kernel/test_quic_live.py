"""HTTP/3 that runs already, and what the commands say of it and of DNS."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from nfqdpi.core.verdict import Verdict
from nfqdpi.lab.network import Lab
from nfqdpi.lab.web import WebServer
from nfqdpi.testing import dns_query
from tests.kernel.daily import FAMILIES, Gateway, ask, config, wait_until
from tests.kernel.datagrams import both_ends
from tests.kernel.http3 import Http3Client, Http3Origin
from tests.kernel.test_quic import mark
from tests.kernel.test_reload import MORE, reload

LONGEST = 60.0  # s, on a busy machine
DNS = "[plugin.dns]\nenabled = true\n"


@pytest.fixture
def http3(lab: Lab, web: WebServer) -> Iterator[Http3Origin]:
    with Http3Origin(lab.server, web.certificate, web.here / "server.key") as listening:
        yield listening


@pytest.mark.parametrize("mode", ["strict", "fast"])
def test_a_running_flow_is_cut_and_freed(lab: Lab, gateway: Gateway, http3: Http3Origin, mode: str) -> None:
    """A reload that blocks its name cuts it, though nothing of it goes by the queue any more; one that allows the name
    again lets the same connection go on."""
    running = gateway(config(lab, mode))
    for count, family in enumerate(FAMILIES, 1):  # conntrack does not know that a client has gone
        with Http3Client(lab.client, family) as client:
            assert client.ask("allowed.example") == "ok"
            assert reload(lab, running, config(lab, mode) + MORE)["cut"] == count
            assert mark(lab, family, client.port) == Verdict.BLOCK
            assert client.again("allowed.example") == "refused"
            assert reload(lab, running, config(lab, mode))["freed"] == count
            assert mark(lab, family, client.port) == Verdict.ACCELERATE
            assert client.again("allowed.example") == "ok"


def test_commands_tell_of_it(lab: Lab, gateway: Gateway, http3: Http3Origin) -> None:
    """``flows``, ``marks``, ``events`` and ``top`` have the protocol, the name and the verdict; ``explain`` can be
    asked about HTTP/3."""
    only = '[[rule]]\nname = "no h3"\naction = "block"\ndomains = ["another.example"]\nprotocols = ["quic"]\n'
    running = gateway(config(lab) + only)
    with Http3Client(lab.client, 4) as client, Http3Client(lab.client, 4) as blocked:
        assert client.ask("allowed.example") == "ok"
        assert blocked.ask("another.example") == "refused"
        (flow,) = (json.loads(line) for line in ask(lab, running, "flows", "--json").splitlines())
        assert (flow["proto"], flow["src_port"], flow["name"], flow["verdict"]) == (
            "UDP", client.port, "allowed.example", "accelerate")
        (marked,) = (json.loads(line) for line in ask(lab, running, "marks", "list", "--json").splitlines())
        assert (marked["proto"], marked["sport"], marked["state"]) == ("udp", client.port, None)
        told = [json.loads(line) for line in ask(lab, running, "events", "--json").splitlines()]
        assert [(one["app_proto"], one["quic"]["sni"], one["verdict"]["action"]) for one in told] == [
            ("quic", "allowed.example", "accelerate"), ("quic", "another.example", "block")]
        assert json.loads(ask(lab, running, "stats", "--json"))["total"]["flows"] == 2
        totals = json.loads(ask(lab, running, "top", "--by", "protocol", "--json"))
        assert "quic" in str(totals)
    assert "no h3" in ask(lab, running, "explain", "another.example", "--protocol", "quic", code=1)
    ask(lab, running, "explain", "another.example", "--protocol", "tls")


def test_a_time_limit(lab: Lab, gateway: Gateway, http3: Http3Origin) -> None:
    """It counts while a flow of HTTP/3 is used, of which nothing enters the queue any more; then the flow is cut."""
    gateway(config(lab) + '[[rule]]\nname = "games"\naction = "block"\ndomains = ["games.example"]\nlimit = "6s"\n')
    with Http3Client(lab.client, 4) as player, Http3Client(lab.client, 4) as other:
        assert [player.ask("games.example"), other.ask("allowed.example")] == ["ok", "ok"]
        began = time.monotonic()
        while (answer := player.again("games.example")) == "ok" and time.monotonic() - began < LONGEST:
            time.sleep(0.2)
        assert answer == "refused"
        assert other.again("allowed.example") == "ok"
        assert other.ask("games.example") == "refused"


def test_who_asks_for_a_blocked_name_is_not_cut(lab: Lab, gateway: Gateway) -> None:
    """A flow of DNS goes on after a change of the policy, whatever it has asked for before."""
    running = gateway(config(lab) + DNS)
    with both_ends(lab, 53) as (stub, resolver):
        for name in ("allowed.example", "blocked.example", "other.example"):
            with suppress(ConnectionRefusedError):
                stub.send(dns_query(name))
        assert [resolver.recv(512) for _ in range(2)] == [dns_query("allowed.example"), dns_query("other.example")]
        port = stub.getsockname()[1]
        assert wait_until(lambda: (lab.state / "eve.json").read_text().count('"dns"') >= 3, 5)
        assert reload(lab, running, config(lab) + DNS + MORE)["cut"] == 0
        assert mark(lab, 4, port) == Verdict.INSPECT
        stub.send(dns_query("another.example"))
        assert resolver.recv(512) == dns_query("another.example")
