"""What happens to traffic and to the daemon when its processes die, hang, are refused, or are misconfigured."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from nfqdpi.daemon import breaker
from nfqdpi.lab.daemon import Daemon
from nfqdpi.lab.network import Lab
from nfqdpi.testing.package import distribution
from tests.kernel.daily import Gateway, ask, config, nfqdpi
from tests.kernel.origin import Origin, Visitor


def workers(lab: Lab, running: Daemon) -> list[int]:
    status = nfqdpi(lab, "status", "--json", "-c", running.config).stdout  # 5 while a worker is being replaced
    return [worker["pid"] for worker in json.loads(status)["workers"]]


def replaced(lab: Lab, running: Daemon, victim: int) -> bool:
    """The only worker is another one, and owns the queue."""
    status = json.loads(nfqdpi(lab, "status", "--json", "-c", running.config).stdout)
    (worker,) = status["workers"]
    return worker["pid"] not in (victim, None) and worker["owns_queue"]


def supervisor(running: Daemon) -> int:
    """The daemon's own pid: ``ip netns exec`` has become it."""
    return running.process.pid


def wait_until(true: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not (so := true()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return so


def visit(lab: Lab, host: str = "allowed.example", timeout: float = 5) -> str:
    try:
        with Visitor(lab.client, 4, timeout=timeout) as visitor:
            return visitor.ask(host)
    except TimeoutError:
        return "silence"


class Load:
    """Clients that fetch allowed pages in a loop; ``failed`` counts those that did not get theirs."""

    def __init__(self, lab: Lab, clients: int = 4) -> None:
        self.done = self.failed = 0
        self._going = True
        self._threads = [threading.Thread(target=self._fetch, args=(lab,)) for _ in range(clients)]

    def has_done(self, pages: int) -> bool:
        return self.done >= pages

    def _fetch(self, lab: Lab) -> None:
        while self._going:
            if visit(lab) == "ok":
                self.done += 1
            else:
                self.failed += 1

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._going = False
        for thread in self._threads:
            thread.join()


def test_killed_worker_under_load_costs_no_connection(lab: Lab, gateway: Gateway, origin: Origin) -> None:
    """Fail-open: kill -9 of a worker under load fails no connection, and within a second another owns its queue."""
    running = gateway(config(lab, workers=1))
    with Load(lab) as load:
        assert wait_until(partial(load.has_done, 20), 10)
        for _ in range(3):
            (victim,) = workers(lab, running)
            os.kill(victim, signal.SIGKILL)
            assert wait_until(partial(replaced, lab, running, victim), 1.0)
            assert wait_until(partial(load.has_done, load.done + 20), 10)
    assert load.failed == 0
    assert visit(lab, "blocked.example") == "reset"


def test_no_worker_fail_open(lab: Lab, gateway: Gateway, origin: Origin) -> None:
    """With nobody on the queue and nobody to start anybody, fail-open passes everything, and counts it."""
    running = gateway(config(lab))
    stop_supervisor_and_kill_workers(lab, running)
    assert visit(lab) == "ok"
    os.kill(supervisor(running), signal.SIGCONT)
    # The SYN+ACK, the request and the client's FIN.
    assert json.loads(ask(lab, running, "stats", "--json"))["total"]["bypassed"] >= 3
    assert wait_until(lambda: visit(lab, "blocked.example") == "reset", 2)


@pytest.mark.parametrize("mode", ["strict", "fast"])
def test_no_worker_fail_closed(lab: Lab, gateway: Gateway, origin: Origin, mode: str) -> None:
    """With nobody on the queue, fail-closed lets no byte to the application; with workers back, it flows again."""
    running = gateway(config(lab, mode, fail="closed"))
    assert visit(lab) == "ok"
    before = origin.read
    stop_supervisor_and_kill_workers(lab, running)
    assert visit(lab, timeout=0.5) == "silence"
    assert origin.read == before
    os.kill(supervisor(running), signal.SIGCONT)
    assert wait_until(lambda: visit(lab, timeout=1) == "ok", 5)


def stop_supervisor_and_kill_workers(lab: Lab, running: Daemon) -> None:
    victims = workers(lab, running)
    os.kill(supervisor(running), signal.SIGSTOP)
    for victim in victims:
        os.kill(victim, signal.SIGKILL)
    assert wait_until(lambda: not Path(f"/proc/{victims[-1]}/cmdline").read_bytes(), 2)  # a zombie owns no queue


def test_hung_worker_is_replaced(lab: Lab, gateway: Gateway, origin: Origin) -> None:
    """A worker that does not turn round any more is killed and replaced; the daemon says so."""
    running = gateway(config(lab, workers=1))
    (victim,) = workers(lab, running)
    os.kill(victim, signal.SIGSTOP)
    assert wait_until(partial(replaced, lab, running, victim), 5)
    assert visit(lab, "blocked.example") == "reset"
    assert f"worker {victim} has hung" in running.log.read_text()
    assert "worker_hung" in notices(lab)


def notices(lab: Lab) -> list[str]:
    """The kinds of what befell the gateway, as the event file has them."""
    lines = map(json.loads, (lab.state / "eve.json").read_text().splitlines())
    return [line["notice"]["kind"] for line in lines if line["event_type"] == "notice"]


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


@pytest.mark.parametrize(("body", "fail"), [
    ("    if b'wrong' in prefix: raise SystemExit", "open"),
    ("    if b'wrong' in prefix: time.sleep(5)", "closed"),
    ("    while b'wrong' in prefix: pass", "open"),
    ("    while b'wrong' in prefix:\n        try: time.sleep(5)\n        except Exception: pass", "closed"),
    ("    if b'wrong' in prefix: bytes(1 << 36)", "open"),
])
def test_a_plugin_that_goes_wrong(lab: Lab, gateway: Gateway, origin: Origin, plugin: Callable[[str], None],
                                  body: str, fail: str) -> None:
    """A flow that a plugin raises on, sleeps on or loops on is treated by the exception policy at once; the worker
    lives and judges the others. One that does so again and again is left out."""
    plugin(body)
    running = gateway(config(lab, fail=fail, workers=1) + "[service]\nworker_memory = 268435456\n")
    (worker,) = workers(lab, running)
    wrong = {"open": "ok", "closed": "reset"}[fail]
    for number in range(breaker.MOST):
        assert visit(lab, "wrong.example", timeout=2) == wrong, number
        assert (visit(lab, "blocked.example"), visit(lab, "allowed.example")) == ("reset", "ok")
    assert wait_until(lambda: notices(lab) == ["plugin_left_out"], 5)
    done = nfqdpi(lab, "status", "-c", running.config)
    assert (done.returncode, "plugin 'bad' is left out" in done.stdout) == (5, True), done.stdout
    assert visit(lab, "wrong.example", timeout=2) == "ok"  # HTTP's own classifier knows it
    assert workers(lab, running) == [worker]
    stats = json.loads(nfqdpi(lab, "stats", "--json", "-c", running.config).stdout)
    assert stats["plugin_faults"] == {"bad": breaker.MOST}


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


def test_a_plugin_that_cannot_be_stopped(lab: Lab, gateway: Gateway, origin: Origin,
                                         plugin: Callable[[str], None]) -> None:
    """A worker in a plugin's endless loop, which nothing interrupts, is replaced; the one beside it judges on."""
    plugin("    import signal\n    if b'loop' in prefix: signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})\n"
           "    while b'loop' in prefix: pass")
    running = gateway(config(lab))
    before = workers(lab, running)
    visit(lab, "loop.example", timeout=0.1)
    assert wait_until(lambda: len({*workers(lab, running)} - {*before, None}) == 1, 5)
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
    visit(lab, "die.example", timeout=0.1)
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


def test_workers_that_die_young(lab: Lab, gateway: Gateway) -> None:
    """Where one worker after the other ends at once, the next waits longer, and status says so: exit 5."""
    running = gateway(config(lab, workers=1))
    for _ in range(4):
        assert wait_until(lambda: workers(lab, running) != [None], 5)
        os.kill(workers(lab, running)[0], signal.SIGKILL)
    done = nfqdpi(lab, "status", "-c", running.config)
    assert (done.returncode, "workers in a row ended within 5 s" in done.stdout) == (5, True), done.stdout
    pauses = [float(line.rsplit(" ", 2)[1]) for line in running.log.read_text().splitlines() if "next one in" in line]
    assert pauses == sorted(pauses)
    assert pauses[-1] > 0


@pytest.mark.parametrize("flush", [
    "iptables -F",
    "iptables -t mangle -F; ip6tables -t mangle -F",
    "for p in iptables ip6tables; do for t in filter mangle; do $p -t $t -F; $p -t $t -X; done; done",
    "iptables -t mangle -I FORWARD -j ACCEPT",
])
def test_flushed_rules_are_put_back(lab: Lab, hasty: Gateway, origin: Origin, flush: str) -> None:
    """What another program flushes, deletes or puts before our rules is mended, with an event; what a flow has been
    decided to be stays."""
    running = hasty(config(lab))
    with Visitor(lab.client, 4) as visitor:
        assert visitor.ask("allowed.example") == "ok"
        lab.gateway.run(["sh", "-c", flush])
        assert wait_until(lambda: "rules_restored" in notices(lab), 15)  # perhaps amid the flush
        assert wait_until(lambda: nfqdpi(lab, "rules", "check", "-c", running.config).returncode == 0, 15)
        assert visitor.ask("allowed.example") == "ok"
        assert visitor.ask("blocked.example") == "reset"


def test_rules_that_cannot_be_put_back(lab: Lab, hasty: Gateway, tmp_path: Path,
                                       monkeypatch: pytest.MonkeyPatch) -> None:
    """While iptables refuses, status says that the rules are not kept: exit 5; afterwards they are there again."""
    refuse = tmp_path / "refuse"
    restore = tmp_path / "iptables-restore"
    restore.write_text(f"#!/bin/sh\n[ ! -e {refuse} ] || exit 1\nexec {shutil.which('iptables-restore')} \"$@\"\n")
    restore.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    running = hasty(config(lab))
    refuse.touch()
    lab.gateway.run(["iptables", "-t", "mangle", "-F"])
    assert wait_until(lambda: "rules_lost" in notices(lab), 15)
    status = json.loads(ask(lab, running, "status", "--json", code=5))
    assert status["degraded"] == ["the rules cannot be kept in place: iptables-restore: exit code 1"]
    refuse.unlink()
    assert wait_until(lambda: "rules_restored" in notices(lab), 15)
    assert json.loads(ask(lab, running, "status", "--json"))["degraded"] == []


def test_workers_follow_a_killed_supervisor(lab: Lab, gateway: Gateway) -> None:
    """Workers that nobody watches end; their queues are free for the next daemon, which puts the rules right."""
    running = gateway(config(lab))
    left = workers(lab, running)
    os.kill(supervisor(running), signal.SIGKILL)
    running.process.wait()
    assert wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in left), 3)
    ask(lab, gateway(config(lab)), "rules", "check")


