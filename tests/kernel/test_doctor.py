"""``nfqdpi doctor`` and ``nfqdpi rules`` as a user runs them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nfqdpi.lab.namespace import Namespace
from tests.kernel.listener import Listener
from tests.kernel.namespaces import fresh, rules, saved

NFQDPI = [sys.executable, "-m", "nfqdpi"]


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    with fresh() as built:
        yield built


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "nfqdpi.toml"
    path.write_text("[queue]\nfirst = 3\nworkers = 2\n")
    return path


def doctor(namespace: Namespace, config: Path, *, code: int) -> dict[str, dict[str, Any]]:
    done = namespace.run([*NFQDPI, "doctor", "--json", "-c", config], check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return {finding["name"]: finding for finding in map(json.loads, done.stdout.splitlines())}


def test_a_good_machine(namespace: Namespace, config: Path) -> None:
    """Everything that the rules are made of is there, and looking has changed nothing."""
    before = [saved(namespace, 4), saved(namespace, 6)]
    findings = doctor(namespace, config, code=0)
    for name in ("privileges", "NFQUEUE", "CONNMARK", "connmark", "conntrack", "bpf", "REJECT", "queue 3", "queue 4",
                 "mark bits", "conntrack netlink", "GLUE_CT"):
        assert findings[name]["level"] == "ok", findings[name]
    assert [saved(namespace, 4), saved(namespace, 6)] == before


def test_a_queue_of_somebody_else(namespace: Namespace, config: Path) -> None:
    """The owner's pid is told, and what to do about it."""
    with Listener(namespace, number=4):
        finding = doctor(namespace, config, code=5)["queue 4"]
    assert finding["level"] == "fail"
    assert f"pid {os.getpid()}" in finding["meaning"]
    assert "[queue] first" in finding["remedy"]


@pytest.mark.parametrize(
    ("command", "level"),
    [
        ("iptables-nft -t mangle -A PREROUTING -j CONNMARK --restore-mark", "fail"),
        ("ip6tables-nft -t mangle -A FORWARD -j MARK --set-mark 0x1", "fail"),
        ("iptables-legacy -A FORWARD -m connmark --mark 0x100 -j ACCEPT", "warn"),
        ("iptables-nft -t mangle -A FORWARD -j MARK --set-xmark 0x100/0xff00", "ok"),
        ("nft add table inet x; nft add chain inet x c; nft add rule inet x c meta mark set 1", "fail"),
        ("nft add table inet x; nft add chain inet x c; nft add rule inet x c ct mark '&' 0xf0 == 0x10 accept", "ok"),
    ],
)
def test_rules_that_use_our_bits(namespace: Namespace, config: Path, command: str, level: str) -> None:
    """Found on both back ends and in nftables itself; other bits are nobody's business."""
    namespace.run(["sh", "-c", command])
    assert doctor(namespace, config, code=5 if level == "fail" else 0)["mark bits"]["level"] == level


def test_settings_that_strict_mode_rests_on(namespace: Namespace, config: Path) -> None:
    """A setting that lets forged packets count is named with the command that mends it."""
    namespace.set(netfilter__nf_conntrack_tcp_be_liberal=1, netfilter__nf_conntrack_tcp_loose=0)
    findings = doctor(namespace, config, code=0)
    assert findings["nf_conntrack_tcp_be_liberal"]["level"] == "warn"
    assert findings["nf_conntrack_tcp_be_liberal"]["remedy"] == "sysctl -w net/netfilter/nf_conntrack_tcp_be_liberal=0"
    assert "nf_conntrack_tcp_loose" not in findings


def test_rules_of_the_command_line(namespace: Namespace, config: Path) -> None:
    """install, check and remove by the configuration; check says what differs, and exits with 1."""
    def run(*args: str | Path, code: int = 0) -> str:
        done = namespace.run([*NFQDPI, "rules", *args], check=False)
        assert done.returncode == code, done.stderr
        return done.stdout

    assert json.loads(run("check", "--json", "-c", config, code=1))["ok"] is False
    run("install", "-c", config)
    assert json.loads(run("check", "--json", "-c", config)) == {"ok": True, "differences": []}
    assert "--queue-balance 3:4" in "\n".join(rules(namespace, 6))
    assert "-j NFQUEUE --queue-balance 3:4" in run("render", "--family", "6", "-c", config)
    namespace.run(["ip6tables", "-t", "mangle", "-F", "NFQDPI_VERDICT"])
    assert "IPv6 mangle: NFQDPI_VERDICT lacks: -j CONNMARK" in run("check", "-c", config, code=1)
    run("remove")
    assert rules(namespace, 4) == rules(namespace, 6) == []
