"""What happens to traffic and to the daemon when a plugin does what none should."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from struct import pack

import pytest

from nfqdpi.lab.network import Lab
from nfqdpi.testing.package import distribution
from tests.kernel.daily import Gateway, ask, config, nfqdpi, notices, replaced, wait_until, workers
from tests.kernel.origin import Load, Origin, Visitor, visit


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """``plugin(body)``: a classifier whose function has this body is installed for the daemon."""

    def install(body: str) -> None:
        (tmp_path / "bad.py").write_text(
            "import os, socket, time\nfrom nfqdpi.core.classifier import Classifier, NO_MATCH\n"
            f"def classify(prefix):\n{body}\n    return NO_MATCH\n"
            "classifier = Classifier('bad', 'bad', '1', 4096, classify)\n")
        distribution(tmp_path, "bad", {"bad": "bad:classifier"})
        monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")

    return install


@pytest.mark.parametrize(("body", "fail", "faults"), [
    ("    if b'wrong' in prefix: raise SystemExit", "open", 5),
    ("    if b'wrong' in prefix: time.sleep(5)", "closed", 3),
    ("    while b'wrong' in prefix: pass", "open", 3),
    ("    while b'wrong' in prefix:\n        try: time.sleep(5)\n        except Exception: pass", "closed", 3),
    ("    if b'wrong' in prefix: bytes(1 << 36)", "open", 5),
])
def test_a_plugin_that_goes_wrong(lab: Lab, gateway: Gateway, origin: Origin, plugin: Callable[[str], None],
                                  body: str, fail: str, faults: int) -> None:
    """A flow that a plugin raises on, sleeps on or loops on is treated by the exception policy at once; the worker
    lives and judges the others. One that does so again and again is left out."""
    plugin(body)
    running = gateway(config(lab, fail=fail, workers=1) + "[service]\nworker_memory = 268435456\n")
    (worker,) = workers(lab, running)
    wrong = {"open": "ok", "closed": "reset"}[fail]
    for number in range(faults):
        assert visit(lab, "wrong.example", timeout=2) == wrong, number
        assert (visit(lab, "blocked.example"), visit(lab, "allowed.example")) == ("reset", "ok")
    assert wait_until(lambda: notices(lab) == ["plugin_left_out"], 5)
    done = nfqdpi(lab, "status", "-c", running.config)
    assert (done.returncode, "plugin 'bad' is left out" in done.stdout) == (5, True), done.stdout
    assert visit(lab, "wrong.example", timeout=2) == "ok"  # HTTP's own classifier knows it
    assert workers(lab, running) == [worker]
    stats = json.loads(nfqdpi(lab, "stats", "--json", "-c", running.config).stdout)
    assert stats["plugin_faults"] == {"bad": faults}


def test_a_plugin_that_is_slow_but_fine(lab: Lab, gateway: Gateway, origin: Origin, plugin: Callable[[str], None],
                                        tmp_path: Path) -> None:
    """One that computes in every call, and takes its time to load, at the start and anew, does nothing wrong."""
    plugin("    end = time.perf_counter() + 0.0005\n    while time.perf_counter() < end: pass\n"
           "    return NO_MATCH\n"
           "time.sleep(0.1)\n"
           "def _unused():")
    running = gateway(config(lab, workers=1))
    for _ in range(2):
        assert [visit(lab, "allowed.example") for _ in range(10)] == ["ok"] * 10
        (tmp_path / "bad.py").write_text((tmp_path / "bad.py").read_text() + "# another version\n")
        assert nfqdpi(lab, "reload", "-c", running.config).returncode == 0
    stats = json.loads(nfqdpi(lab, "stats", "--json", "-c", running.config).stdout)
    assert (stats["plugin_faults"], stats["total"]["faults"], notices(lab)) == ({}, 0, [])


def test_a_plugin_that_is_half_upgraded(lab: Lab, gateway: Gateway, origin: Origin, plugin: Callable[[str], None],
                                        tmp_path: Path) -> None:
    """A worker that dies meanwhile has a successor with the plugin as it was loaded; a reload that finds a half leaves
    it so, and one that finds a whole takes that."""
    plugin("    if b'wrong' in prefix: raise ValueError('wrong')")
    running = gateway(config(lab, fail="closed", workers=1))
    whole = (tmp_path / "bad.py").read_text()
    (tmp_path / "bad.py").write_text("from .parts import nothing\n")
    entry = tmp_path / "bad-1.dist-info" / "entry_points.txt"
    offers = entry.read_text()

    def refused() -> bool:
        return visit(lab, "wrong.example", timeout=1) == "reset"

    assert "plugin 'bad' (bad:classifier) does not load" in nfqdpi(lab, "status", "-c", running.config).stdout
    for points in (offers, ""):  # its files are others, then its metadata are gone, too
        entry.write_text(points)
        (victim,) = workers(lab, running)
        os.kill(victim, signal.SIGKILL)
        assert wait_until(partial(replaced, lab, running, victim), 2)
        assert wait_until(refused, 2)
    entry.write_text(offers)
    assert nfqdpi(lab, "reload", "-c", running.config).returncode != 0
    assert refused()
    (tmp_path / "bad.py").write_text(whole.replace("if b'wrong' in prefix: raise", "if b'other' in prefix: raise"))
    assert nfqdpi(lab, "reload", "-c", running.config).returncode == 0
    assert visit(lab, "wrong.example") == "ok"
    assert visit(lab, "other.example") == "reset"


def test_a_plugin_that_does_not_load(lab: Lab, plugin: Callable[[str], None]) -> None:
    """Starts nothing, and is named."""
    plugin("    this is no Python")
    (lab.state / "bad.toml").write_text(config(lab))
    done = nfqdpi(lab, "run", "-c", lab.state / "bad.toml")
    assert (done.returncode, "plugin 'bad' (bad:classifier) does not load" in done.stderr) == (2, True), done.stderr
    check = nfqdpi(lab, "rules", "check", "-c", lab.state / "bad.toml")
    assert (check.returncode, check.stderr) == (2, done.stderr)


def call(lab: Lab, host: str) -> None:
    """Ask and be gone: what is in vain is not sent again, for the worker's successor to have it, too."""
    with Visitor(lab.client, 4) as visitor:
        visitor.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, 0))  # close resets
        visitor.socket.settimeout(0.1)
        visitor.ask(host)