def test_second_daemon_is_refused(lab: Lab, gateway: Gateway, origin: Origin) -> None:
    """A queue that is taken: exit 1, its number and the owner's pid; the first daemon and its rules are untouched."""
    running = gateway(config(lab))
    done = nfqdpi(lab, "run", "-c", running.config)
    assert done.returncode == 1
    for number, pid in enumerate(workers(lab, running)):
        assert f"queue {number} is owned by process {pid}" in done.stderr
    assert visit(lab, "blocked.example") == "reset"


def test_a_daemon_on_other_queues_is_refused(lab: Lab, gateway: Gateway, origin: Origin) -> None:
    """There is one set of rules: a daemon that would take it, or the control socket, from a living one ends with 1."""
    running = gateway(config(lab))
    file = lab.state / "second.toml"
    for socket_path, complaint in (
        (lab.state / "control.sock", f"{lab.state}/control.sock: another daemon answers here"),
        ("", f"the rules are another daemon's: queue 0 is owned by process {workers(lab, running)[0]}"),
    ):
        file.write_text(f'[queue]\nfirst = 10\n[events]\nfile = ""\n[control]\nsocket = "{socket_path}"\n')
        done = nfqdpi(lab, "run", "-c", file)
        assert (done.returncode, complaint in done.stderr) == (1, True), done.stderr
    ask(lab, running, "status")
    assert visit(lab, "blocked.example") == "reset"


