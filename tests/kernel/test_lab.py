"""The lab itself: its network, its ownership, and its scenario against the real daemon."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

from nfqdpi.lab import claim, clients, gauges, scenario
from nfqdpi.lab.namespace import LabError, ip
from nfqdpi.lab.network import SERVER, Family, Lab
from nfqdpi.lab.web import BIG_FILE, BIG_FILE_BYTES, WebServer

NFQDPI = [sys.executable, "-m", "nfqdpi"]
OTHER = f"nfqdpi-lab-test{os.getpid()}-other"

# A lab with a program running in it, held until the process is killed.
HOLD = f"""
import sys, time
from pathlib import Path
from nfqdpi.lab.network import Lab
with Lab({OTHER!r}) as lab:
    lab.client.popen(["sleep", "600"], log=lab.state / "log")
    while not lab.client.pids():  # it enters the namespace once it runs
        time.sleep(0.01)
    print("built", flush=True)
    time.sleep(600)
"""


def namespaces(lab: str) -> list[str]:
    return [line.split()[0] for line in ip("netns", "list").splitlines() if line.startswith(f"{lab}-")]


def rules() -> list[str]:
    """This machine's own rules, without the comments that hold the time."""
    saved = [subprocess.run([program], capture_output=True, text=True, check=True).stdout
             for program in ("iptables-save", "ip6tables-save")]
    return [line for text in saved for line in text.splitlines() if not line.startswith("#")]


def alive(pid: int) -> bool:
    """False of a process that is gone, or whose corpse only waits for init."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def hold_a_lab() -> subprocess.Popen[str]:
    holder = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True)
    assert holder.stdout
    assert holder.stdout.readline() == "built\n"
    return holder


def kill(holder: subprocess.Popen[str]) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.communicate()


@pytest.mark.parametrize("family", [4, 6])
def test_the_server_is_reached_through_the_gateway(lab: Lab, web: WebServer, family: Family) -> None:
    """HTTP and TLS by curl and openssl, 100 MB too; nginx knows by which name it was asked."""
    assert clients.curl(lab.client, "http://allowed.example/", family, web.ca).outcome == "ok"
    big = clients.curl(lab.client, f"https://notblocked.example/{BIG_FILE}", family, web.ca)
    assert (big.outcome, big.detail) == ("ok", f"200, {BIG_FILE_BYTES} B")
    assert clients.openssl(lab.client, "www.blocked.example", family, web.ca).outcome == "ok"
    assert clients.openssl(lab.client, "blocked.example", family, web.ca, "-tls1_2").outcome == "ok"
    assert [(r["host"], r["sni"]) for r in web.requests()] == [("allowed.example", ""), ("notblocked.example",) * 2]


@pytest.mark.parametrize("family", [4, 6])
def test_the_certificate_is_checked(lab: Lab, web: WebServer, family: Family) -> None:
    """A name that the certificate does not have is an error of the client's, and no reset."""
    assert clients.curl(lab.client, "https://other.example/", family, web.ca).outcome == "error"
    assert clients.openssl(lab.client, "other.example", family, web.ca).outcome == "error"


@pytest.mark.parametrize("family", [4, 6])
def test_the_tap_counts_what_reaches_the_server(lab: Lab, family: Family) -> None:
    """Payload bytes to the ports for web and DNS; headers, handshakes and other ports count nothing."""
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    with lab.server.entered():
        listener = socket.create_server(("", 80), family=kind)
    with lab.client.entered():
        client = socket.socket(kind)
    with gauges.Tap(lab.server) as tap, listener, client:
        client.connect((SERVER[family], 80))
        assert tap.take() == 0
        client.sendall(bytes(1000))
        with listener.accept()[0] as served:
            assert served.recv(4096) == bytes(1000)
        assert tap.take() == 1000
        assert clients.quic(lab.client, family, "a.example").outcome == "refused"  # the server has no UDP port 443
        assert tap.take() == 1200


def test_without_rules_nothing_is_queued_or_tracked(lab: Lab, web: WebServer) -> None:
    """The gauges read 0 and nothing in a gateway without a daemon."""
    clients.curl(lab.client, "http://allowed.example/", 4, web.ca)
    assert (gauges.queued(lab.gateway), gauges.tracked(lab.gateway, 4)) == (0, set())


def test_a_thread_comes_home(lab: Lab) -> None:
    """Entering a namespace is for the block alone, and ends with it even by an exception."""
    here = os.readlink("/proc/thread-self/ns/net")
    with lab.client.entered():
        assert os.readlink("/proc/thread-self/ns/net") != here
    with pytest.raises(ZeroDivisionError), lab.client.entered():
        raise ZeroDivisionError
    assert os.readlink("/proc/thread-self/ns/net") == here


