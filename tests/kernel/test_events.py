"""Events and flows of a real daemon, as an operator sees them."""

from __future__ import annotations

import json
import os
import signal
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import msgspec

from nfqdpi.events.model import Event, Line, Notice
from nfqdpi.events.reader import Saved, siblings
from nfqdpi.lab.network import Lab
from tests.kernel.daily import Gateway, ask, config, replaced, wait_until, workers
from tests.kernel.origin import Origin, Visitor

VISITS = 24


def lines(path: Path) -> list[Line]:
    """Of the file and all that it was rotated to; each reads back into the structs of the schema, and writes itself."""
    found = []
    for text in (text for sibling in siblings(path) for text in Saved(sibling)):
        line = msgspec.json.decode(text, type=Line)
        assert json.loads(msgspec.json.encode(line)) == json.loads(text)
        found.append(line)
    return found


def test_no_event_is_lost_by_rotation(lab: Lab, gateway: Gateway, origin: Origin) -> None:
    """By size, and by somebody who renames the file and sends SIGUSR1, to us and to every worker: each visit is there
    once."""
    running = gateway(config(lab).replace("[events]\n", "[events]\nmax_bytes = 1\nkeep = 100\n"))
    path = lab.state / "eve.json"
    ports = []
    for number in range(VISITS):
        with Visitor(lab.client, 4) as visitor:
            assert visitor.ask("blocked.example") == "reset"
            ports.append(visitor.port)
        if number % 8 == 7:
            while not path.exists():
                pass  # it is rotated just now
            path.rename(lab.state / f"eve.json-{number:03}")
            os.killpg(running.process.pid, signal.SIGUSR1)
    stats = json.loads(ask(lab, running, "stats", "--json"))
    assert stats["total"]["events_lost"] == 0
    assert running.stop() == 0
    assert sorted(e.src_port for e in lines(path) if isinstance(e, Event)) == sorted(ports)


def test_what_a_killed_worker_had_not_told_is_owned_up_to(lab: Lab, gateway: Gateway, origin: Origin) -> None:
    """Every verdict that was counted is an event in the file, or one of those that a notice there says are missing."""
    running = gateway(config(lab, workers=1))
    for _ in range(3):
        (victim,) = workers(lab, running)
        with ExitStack() as visitors:
            for visitor in [visitors.enter_context(Visitor(lab.client, 4)) for _ in range(4)]:
                assert visitor.ask("blocked.example") == "reset"
        os.kill(victim, signal.SIGKILL)
        assert wait_until(partial(replaced, lab, running, victim), 5)
    total = json.loads(ask(lab, running, "stats", "--json"))["total"]
    assert running.stop() == 0
    told = lines(lab.state / "eve.json")
    missing = sum(line.notice.count for line in told if isinstance(line, Notice) and line.notice.kind == "events_lost")
    assert (sum(isinstance(line, Event) for line in told), missing) == (12 - missing, total["events_lost"])
    assert total["verdict_block"] == 12


def test_events_wait_for_a_supervisor_that_is_held_up(lab: Lab, gateway: Gateway, origin: Origin) -> None:
    """For some seconds of work; then all of them are in the file."""
    running = gateway(config(lab, workers=1))
    os.kill(running.process.pid, signal.SIGSTOP)
    for _ in range(600):
        with Visitor(lab.client, 4) as visitor:
            assert visitor.ask("blocked.example") == "reset"
    os.kill(running.process.pid, signal.SIGCONT)
    assert running.stop() == 0
    assert [type(line) for line in lines(lab.state / "eve.json")] == [Event] * 600


def test_an_event_file_that_takes_nothing(lab: Lab, gateway: Gateway, origin: Origin) -> None:
    """Traffic is judged all the same; what is lost is counted, and status tells why."""
    running = gateway(config(lab).replace(f'file = "{lab.state}/eve.json"', 'file = "/dev/full"'))
    for _ in range(3):
        with Visitor(lab.client, 4) as visitor:
            assert visitor.ask("blocked.example") == "reset"
    while not (lost := json.loads(ask(lab, running, "stats", "--json"))["total"]["events_lost"]):
        pass
    status = json.loads(ask(lab, running, "status", "--json", code=5))
    assert status["problems"] == ["events: /dev/full: No space left on device"]
    assert running.stop() == 0
    assert lost <= 3
    assert "3 events were lost on their way to /dev/full" in running.log.read_text()


def test_flows_behind_dnat(lab: Lab, gateway: Gateway, origin: Origin) -> None:
    """The name is found, though the client asked another address than the server's; filters are those of events."""
    command = "iptables -t nat -A PREROUTING -d 203.0.113.80 -p tcp -j DNAT --to-destination 198.51.100.2"
    lab.gateway.run(command.split())
    lab.client.configure("route add 203.0.113.80 via 192.0.2.1")
    lab.gateway.set(netfilter__nf_conntrack_acct=1, netfilter__nf_conntrack_timestamp=1)
    running = gateway(config(lab))
    with Visitor(lab.client, 4, server="203.0.113.80") as visitor:
        assert visitor.ask("www.blocked.example") == "reset"
        (row,) = (json.loads(text) for text in ask(lab, running, "flows", "--json").splitlines())
        assert (row["src_port"], row["dest_ip"], row["name"], row["rule"]) == (
            visitor.port, "203.0.113.80", "www.blocked.example", "ads")
        assert row["packets"] > 3
        assert row["bytes"] > 100
        assert 0 <= row["age_s"] < 60
        for options, count in (
            (["--name", "*.blocked.example"], 1), (["--name", "=blocked.example"], 0), (["--verdict", "block"], 1),
            (["--verdict", "inspect"], 0), (["--not", "verdict=block"], 0), (["--rule", "ads", "--reason", "rule"], 1),
        ):
            assert ask(lab, running, "flows", "--json", *options).count("\n") == count, options
        header, line = ask(lab, running, "flows").splitlines()
        assert header.split() == ["client", "server", "name", "verdict", "why", "packets", "bytes", "age"]
        assert line.split()[4:7] == ["www.blocked.example", "block", "ads"]