def test_a_path_that_is_something_else(lab: Lab) -> None:
    """What stands where the control socket or the event file should be is left alone, and nothing waits for it."""
    file, other = lab.state / "nfqdpi.toml", lab.state / "other"
    other.write_text("precious")
    file.write_text(f'[events]\nfile = ""\n[control]\nsocket = "{other}"\n')
    done = nfqdpi(lab, "run", "-c", file)
    assert (done.returncode, f"{other}: it is there, and no socket" in done.stderr) == (1, True), done.stderr
    assert other.read_text() == "precious"
    os.mkfifo(lab.state / "pipe")
    file.write_text(f'[events]\nfile = "{lab.state}/pipe"\n')
    assert nfqdpi(lab, "run", "-c", file).returncode == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("after", [0.0, 0.02])
def test_signals_of_a_terminal(lab: Lab, gateway: Gateway, number: signal.Signals, after: float) -> None:
    """Ctrl-C or an impatient second signal reach the whole group: the rules go all the same."""
    running = gateway(config(lab))
    os.killpg(supervisor(running), number)
    time.sleep(after)
    os.killpg(supervisor(running), number)
    assert running.process.wait(5) == 0
    assert "NFQDPI" not in lab.gateway.run(["iptables-save"]).stdout + lab.gateway.run(["ip6tables-save"]).stdout


