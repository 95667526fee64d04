"""Protocols without names in a real gateway: rules by protocol, and what servers see of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nfqdpi.lab.namespace import Namespace
from nfqdpi.lab.network import SERVER, Family, Lab
from tests.kernel.daily import FAMILIES, Gateway, ask, config, wait_until
from tests.kernel.datagrams import both_ends
from tests.plugins.test_wireguard import INITIATION
from tests.test_docs import ROOT, tutorial

RULE = """
[plugin.{name}]
enabled = true
[[rule]]
name = "by protocol"
action = "{action}"
protocols = ["{name}"]
"""


def told(lab: Lab) -> list[dict[str, Any]]:
    """The events so far."""
    return [json.loads(line) for line in (lab.state / "eve.json").read_text().splitlines()]


@pytest.fixture
def dropbear(lab: Lab) -> Iterator[Path]:
    """A real SSH server on port 22 of the lab's server; its log."""
    key, log = lab.state / "key", lab.state / "dropbear.log"
    lab.server.run(["dropbearkey", "-t", "ed25519", "-f", key])
    running = lab.server.popen(["dropbear", "-F", "-E", "-r", key, "-s", "-p", "22", "-P", lab.state / "pid"], log=log)
    assert wait_until(lambda: ":22 " in lab.server.run(["ss", "-ltn"]).stdout, 5)
    yield log
    running.terminate()
    running.wait()


def visit(client: Namespace, family: Family) -> str:
    """What a real SSH client says at its end; nobody may log in here."""
    command = ["dbclient", "-y", "-y", "-T", f"nobody@{SERVER[family]}", "true"]
    return client.run(command, check=False, timeout=20).stderr


@pytest.mark.parametrize("family", FAMILIES)
def test_ssh_allowed(lab: Lab, gateway: Gateway, dropbear: Path, family: Family) -> None:
    """A client gets as far as the server lets it, and its software is told."""
    running = gateway(config(lab) + RULE.format(name="ssh", action="accelerate"))
    assert "No auth methods" in visit(lab.client, family)
    running.stop()
    (event,) = told(lab)
    assert event["app_proto"] == "ssh"
    assert event["app"]["attributes"]["software"].startswith("dropbear_")
    assert event["verdict"]["action"] == "accelerate"
    assert "User 'nobody'" in dropbear.read_text()


@pytest.mark.parametrize("family", FAMILIES)
def test_ssh_blocked(lab: Lab, gateway: Gateway, dropbear: Path, family: Family) -> None:
    """The server never learns who its client is: it is reset before it has the client's first line."""
    running = gateway(config(lab) + RULE.format(name="ssh", action="block"))
    assert "exited: " in visit(lab.client, family)
    assert wait_until(lambda: "exit" in dropbear.read_text().lower(), 5)
    assert "User" not in dropbear.read_text()
    running.stop()
    (event,) = told(lab)
    assert (event["app_proto"], event["verdict"]["rule"]) == ("ssh", "by protocol")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("action", ["accelerate", "block"])
def test_wireguard(lab: Lab, gateway: Gateway, family: Family, action: str) -> None:
    """A handshake as a client sends it (the kernel need not have WireGuard) reaches the server, or is refused."""
    running = gateway(config(lab) + RULE.format(name="wireguard", action=action))
    with both_ends(lab, 51820, family) as (client, server):
        client.send(INITIATION)
        if action == "block":
            with pytest.raises(ConnectionRefusedError):
                client.recv(1)
            server.setblocking(False)
            with pytest.raises(BlockingIOError):
                server.recv(200)
        else:
            assert server.recv(200) == INITIATION
    running.stop()
    (event,) = told(lab)
    assert (event["app_proto"], event["verdict"]["action"]) == ("wireguard", action)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_server_spoke_first(lab: Lab, gateway: Gateway, family: Family) -> None:
    """Whichever end conntrack takes for the client, what goes to the plugin's port is judged: a late datagram of the
    server's makes it the one that began, once the flow is forgotten."""
    gateway(config(lab) + RULE.format(name="wireguard", action="block"))
    with both_ends(lab, 51820, family) as (client, server):
        server.sendto(b"late", client.getsockname()[:2])
        assert client.recv(4) == b"late"
        client.send(INITIATION)
        with pytest.raises(ConnectionRefusedError):
            client.recv(1)
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.recv(200)


def test_the_first_plugin(lab: Lab, gateway: Gateway, dropbear: Path, tmp_path: Path,
                          monkeypatch: pytest.MonkeyPatch) -> None:
    """An author's first minute: in a fresh environment the plugin of docs/plugins.md is begun, tested and installed,
    and decides real traffic, until it is switched off."""
    files = tutorial()
    for path, text in files.items():
        file = tmp_path / "files" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    done = subprocess.run([ROOT / "tests/kernel/first_plugin", sys.executable, ROOT, tmp_path, tmp_path / "files"],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv/bin/python"))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setenv("PYTHONSAFEPATH", "1")  # not the checkout's nfqdpi
    running = gateway(config(lab))
    assert "No auth methods" in visit(lab.client, 4)
    running.config.write_text(config(lab) + files["nfqdpi.toml"])
    ask(lab, running, "reload")
    served = len(dropbear.read_text())
    for family in FAMILIES:
        assert "No auth methods" not in visit(lab.client, family)
    assert "User" not in dropbear.read_text()[served:]
    ask(lab, running, "plugins", "disable", "sshbanner")
    assert "No auth methods" in visit(lab.client, 4)
    running.stop()
    assert [(event["app_proto"], event["verdict"]["action"]) for event in told(lab) if "app_proto" in event] == [
        ("sshbanner", "accelerate"), ("sshbanner", "block"), ("sshbanner", "block")]
