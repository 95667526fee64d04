"""What Prometheus scrapes from a daemon that judges real traffic, and what the counters' commands show of it."""

from __future__ import annotations

import json
import os
import signal
import socket
from contextlib import ExitStack

from nfqdpi.lab.daemon import Daemon
from nfqdpi.lab.network import Lab
from tests.kernel.daily import Gateway, ask, config, replaced, wait_until, workers
from tests.kernel.origin import Origin, Visitor
from tests.promtext import parse


def scrape(lab: Lab) -> str:
    """By another program's HTTP."""
    return lab.gateway.run(["curl", "--silent", "--show-error", "--fail", "http://127.0.0.1:9477/metrics"]).stdout


def browse(lab: Lab, *hosts: str) -> None:
    for host in hosts:
        with Visitor(lab.client, 4) as visitor:
            visitor.ask(host)


def total(lab: Lab, running: Daemon) -> dict[str, int]:
    found: dict[str, int] = json.loads(ask(lab, running, "stats", "--json"))["total"]
    return found


def test_a_scrape_tells_what_was_judged(lab: Lab, gateway: Gateway, origin: Origin) -> None:
    """As stats does: verdicts by rule and by protocol, packets, and how long each of them waited."""
    running = gateway(config(lab))
    browse(lab, "blocked.example", "allowed.example", "blocked.example")
    assert wait_until(lambda: sum(count for name, count in total(lab, running).items() if name.startswith("latency_le"))
                      == total(lab, running)["packets"] >= 6, 5)
    metrics = parse(scrape(lab))
    packets = total(lab, running)["packets"]
    assert sum(metrics["nfqdpi_packets_total"].samples.values()) == packets
    assert metrics["nfqdpi_verdict_latency_seconds"].samples[
        "nfqdpi_verdict_latency_seconds_count", frozenset()] == packets
    blocked = {("protocol", "http"), ("action", "block")}
    assert metrics["nfqdpi_protocol_verdicts_total"].samples["nfqdpi_protocol_verdicts_total", frozenset(blocked)] == 2
    assert sum(metrics["nfqdpi_rule_verdicts_total"].samples.values()) == 2
    assert sum(metrics["nfqdpi_worker_ready"].samples.values()) == 2
    assert len(metrics["nfqdpi_queue_waiting"].samples) == 2


def test_counters_outlive_a_worker(lab: Lab, gateway: Gateway, origin: Origin) -> None:
    """What the one before has counted stays, when another takes its place."""
    running = gateway(config(lab, workers=1).replace("[inspect]", "[inspect]\nmax_flows = 16"))
    with ExitStack() as undecided:
        for _ in range(24):
            undecided.enter_context(Visitor(lab.client, 4))
        assert wait_until(lambda: total(lab, running)["evicted"] >= 8, 5)
    before = total(lab, running)
    (victim,) = workers(lab, running)
    os.kill(victim, signal.SIGKILL)
    assert wait_until(lambda: replaced(lab, running, victim), 5)
    browse(lab, "allowed.example")
    assert wait_until(lambda: total(lab, running)["packets"] > before["packets"], 5)
    after = total(lab, running)
    assert {name for name in before if name != "flows" and after[name] < before[name]} == set()


def test_a_port_that_is_taken(lab: Lab, gateway: Gateway, origin: Origin) -> None:
    """Costs the metrics, not the traffic's verdicts; the daemon's log and status say so: exit 5."""
    with lab.gateway.entered():
        other = socket.create_server(("127.0.0.1", 9477))
    with other:
        running = gateway(config(lab))
        trouble = "no metrics on 127.0.0.1:9477: "
        assert trouble in running.log.read_text()
        assert json.loads(ask(lab, running, "status", "--json", code=5))["problems"][0].startswith(trouble)
        with Visitor(lab.client, 4) as visitor:
            assert visitor.ask("blocked.example") == "reset"
