"""Slow advisers beside a gateway that judges real traffic, and what the server has read of it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from nfqdpi.lab.daemon import Daemon
from nfqdpi.lab.network import Family, Lab
from nfqdpi.testing.package import distribution
from tests.kernel.daily import FAMILIES, Gateway, ask, config, wait_until, workers
from tests.kernel.datagrams import both_ends
from tests.kernel.origin import Origin, Visitor
from tests.kernel.test_observers import browse, notices
from tests.kernel.test_reload import reload
from tests.plugins.test_wireguard import INITIATION

_SLOW = '''
import os, signal, time
from nfqdpi.core.plugin import Advice, Adviser, Slow
from nfqdpi.core.verdict import Verdict

def advise(found, client, server):
    name = (found.names or [found.protocol])[0].partition(".")[0]
    if name in ("raises", "ends"):
        time.sleep(0.3)  # what passes meanwhile has its answer by then
    if name == "raises":
        raise RuntimeError("oh no")
    if name == "ends":
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "deaf":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    while name in ("hangs", "deaf"):
        pass
    time.sleep({"late": 1.5, "soon": 0}.get(name, 0.3))
    return Advice(Verdict.BLOCK, "bad company") if name == "%s" else None

adviser = Adviser("slow", "1", advise, slow=Slow(%s, waits=%s))
'''

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """``install(waits=...)``: an adviser that takes its time, or does whatever else a name says."""
    def put(*, waits: bool, bad: str = "bad", patience: float = 1.0) -> None:
        (tmp_path / "slow.py").write_text(_SLOW % (bad, patience, waits))
        distribution(tmp_path, "slow", {"slow": "slow:adviser"})

    monkeypatch.setenv("PYTHONPATH", f"{os.environ.get('PYTHONPATH', '')}:{tmp_path}")
    return put


def stats(lab: Lab, running: Daemon) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ask(lab, running, "stats", "--json"))
    return found


def verdicts(lab: Lab) -> list[tuple[str, str, str]]:
    lines = map(json.loads, (lab.state / "eve.json").read_text().splitlines())
    return [(line["http"]["hostname"], line["verdict"]["action"], line["verdict"]["reason"]) for line in lines
            if line["event_type"] == "verdict"]


def told(lab: Lab, *verdict: str) -> bool:
    return verdict in verdicts(lab)


def counted(lab: Lab, running: Daemon, faults: int) -> bool:
    return bool(stats(lab, running)["plugin_faults"] == {"slow": faults})


def request(name: str) -> bytes:
    return f"GET / HTTP/1.1\r\nHost: {name}\r\n\r\n".encode()


@pytest.mark.parametrize(("family", "mode"), [(4, "strict"), (6, "strict"), (4, "fast")])
def test_a_request_that_waits(lab: Lab, gateway: Gateway, origin: Origin, install: Install, family: Family,
                              mode: str) -> None:
    """The server has it once, unharmed, when the advice lets it go, and nothing of it when the advice blocks; other
    clients' requests are judged meanwhile."""
    install(waits=True)
    running = gateway(config(lab, mode))
    with Visitor(lab.client, family) as held, Visitor(lab.client, family) as good, Visitor(lab.client, family) as other:
        held.socket.sendall(request("bad.example"))
        assert other.ask("blocked.example") == "reset"
        assert good.ask("good.example", pieces=2) == "ok"
        assert held.ask("good.example") == "reset"
    assert wait_until(lambda: all(heard.ended.is_set() for heard in origin.heard), 5)
    assert sorted(heard.data for heard in origin.heard) == [b"", b"", request("good.example")]
    assert running.stop() == 0
    assert sorted(verdicts(lab)) == [("bad.example", "block", "advice"), ("blocked.example", "block", "rule"),
                                     ("good.example", "accelerate", "default")]


@pytest.mark.parametrize(("family", "mode"), [(4, "strict"), (6, "strict"), (4, "fast")])
def test_a_request_that_passes(lab: Lab, gateway: Gateway, origin: Origin, install: Install, family: Family,
                               mode: str) -> None:
    """It is answered before the advice is there; then its flow is cut, or goes on."""
    install(waits=False)
    gateway(config(lab, mode))
    with Visitor(lab.client, family) as bad, Visitor(lab.client, family) as good:
        assert [bad.ask("bad.example"), good.ask("good.example")] == ["ok", "ok"]
        assert wait_until(partial(told, lab, "good.example", "accelerate", "default"), 5)
        assert [bad.ask("other.example"), good.ask("good.example")] == ["reset", "ok"]
    assert b"other.example" not in origin.read
    assert [line for line in verdicts(lab) if line[0] == "bad.example"] == [
        ("bad.example", "inspect", "advice"), ("bad.example", "block", "advice")]


