"""``nfqdpi stats --domains``, by a control socket with the daemon's own counts behind it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nfqdpi.daemon.control import Control
from nfqdpi.daemon.domains import Domains
from tests.cli.test_cli import call


@contextmanager
def listening(path: Path, domains: Domains) -> Iterator[None]:
    """The control socket in a thread of its own."""
    loop, control = asyncio.new_event_loop(), Control(str(path), {"domains": domains.read})
    loop.run_until_complete(control.start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(control.stop)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


def test_domains_by_verdicts(tmp_path: Path) -> None:
    """The N that were met most, as a table or an object a line."""
    domains = Domains()
    for name in ("a.example.com", "b.example.com", "c.example.com"):
        domains.add(name, "accelerate")
    for name in ("x.example.org", "y.example.org", "z.example.net"):
        domains.add(name, "block")
    config = tmp_path / "nfqdpi.toml"
    config.write_text(f'[control]\nsocket = "{tmp_path}/control.sock"\n')
    with listening(tmp_path / "control.sock", domains):
        table = call("stats", "--domains", "-c", config)
        rows = call("stats", "--domains", "2", "--json", "-c", config)
    assert table.output.splitlines() == [
        "domain       accelerate  block  inspect",
        "example.com           3      0        0",
        "example.org           0      2        0",
        "example.net           0      1        0"]
    assert [json.loads(line) for line in rows.output.splitlines()] == [
        {"domain": "example.com", "accelerate": 3}, {"domain": "example.org", "block": 2}]


def test_no_daemon_has_no_counts(tmp_path: Path) -> None:
    """Exit 3, as for the other counters."""
    config = tmp_path / "nfqdpi.toml"
    config.write_text(f'[control]\nsocket = "{tmp_path}/none.sock"\n')
    assert call("stats", "--domains", "-c", config).exit_code == 3
    assert call("stats", "--domains", "0", "-c", config).exit_code == 2
