"""Observers beside a gateway that judges real traffic."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from nfqdpi.lab.daemon import Daemon
from nfqdpi.lab.network import Lab
from nfqdpi.lab.resolver import Resolver
from nfqdpi.testing.package import distribution
from tests.kernel.daily import Gateway, ask, config, wait_until
from tests.kernel.origin import Origin, Visitor
from tests.kernel.test_dns import dig, dns
from tests.kernel.test_reload import reload
from tests.plugins.test_dns_tunnels import dnscat

_BAD = '''
import os, time
from nfqdpi.core.observer import Observer, Remark

class Bad:
    def seen(self, seen):
        name = seen.names[0] if seen.names else ""
        if name == "raises.example":
            raise RuntimeError("oh no")
        if name == "ends.example":
            os._exit(0)
        if name == "eats.example":
            self.food = bytearray(1 << 30)
        while name == "hangs.example":
            pass
        yield Remark("bad_saw", name)

    def ended(self, ended):
        yield Remark("bad_ended", f"{ended.seen.names[0]} {ended.packets} {ended.volume}")

    def memory(self):
        return b"remembered"

def begin(memory):
    capabilities = [line for line in open("/proc/self/status") if line.startswith("CapEff")]
    print("began with", memory, int(capabilities[0].split()[1], 16), flush=True)
    return Bad()

observer = Observer("bad", "1", begin)
'''


@pytest.fixture
def bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed plugin that does whatever it is told."""
    (tmp_path / "bad.py").write_text(_BAD)
    distribution(tmp_path, "bad", {"bad": "bad:observer"})
    monkeypatch.setenv("PYTHONPATH", f"{os.environ.get('PYTHONPATH', '')}:{tmp_path}")


def notices(lab: Lab, kind: str) -> list[str]:
    lines = map(json.loads, (lab.state / "eve.json").read_text().splitlines())
    return [line["notice"]["message"] for line in lines
            if line["event_type"] == "notice" and line["notice"]["kind"] == kind]


def observers(lab: Lab, running: Daemon) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ask(lab, running, "stats", "--json"))["observers"]
    return found


def _begun_again(lab: Lab, running: Daemon, starts: int) -> bool:
    began: int = observers(lab, running)["starts"]
    return began > starts


def _told(lab: Lab, name: str) -> bool:
    """Whether the observer remarks what is asked for."""
    return browse(lab, name) == "ok" and name in notices(lab, "bad_saw")


def browse(lab: Lab, name: str) -> str:
    with Visitor(lab.client, 4) as visitor:
        return visitor.ask(name)


def test_a_bad_observer_costs_no_verdict(lab: Lab, gateway: Gateway, origin: Origin, bad: None) -> None:
    """One that raises, ends its process, eats memory or hangs is begun anew and counted, with what it was not told;
    meanwhile every name is judged."""
    running = gateway(config(lab))
    for name in ("allowed.example", "raises.example"):
        assert browse(lab, name) == "ok"
    assert wait_until(lambda: notices(lab, "bad_saw") == ["allowed.example"], 5)
    assert wait_until(lambda: observers(lab, running)["faults"] == {"bad": 1}, 5)
    assert notices(lab, "observer_failed")[0].endswith("oh no")
    assert reload(lab, running, config(lab) + "[plugin.bad]\nenabled = false\n")["problems"] == []
    assert reload(lab, running, config(lab))["problems"] == []  # it need not rest any more
    for name in ("eats.example", "ends.example", "hangs.example"):
        starts, lost = observers(lab, running)["starts"], observers(lab, running)["lost"]
        assert wait_until(partial(_told, lab, f"before.{name}"), 10)
        assert browse(lab, name) == "ok"
        if name == "eats.example":
            assert wait_until(lambda: observers(lab, running)["faults"] == {"bad": 2}, 5)
            reload(lab, running, config(lab) + "[plugin.bad]\nenabled = false\n")
            reload(lab, running, config(lab))
        else:
            assert wait_until(partial(_begun_again, lab, running, starts), 15)
            assert observers(lab, running)["lost"] > lost
        assert browse(lab, "blocked.example") == "reset"
    assert notices(lab, "observers_hung")
    assert len(notices(lab, "observers_ended")) == 2


def test_observers_are_told_what_ended_and_remember(lab: Lab, gateway: Gateway, origin: Origin, bad: None) -> None:
    """A flow's end with what conntrack has counted of it; and a daemon's successor begins with what was remembered."""
    lab.gateway.set(netfilter__nf_conntrack_acct=1)
    running = gateway(config(lab))
    assert browse(lab, "allowed.example") == "ok"
    assert wait_until(lambda: notices(lab, "bad_saw") == ["allowed.example"], 5)
    lab.gateway.run(["conntrack", "-F"])
    assert wait_until(lambda: bool(notices(lab, "bad_ended")), 5)
    name, packets, volume = notices(lab, "bad_ended")[0].split()
    assert (name, int(packets) > 4, int(volume) > 300) == ("allowed.example", True, True)
    assert running.stop() == 0
    assert "began with b'' 0\n" in running.log.read_text()
    assert (lab.state / "state/observers/bad").read_bytes() == b"remembered"
    again = gateway(config(lab))
    assert wait_until(lambda: "began with b'remembered' 0\n" in again.log.read_text(), 5)


@pytest.fixture
def resolver(lab: Lab) -> Iterator[Resolver]:
    with Resolver(lab.server, lab.state / "resolver") as listening:
        yield listening


def test_a_tunnel_through_dns(lab: Lab, gateway: Gateway, resolver: Resolver) -> None:
    """It is told of, and its client gets no more names below its domain for a while; others do."""
    running = gateway(dns(lab) + "[plugin.dns_tunnels]\nenabled = true\nblock = 60.0\n")
    questions = [word for name in dnscat(80, 60) for word in (name, "TXT")]
    dig(lab, 4, *questions)
    assert wait_until(lambda: bool(notices(lab, "dns_tunnel")), 5)
    assert wait_until(lambda: "example.net" in ask(lab, running, "overrides", "ls"), 5)
    blocked, allowed = dig(lab, 4, "more.example.net", "TXT", "allowed.example", "A")
    assert "EDE: 15 (Blocked)" in blocked.text
    assert allowed.status == "NOERROR"