def test_leaving_leaves_nothing() -> None:
    """Namespaces, processes and files go with the block; this machine's rules are as they were."""
    before = rules()
    with Lab(OTHER) as lab:
        WebServer(lab.server, lab.state / "web", ["allowed.example"])
        (nginx, *_) = lab.server.pids()
        assert len(namespaces(OTHER)) == 4
    assert namespaces(OTHER) == []
    assert not lab.state.exists()
    assert not alive(nginx)
    assert rules() == before


def test_the_next_run_cleans_up_after_a_killed_one(lab: Lab) -> None:
    """Whatever a run killed by SIGKILL left goes when the next lab is built, its processes too."""
    holder = hold_a_lab()
    (sleeper,) = Lab(OTHER).client.pids()
    kill(holder)
    assert len(namespaces(OTHER)) == 4
    with Lab(f"{lab.name}-next"):
        assert namespaces(OTHER) == []
        assert not (claim.STATE / OTHER).exists()
        assert not alive(sleeper)
        assert len(namespaces(lab.name)) >= 4  # ours is alive and stays


def test_a_namespace_without_its_files_is_cleaned_too(lab: Lab) -> None:
    """A run killed between its namespaces and its directory, or a /run that was emptied, is found by the names."""
    ip("netns", "add", f"{OTHER}-client")
    with Lab(f"{lab.name}-next"):
        assert namespaces(OTHER) == []


def test_a_live_lab_is_not_taken() -> None:
    """A name that a running process holds can neither be claimed nor removed."""
    holder = hold_a_lab()
    try:
        with pytest.raises(LabError, match="still running"), Lab(OTHER):
            pass
        with pytest.raises(LabError, match="still running"):
            claim.remove(OTHER)
        assert len(namespaces(OTHER)) == 4
    finally:
        kill(holder)
        claim.remove(OTHER)


def test_a_standing_lab_stays_until_it_is_replaced_or_removed(lab: Lab) -> None:
    """It outlives its process and other labs; claiming its name builds it anew."""
    with Lab(OTHER) as standing:
        standing.leave_standing()
    with Lab(f"{lab.name}-next"):
        assert len(namespaces(OTHER)) == 4
    (standing.state / "trace").touch()
    with Lab(OTHER) as again:
        assert not (again.state / "trace").exists()
        again.leave_standing()
    assert claim.remove(OTHER)
    assert namespaces(OTHER) == []
    assert not claim.remove(OTHER)


def test_without_privilege_the_lab_says_which_is_missing() -> None:
    """Exit code 4, and the capability's name."""
    done = subprocess.run(["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin", *NFQDPI, "lab"],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert "CAP_SYS_ADMIN" in done.stderr


def test_missing_programs_are_named() -> None:
    """Exit code 5, and each program's name."""
    done = subprocess.run([*NFQDPI, "lab", "up"], capture_output=True, text=True, check=False, env={"PATH": "/nowhere"})
    assert done.returncode == 5
    assert {"nginx", "curl", "conntrack", "ip", "dig", "dnsmasq"} <= set(done.stderr.replace(",", "").split())


def test_up_and_down() -> None:
    """`lab up` twice leaves one lab with a judging daemon, `lab down` none; a second `down` has nothing to do.

    In a mount namespace with a /run of its own: a lab that somebody left standing is not touched.
    """
    script = """
        set -e
        mount -t tmpfs tmpfs /run
        "$@" lab up >/dev/null
        "$@" lab up
        ip netns exec nfqdpi-lab-up-gateway conntrack -L 2>/dev/null
        cat /run/nfqdpi-lab/nfqdpi-lab-up/daemon.log
        "$@" lab down
        ip netns list
        ls -A /run/nfqdpi-lab
        "$@" lab down || echo "exit $?"
    """
    done = subprocess.run(["unshare", "--mount", "sh", "-c", script, "sh", *NFQDPI], capture_output=True, text=True,
                          check=True)
    assert "https://blocked.example/" in done.stdout
    assert "ready" in done.stdout
    assert done.stdout.endswith(".lock\nexit 1\n")


def test_every_row_is_as_expected() -> None:
    """The scenario of `nfqdpi lab`: both modes, both back ends of iptables, IPv4 and IPv6."""
    before = rules()
    rows = list(scenario.run())
    assert [row for row in rows if row.wrong] == []
    assert {(row.mode, row.family) for row in rows} == set(product(("strict", "fast"), (4, 6)))
    assert rules() == before