def test_bad_configuration_starts_nothing(lab: Lab) -> None:
    """Exit 2, every problem in a line of its own, and neither rules nor socket."""
    file = lab.state / "bad.toml"
    file.write_text('[queue]\nworkerz = 1\n[marks]\nmask = 0x5\n[[rule]]\naction = "eat"\n')
    before = lab.gateway.run(["iptables-save"]).stdout
    done = nfqdpi(lab, "run", "-c", file)
    assert done.returncode == 2
    assert [line.split(": ")[1:3] for line in done.stderr.splitlines()] == [
        [f"{file}:2", "queue.workerz"], [f"{file}:6", "rule[1].action"], [f"{file}:4", "marks.mask"],
    ]
    assert lab.gateway.run(["iptables-save"]).stdout == before


def test_without_privileges(lab: Lab) -> None:
    """Exit 4, and which capability is missing."""
    command = ["setpriv", "--bounding-set=-net_admin,-net_raw", sys.executable, "-m", "nfqdpi", "run"]
    done = lab.gateway.run(command, check=False)
    assert done.returncode == 4
    assert "CAP_NET_ADMIN, CAP_NET_RAW" in done.stderr


def test_systemd_is_told(lab: Lab, gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """READY=1 goes to the service manager when traffic is judged, STOPPING=1 when the end begins."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(lab.state / "notify"))
        systemd.settimeout(2)
        monkeypatch.setenv("NOTIFY_SOCKET", str(lab.state / "notify"))
        running = gateway(config(lab))
        assert systemd.recv(100) == b"READY=1"
        assert running.stop() == 0
        assert systemd.recv(100) == b"STOPPING=1"


def test_no_rules(lab: Lab) -> None:
    """With --no-rules the firewall stays as it was, and the queues are served all the same."""
    file = lab.state / "nfqdpi.toml"
    file.write_text(config(lab))
    log = lab.state / "daemon.log"
    running = lab.gateway.popen([sys.executable, "-m", "nfqdpi", "run", "--no-rules", "-c", file], log=log)
    assert wait_until(lambda: "ready" in log.read_text(), 5)
    assert "NFQDPI" not in lab.gateway.run(["iptables-save"]).stdout
    status = json.loads(nfqdpi(lab, "status", "--json", "-c", file).stdout)
    assert [worker["owns_queue"] for worker in status["workers"]] == [True, True]
    running.terminate()
    assert running.wait(5) == 0


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