def test_a_plugin_that_cannot_be_stopped(lab: Lab, gateway: Gateway, origin: Origin,
                                         plugin: Callable[[str], None]) -> None:
    """A worker in a plugin's endless loop, which nothing interrupts, is replaced; the one beside it judges on."""
    plugin("    import signal\n    if b'loop' in prefix: signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})\n"
           "    while b'loop' in prefix: pass")
    running = gateway(config(lab))
    before = workers(lab, running)
    call(lab, "loop.example")
    assert wait_until(lambda: len({*workers(lab, running)} - {*before, None}) == 1, 30)  # what counts is its CPU time
    assert len({*workers(lab, running)} & {*before}) == 1
    assert wait_until(lambda: visit(lab, "blocked.example") == "reset", 5)  # forked is not yet bound
    assert "worker_hung" in notices(lab)


def test_a_queue_that_dies_silently(lab: Lab, gateway: Gateway, origin: Origin, plugin: Callable[[str], None]) -> None:
    """A worker that lives on while the kernel has forgotten its queue is replaced."""
    plugin("    if b'die' in prefix: _IDLE.extend(socket.socketpair())\n"  # what was open before the fork is closed
           "    for number in os.listdir('/proc/self/fd') if b'die' in prefix else ():\n"
           "        if (kind := _family(int(number))) == socket.AF_NETLINK: os.dup2(_IDLE[0].fileno(), int(number))\n"
           "    return NO_MATCH\n"
           "_IDLE = []\n"
           "def _family(number):\n"
           "    try: return socket.socket(fileno=os.dup(number)).family\n"
           "    except OSError: return None")
    running = gateway(config(lab, workers=1))
    (victim,) = workers(lab, running)
    call(lab, "die.example")
    assert wait_until(partial(replaced, lab, running, victim), 5)
    assert "queue_lost" in notices(lab)
    assert visit(lab, "blocked.example") == "reset"


def test_a_worker_that_grows(lab: Lab, gateway: Gateway, origin: Origin, plugin: Callable[[str], None]) -> None:
    """Beyond [service] worker_memory a worker is replaced under load, and no page is lost by it."""
    plugin("    if b'grow' in prefix: _KEPT.append(b'x' * (200 << 20))\n"
           "    return NO_MATCH\n"
           "_KEPT = []\n"
           "def _unused():")
    running = gateway(config(lab, workers=1) + "[service]\nworker_memory = 134217728\n")
    (victim,) = workers(lab, running)
    with Load(lab) as load:
        assert visit(lab, "grow.example") == "ok"
        assert wait_until(partial(replaced, lab, running, victim), 10)
        assert wait_until(partial(load.has_done, load.done + 20), 10)
    assert load.failed == 0
    assert notices(lab) == ["worker_memory"]
    assert visit(lab, "blocked.example") == "reset"


def test_raising_plugin_costs_no_worker(lab: Lab, gateway: Gateway, origin: Origin,
                                        plugin: Callable[[str], None]) -> None:
    """A classifier that raises: the flow is treated as [fail] says, it is counted, and the worker lives on. What it has
    forked judges nothing."""
    plugin("    if b'raise' in prefix: raise RuntimeError(f'as asked: {os.fork()}')")
    running = gateway(config(lab))
    before = workers(lab, running)
    assert visit(lab, "raise.example") == "ok"  # fail.default is open
    assert visit(lab, "blocked.example") == "reset"
    assert workers(lab, running) == before
    stats = json.loads(ask(lab, running, "stats", "--json"))
    assert stats["total"]["faults"] == 1
    assert stats["total"]["reason_plugin_error"] == 1
