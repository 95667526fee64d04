"""What happens to traffic and to the daemon when its processes die, hang, are refused, or are misconfigured."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from nfqdpi.lab.daemon import Daemon
from nfqdpi.lab.network import Lab
from tests.kernel.daily import Gateway, ask, config, nfqdpi, notices, replaced, supervisor, wait_until, workers
from tests.kernel.origin import Load, Origin, visit


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
