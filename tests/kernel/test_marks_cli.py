"""``nfqdpi marks`` as a user runs it, without a daemon; conntrack(8) makes the flows and says what became of them."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nfqdpi.lab.namespace import Namespace
from tests.kernel.namespaces import fresh

NFQDPI = [sys.executable, "-m", "nfqdpi"]
FLOWS = (
    ("192.0.2.2", "198.51.100.2", 40000, 443, 0xA2),
    ("192.0.2.2", "198.51.100.2", 40001, 80, 0xA3),
    ("192.0.2.9", "198.51.100.7", 40002, 443, 0xA0),
    ("2001:db8:1::2", "2001:db8:2::2", 40003, 443, 0xA3),
)


def add(namespace: Namespace, flow: tuple[str, str, int, int, int]) -> None:
    src, dst, sport, dport, mark = flow
    namespace.run(f"conntrack -I -s {src} -d {dst} -p tcp --sport {sport} --dport {dport} --state ESTABLISHED -t 500 "
                  f"-u SEEN_REPLY,ASSURED -m {mark}".split())


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    with fresh() as built:
        for flow in FLOWS:
            add(built, flow)
        yield built


def nfqdpi(namespace: Namespace, *args: str, code: int = 0) -> str:
    done = namespace.run([*NFQDPI, *args], check=False)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def rows(namespace: Namespace, *args: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in nfqdpi(namespace, "marks", "list", "--json", *args).splitlines()]


def witnessed(namespace: Namespace) -> dict[int, int]:
    listed = "".join(namespace.run(["conntrack", "-L", "-f", family]).stdout for family in ("ipv4", "ipv6"))
    return {int(port): int(mark) for port, mark in re.findall(r" sport=(400\d+) dport=\d+ src.* mark=(\d+)", listed)}


def test_list_shows_the_flows_that_carry_a_verdict(namespace: Namespace) -> None:
    """One object a line; those without a verdict only where they are asked for."""
    by_port = {row["sport"]: row for row in rows(namespace)}
    assert sorted(by_port) == [40000, 40001, 40003]
    row = by_port[40001]
    assert (row["proto"], row["src"], row["dst"], row["dport"]) == ("tcp", "192.0.2.2", "198.51.100.2", 80)
    assert (row["verdict"], row["mark"], row["state"]) == ("block", 0xA3, "established")
    assert row["reply"] == {"src": "198.51.100.2", "sport": 80, "dst": "192.0.2.2", "dport": 40001}
    assert [row["sport"] for row in rows(namespace, "--verdict", "unseen")] == [40002]


@pytest.mark.parametrize(
    ("options", "ports"),
    [
        (["--verdict", "block"], [40001, 40003]),
        (["--verdict", "block", "--family", "6"], [40003]),
        (["--src", "192.0.2.0/24"], [40000, 40001]),
        (["--dst", "2001:db8::/32"], [40003]),
        (["--sport", "40000"], [40000]),
        (["--dport", "443", "--family", "4"], [40000]),
        (["--src", "203.0.113.1"], []),
    ],
)
def test_filters(namespace: Namespace, options: list[str], ports: list[int]) -> None:
    """Each filter by itself and two together."""
    assert sorted(row["sport"] for row in rows(namespace, *options)) == ports


def test_the_table_is_aligned(namespace: Namespace) -> None:
    """Every column begins where its heading does."""
    header, *lines = nfqdpi(namespace, "marks", "list").splitlines()
    assert header.split() == ["proto", "client", "server", "verdict", "mark", "state"]
    assert sorted(line[header.index("verdict") :].split()[0] for line in lines) == ["accelerate", "block", "block"]
    assert {line[header.index("state") :] for line in lines} == {"established"}


def test_set_changes_our_bits_of_the_flows_that_match(namespace: Namespace) -> None:
    """Also of flows that carry no verdict yet; foreign bits stay."""
    assert nfqdpi(namespace, "marks", "set", "block_silent", "--src", "192.0.2.0/24") == "3 set\n"
    assert witnessed(namespace) == {40000: 0xA5, 40001: 0xA5, 40002: 0xA5, 40003: 0xA3}


def test_set_wants_a_filter_or_all(namespace: Namespace) -> None:
    """Every flow is changed only by saying so."""
    assert "--all" in nfqdpi(namespace, "marks", "set", "accelerate", code=2)
    assert witnessed(namespace) == {40000: 0xA2, 40001: 0xA3, 40002: 0xA0, 40003: 0xA3}
    assert nfqdpi(namespace, "marks", "set", "accelerate", "--all") == "4 set\n"
    assert set(witnessed(namespace).values()) == {0xA2}


def test_clear_and_flush(namespace: Namespace) -> None:
    """Clear takes the verdict, flush the whole entry; neither touches flows without a verdict of ours."""
    assert nfqdpi(namespace, "marks", "clear", "--verdict", "accelerate") == "1 cleared\n"
    assert witnessed(namespace)[40000] == 0xA0
    assert nfqdpi(namespace, "marks", "flush") == "2 flushed\n"
    assert witnessed(namespace) == {40000: 0xA0, 40002: 0xA0}


def test_a_dry_run_changes_nothing(namespace: Namespace) -> None:
    """It says how many flows it would be: as many as it is without --dry-run."""
    before = witnessed(namespace)
    for command, said in (
        (["set", "block", "--all"], "4 would be set"),
        (["clear", "--family", "6"], "1 would be cleared"),
        (["flush", "--verdict", "block"], "2 would be flushed"),
    ):
        assert nfqdpi(namespace, "marks", *command, "--dry-run") == f"{said}\n"
        assert witnessed(namespace) == before


def test_the_mask_is_the_configured_one(namespace: Namespace, tmp_path: Path) -> None:
    """Another field of the same marks tells other verdicts."""
    config = tmp_path / "nfqdpi.toml"
    config.write_text("[marks]\nmask = 0xf0\n")
    add(namespace, ("192.0.2.2", "198.51.100.2", 40004, 443, 0x3F))
    assert [row["sport"] for row in rows(namespace, "-c", str(config), "--verdict", "block")] == [40004]


def listening() -> bool:
    """True once somebody hears conntrack's three groups: entries that begin before tell nothing of themselves."""
    sockets = [line.split() for line in Path("/proc/net/netlink").read_text().splitlines()[1:]]
    return any(protocol == "12" and groups == "00000007" for _, protocol, _, groups, *_ in sockets)


def test_watch_follows_until_interrupted(namespace: Namespace) -> None:
    """An event a line as it happens; Ctrl-C ends it well."""
    command = ["ip", "netns", "exec", namespace.name, *NFQDPI, "marks", "watch", "--json", "--dport", "8443"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout
        while not listening():
            time.sleep(0.01)
        add(namespace, ("192.0.2.2", "198.51.100.2", 40009, 443, 3))
        add(namespace, ("192.0.2.2", "198.51.100.2", 40010, 8443, 3))
        event = json.loads(watching.stdout.readline())
        assert (event["event"], event["sport"], event["verdict"]) == ("new", 40010, "block")
        watching.send_signal(signal.SIGINT)
        assert watching.wait(5) == 0


def test_without_privilege_the_capability_is_named() -> None:
    """Exit code 4, and what is missing."""
    for command in (["marks", "list"], ["rules", "install"], ["rules", "check"]):
        done = subprocess.run(["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--reuid=65534", "--clear-groups",
                               *NFQDPI, *command], capture_output=True, text=True, check=False)
        assert done.returncode == 4, done.stderr
        assert "CAP_NET_ADMIN" in done.stderr
