"""``nfqdpi top``: its tables as text, as JSON, and in a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nfqdpi.cli.top import View
from nfqdpi.core.verdict import Verdict
from nfqdpi.daemon.tally import Tallies
from tests.cli.test_cli import call
from tests.cli.test_stats import listening
from tests.events.samples import decided


def tallies() -> Tallies:
    found = Tallies()
    for name, verdict, client, times in (
            ("ads.example", Verdict.BLOCK, "10.0.0.7", 5), ("www.example", Verdict.ACCELERATE, "10.0.0.8", 9),
            ("evil\x1b[2J.example", Verdict.BLOCK, "10.0.0.8", 1)):
        found.add("block" if verdict.blocks else "accelerate",
                  [decided(name, verdict, client=client, rule="ads" if verdict.blocks else None)] * times)
    return found


def told() -> dict[str, Any]:
    """What the daemon answers."""
    return tallies().read() | {"bytes": [{"name": "www.example", "packets": 7, "bytes": 9000}]}


@pytest.fixture
def config(tmp_path: Path) -> Iterator[Path]:
    """A configuration, and a daemon's control socket where it says."""
    file = tmp_path / "nfqdpi.toml"
    file.write_text(f'[control]\nsocket = "{tmp_path}/control.sock"\n')
    with listening(tmp_path / "control.sock", top=told):
        yield file


def test_text(config: Path) -> None:
    """A table of each kind, most verdicts first, with what came off the wire escaped; or one, of what is wanted."""
    lines = call("top", "-c", config).output.splitlines()
    assert [line.split() for line in lines[:4]] == [
        ["name", "total", "accelerate", "block", "inspect"], ["www.example", "9", "9", "0", "0"],
        ["ads.example", "5", "0", "5", "0"], [r"evil\x1b[2J.example", "1", "0", "1", "0"]]
    assert [line.split()[0] for line in lines if "total" in line] == ["name", "client", "rule", "protocol"]
    assert call("top", "--by", "client", "--filter", "0.8", "-c", config).output.splitlines() == [
        "client    total  accelerate  block  inspect", "10.0.0.8     10           9      1        0"]
    assert call("top", "--by", "bytes", "-c", config).output.splitlines() == [
        "name         bytes  packets", "www.example   9000        7"]


def test_json(config: Path) -> None:
    """One object, with a list of rows for each kind."""
    rows = json.loads(call("top", "--json", "-c", config).output)
    assert rows["bytes"] == [{"name": "www.example", "bytes": 9000, "packets": 7}]
    assert rows["rule"] == [{"rule": "ads", "accelerate": 0, "block": 6, "inspect": 0}]
    assert set(json.loads(call("top", "--json", "--by", "name", "-c", config).output)) == {"time", "name"}


def test_no_daemon(tmp_path: Path) -> None:
    """Exit 3."""
    file = tmp_path / "nfqdpi.toml"
    file.write_text(f'[control]\nsocket = "{tmp_path}/none.sock"\n')
    assert call("top", "-c", file).exit_code == 3


def test_keys_choose_and_sort() -> None:
    """Tables by number or Tab; rows by rate since the look before, by total, by blocked ones or by key."""
    before, found = tallies().read(), tallies()
    found.add("block", [decided("ads.example")] * 3)
    now = found.read() | {"time": before["time"] + 2}
    view = View()
    orders = {}
    for key in "atbk":
        view.press(ord(key))
        orders[key] = [row.key.split(".")[0][:3] for row in view.rows(now, before)]
    assert orders == {"a": ["ads", "www", "evi"], "t": ["www", "ads", "evi"], "b": ["ads", "evi", "www"],
                      "k": ["ads", "evi", "www"]}
    assert view.rows(now, before)[0].rate == 1.5
    moved = {**told(), "time": now["time"] + 3, "bytes": [{"name": "www.example", "packets": 9, "bytes": 12000}]}
    (row,) = View("bytes", "block").rows(moved, told() | {"time": now["time"]})
    assert (row.rate, row.total, row.counts) == (1000.0, 12000, (9,))
    kinds = []
    for key in "\t2\t\t\t\tx9":
        view.press(ord(key))
        kinds.append(view.kind)
    assert kinds == ["client", "client", "rule", "protocol", "bytes", "name", "name", "name"]


class Terminal:
    """The command in a terminal of 80 columns, and all that it has drawn."""

    def __init__(self, *args: object) -> None:
        self.master, slave = pty.openpty()
        os.set_blocking(self.master, False)
        environment = os.environ | {"TERM": "xterm", "LINES": "24", "COLUMNS": "80"}
        self.process = subprocess.Popen([sys.executable, "-m", "nfqdpi", *map(str, args)], stdin=slave, stdout=slave,
                                        stderr=slave, env=environment, start_new_session=True)
        os.close(slave)
        self.drawn = ""

    def type(self, keys: str) -> None:
        """Type, and forget what was drawn before."""
        self.drawn = ""
        os.write(self.master, keys.encode())

    def shows(self, pattern: str, patience: float = 20) -> bool:
        """True once that is drawn."""
        deadline = time.monotonic() + patience
        while not re.search(pattern, self.drawn) and time.monotonic() < deadline:
            if select.select([self.master], [], [], 0.1)[0]:
                try:
                    self.drawn += os.read(self.master, 65536).decode(errors="replace")
                except OSError:  # it has ended
                    break
        return bool(re.search(pattern, self.drawn))

    def close(self) -> int:
        try:
            return self.process.wait(20)
        finally:
            self.process.kill()
            os.close(self.master)


def test_live(config: Path) -> None:
    """Keys choose a table, sort and filter while it is shown; q ends it, with the terminal as it was."""
    terminal = Terminal("top", "--every", "0.2", "-c", config)
    try:
        assert terminal.shows(r"www\.example")
        assert terminal.shows(r"evil\\x1b\[2J")
        terminal.type("2")
        assert terminal.shows(r"10\.0\.0\.8")
        terminal.type("/.7\n")
        assert terminal.shows(r"filter: ")
        terminal.type("1/ads\n")
        assert terminal.shows(r"ads\.example")
        terminal.type("q")
        assert terminal.shows(r"\x1b\[\?1049l")
    finally:
        assert terminal.close() == 0


def test_a_daemon_without_tables(tmp_path: Path) -> None:
    """An older one, before its restart: its own words, exit 5."""
    file = tmp_path / "nfqdpi.toml"
    file.write_text(f'[control]\nsocket = "{tmp_path}/control.sock"\n')
    with listening(tmp_path / "control.sock"):
        terminal = Terminal("top", "-c", file)
        assert terminal.shows(r"the daemon says: no command 'top'")
        assert terminal.close() == 5


def test_a_daemon_that_ends(tmp_path: Path) -> None:
    """Ends the picture, too: exit 3, and a sentence on the terminal as it was."""
    file = tmp_path / "nfqdpi.toml"
    file.write_text(f'[control]\nsocket = "{tmp_path}/control.sock"\n')
    with listening(tmp_path / "control.sock", top=tallies().read):
        terminal = Terminal("top", "--every", "0.2", "-c", file)
        assert terminal.shows(r"www\.example")
    assert terminal.shows(r"\x1b\[\?1049l[^\x1b]*(?:\x1b[^\x1b]*)*no daemon answers")
    assert terminal.close() == 3