def test_what_is_decided_last_is_told_last(lab: Lab, gateway: Gateway, origin: Origin, install: Install) -> None:
    """However soon behind the verdict that it changes the advice is there."""
    install(waits=False, bad="soon")
    gateway(config(lab))
    both = [("soon.example", "inspect", "advice"), ("soon.example", "block", "advice")]
    for count in (1, 2, 3):
        with Visitor(lab.client, 4) as visitor:
            visitor.socket.sendall(request("soon.example"))
            wait_until(lambda: len(verdicts(lab)) == 2 * count, 5)  # noqa: B023
        assert verdicts(lab) == both * count


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("bad", ["wireguard", "bad"])
def test_a_datagram_that_waits(lab: Lab, gateway: Gateway, install: Install, family: Family, bad: str) -> None:
    """It reaches the server once, or is refused; what follows meanwhile does not."""
    install(waits=True, bad=bad)
    gateway(config(lab) + "[plugin.wireguard]\nenabled = true\n")
    with both_ends(lab, 51820, family) as (client, server):
        client.send(INITIATION)
        client.send(INITIATION)
        if bad == "wireguard":
            with pytest.raises(ConnectionRefusedError):
                client.recv(1)
        else:
            assert server.recv(200) == INITIATION
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.recv(200)


def waiting(lab: Lab) -> bool:
    """One packet has no verdict (nfnetlink_queue.c: seq_show)."""
    queues = lab.gateway.run(["cat", "/proc/net/netfilter/nfnetlink_queue"]).stdout.splitlines()
    return [queue.split()[2] for queue in queues] == ["1"]


def test_what_waits_when_a_worker_ends(lab: Lab, gateway: Gateway, origin: Origin, install: Install) -> None:
    """Of one that is killed the client sends it again, to its successor; with the daemon it is let on as plugin_error
    says."""
    install(waits=True, patience=5.0)
    running = gateway(config(lab, workers=1))
    for end in (lambda: os.kill(workers(lab, running)[0], signal.SIGKILL), running.stop):
        with Visitor(lab.client, 4, timeout=10) as visitor:
            visitor.socket.sendall(request("late.example"))
            assert wait_until(lambda: waiting(lab), 5)
            end()
            assert visitor.socket.recv(100).startswith(b"HTTP/1.1 200")
    assert [heard.data for heard in origin.heard] == [request("late.example")] * 2


@pytest.mark.parametrize("waits", [True, False])
def test_an_adviser_that_goes_wrong(lab: Lab, gateway: Gateway, origin: Origin, install: Install, waits: bool) -> None:
    """One that raises, hangs or is killed: plugin_error speaks within its patience, it is counted, and begun anew; no
    other flow is the worse for it. Too many faults, and it is left out."""
    install(waits=waits, patience=2.0)
    running = gateway(config(lab, fail="closed", workers=1))
    for number, name in enumerate(("raises.example", "hangs.example", "ends.example"), 1):
        with Visitor(lab.client, 4) as visitor:
            assert visitor.ask(name) == ("reset" if waits else "ok")
            assert wait_until(partial(told, lab, name, "block", "plugin_error"), 5)
            assert visitor.ask("good.example") == "reset"
        assert browse(lab, "blocked.example") == "reset"
        assert wait_until(partial(counted, lab, running, number), 5)
    assert all((name in origin.read) is not waits for name in (b"raises.example", b"hangs.example", b"ends.example"))
    assert wait_until(lambda: stats(lab, running)["advisers"]["starts"] == 2, 5)
    assert len(notices(lab, "advisers_ended")) == 1
    assert wait_until(lambda: browse(lab, "good.example") == "ok", 3)
    for _ in range(2):
        browse(lab, "raises.example")
    assert wait_until(lambda: bool(notices(lab, "plugin_left_out")), 3)
    assert browse(lab, "good.example") == "reset"
    assert "plugin 'slow' is left out" in ask(lab, running, "status", code=5)


def test_an_adviser_that_nothing_interrupts(lab: Lab, gateway: Gateway, origin: Origin, install: Install) -> None:
    """Its process is killed, and the next one answers; where plugin_error accelerates, the policy's word stands."""
    install(waits=True)
    running = gateway(config(lab))
    assert browse(lab, "deaf.example") == "ok"
    assert wait_until(lambda: stats(lab, running)["advisers"]["starts"] == 2, 15)
    assert notices(lab, "advisers_hung")
    assert browse(lab, "bad.example") == "reset"
    assert reload(lab, running, config(lab) + "[plugin.slow]\nenabled = false\n")["problems"] == []
    assert browse(lab, "bad.example") == "ok"
