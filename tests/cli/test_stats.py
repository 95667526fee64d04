"""``nfqdpi stats``, by a control socket with the daemon's own counts behind it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nfqdpi.cli.stats import latencies, rates
from nfqdpi.config.model import Control as Settings
from nfqdpi.daemon.control import Control
from nfqdpi.daemon.counters import Counters
from nfqdpi.daemon.domains import Domains
from tests.cli.test_cli import call


@contextmanager
def listening(path: Path, **commands: Callable[[], Any]) -> Iterator[None]:
    """The control socket in a thread of its own."""
    loop, control = asyncio.new_event_loop(), Control(Settings(str(path)), commands)
    loop.run_until_complete(control.start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(control.stop)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks))
        loop.close()


def test_domains_by_verdicts(tmp_path: Path) -> None:
    """The N that were met most, as a table or an object a line."""
    domains = Domains()
    domains.add("accelerate", ["a.example.com", "b.example.com", "c.example.com"])
    domains.add("block", ["x.example.org", "y.example.org", "z.example.net"])
    config = tmp_path / "nfqdpi.toml"
    config.write_text(f'[control]\nsocket = "{tmp_path}/control.sock"\n')
    with listening(tmp_path / "control.sock", domains=domains.read):
        table = call("stats", "--domains", "-c", config)
        rows = call("stats", "--domains", "2", "--json", "-c", config)
    assert table.output.splitlines() == [
        "domain       accelerate  block  inspect  packets  bytes",
        "example.com           3      0        0        0      0",
        "example.org           0      2        0        0      0",
        "example.net           0      1        0        0      0"]
    assert [json.loads(line) for line in rows.output.splitlines()] == [
        {"domain": "example.com", "accelerate": 3}, {"domain": "example.org", "block": 2}]


def test_a_table_is_watched(tmp_path: Path) -> None:
    """As the counters are, until the daemon gives none; one table at a time."""
    config = tmp_path / "nfqdpi.toml"
    config.write_text(f'[control]\nsocket = "{tmp_path}/control.sock"\n')
    volume = {"name": [{"name": "a.example", "packets": 1, "bytes": 7}], "counting": True, "losses": 0}
    for option, command, reply in (("--domains", "domains", {"domains": [{"domain": "a.example", "block": 7}]}),
                                   ("--names", "volume", volume)):
        replies = iter([reply] * 3)
        commands = {command: lambda replies=replies: next(replies, {"error": "that was all"})}
        with listening(tmp_path / "control.sock", **commands):
            shown = call("stats", option, "--watch", "0.1", "-c", config)
        assert (shown.exit_code, shown.stdout.count("a.example")) == (5, 3)
    both = call("stats", "--names", "--clients", "-c", config)
    assert (both.exit_code, "one of them" in both.stderr) == (2, True)


def test_no_daemon_has_no_counts(tmp_path: Path) -> None:
    """Exit 3, as for the other counters."""
    config = tmp_path / "nfqdpi.toml"
    config.write_text(f'[control]\nsocket = "{tmp_path}/none.sock"\n')
    assert call("stats", "--domains", "-c", config).exit_code == 3
    assert call("stats", "--domains", "0", "-c", config).exit_code == 2


def stats(when: float, packets: int, *seconds: float) -> dict[str, Any]:
    """What a daemon replies whose only worker has judged so many packets, some in so many seconds."""
    counters = Counters()
    counters["packets"] = packets
    counters.add_latencies(seconds)
    kernel = [{"number": 0, "waiting": 2, "packets": packets, "dropped": 0, "lost": 0}]
    return {"time": when, "total": counters.read() | {"bypassed": 0}, "queues": {}, "kernel": kernel}


def test_rates_are_between_two_looks() -> None:
    """A second's worth of each counter, but of no gauge; of a daemon that began anew, since it did."""
    assert rates(stats(102.0, 50), stats(100.0, 10))["packets"] == 20
    assert rates(stats(102.0, 4), stats(100.0, 10))["packets"] == 2
    assert "flows" not in rates(stats(102.0, 4), stats(100.0, 10))


@pytest.mark.parametrize(("seconds", "told"), [
    ((), ""),
    ((0.00001, 0.00001, 0.003), "judged: 50 % within 16 us, 99 % within 4 ms, 99.9 % within 4 ms"),
    ((9.0,), "judged: 50 % in more than 4.2 s, 99 % in more than 4.2 s, 99.9 % in more than 4.2 s"),
])
def test_how_long_packets_waited(seconds: tuple[float, ...], told: str) -> None:
    """In the words of the buckets: within how long what share was judged."""
    assert latencies(stats(0, 1, *seconds)["total"]) == told


def test_watch(tmp_path: Path) -> None:
    """Look after look, each with what has happened since the one before, until the daemon gives none."""
    replies = iter([stats(100.0, 10), stats(102.0, 50, 0.0005)])
    config = tmp_path / "nfqdpi.toml"
    config.write_text(f'[control]\nsocket = "{tmp_path}/control.sock"\n')
    with listening(tmp_path / "control.sock", stats=lambda: next(replies, {"error": "that was all"})):
        shown = call("stats", "--watch", "0.1", "-c", config)
    assert shown.exit_code == 5
    first, second = shown.output.split("queue  waiting")[:2]
    assert "a second" not in first
    assert ["packets", "50", "20.0"] in [line.split() for line in second.splitlines()]
    assert "99 % within 512 us" in second
