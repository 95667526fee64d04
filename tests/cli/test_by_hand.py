"""block, allow, pause, resume and overrides without a daemon: what they keep, say, and refuse."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from nfqdpi.cli import main

CONFIG = """
[state]
directory = "{0}/state"
[control]
socket = "{0}/control.sock"
[[group]]
name = "kids"
clients = ["10.0.0.0/24"]
[clients]
names = "{0}/clients"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "nfqdpi.toml"
    path.write_text(CONFIG.format(tmp_path))
    (tmp_path / "clients").write_text("10.0.0.7 Tablet\n")
    return path


def call(file: Path, *args: str) -> Result:
    return CliRunner().invoke(main, [*args, "-c", str(file)])


def listed(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in call(file, "overrides", "ls", "--json").stdout.splitlines()]


@pytest.mark.parametrize(("args", "kept"), [
    (["block", "TikTok.com"], ("block", "tiktok.com", None, None)),
    (["allow", "=www.example"], ("allow", "=www.example", None, None)),
    (["block", "bücher.example", "--group", "kids"], ("block", "xn--bcher-kva.example", None, "kids")),
    (["block", "--client", "AA-BB-CC-DD-EE-FF"], ("block", None, "aa:bb:cc:dd:ee:ff", None)),
    (["pause", "--client", "Tablet"], ("allow", None, "tablet", None)),
    (["pause"], ("allow", None, None, None)),
    (["block", "--all"], ("block", None, None, None)),
])
def test_changes_wait_for_the_daemon(file: Path, args: list[str], kept: tuple[str | None, ...]) -> None:
    """With the daemon down a change is kept, in the form in which it will be compared, and the command says so."""
    done = call(file, *args)
    assert (done.exit_code, "in force when one starts" in done.stderr) == (0, True), done.output
    [change] = listed(file)
    assert (change["action"], change["pattern"], change["client"], change["group"]) == kept
    assert change["until"] is None


def test_a_daemon_that_cannot_be_asked(file: Path) -> None:
    """Without a control socket nobody can say whether one runs; but it looks by itself."""
    file.write_text(file.read_text().replace(f"{file.parent}/control.sock", ""))
    assert "a daemon that runs takes it within ten seconds" in call(file, "block", "a.example").stderr


def test_a_change_for_a_time(file: Path) -> None:
    """It says when it will end, and is listed until then."""
    assert call(file, "block", "a.example", "--for", "10m").exit_code == 0
    [change] = listed(file)
    assert change["until"] - change["made"] == 600
    assert call(file, "block", "b.example", "--for", "50ms").exit_code == 0
    time.sleep(0.06)
    assert [change["pattern"] for change in listed(file)] == ["a.example"]


@pytest.mark.parametrize("args", [
    ["block"], ["allow"], ["block", "no name"], ["block", "a.example", "--for", "soon"],
    ["block", "a.example", "--for", "999999999999d"], ["pause", "--group", "nobody"],
    ["pause", "--group", "kids", "--client", "10.0.0.7"], ["pause", "--client", "10.0.0.7/99"],
    ["overrides", "rm", "first"], ["block", "a.example", "--client", "tabelt"], ["block", "--all", "--group", "kids"],
    ["block", "--all", "--client", "10.0.0.7"], ["block", "--all", "a.example"],
])
def test_what_cannot_be_meant(file: Path, args: list[str]) -> None:
    """Exit 2, and nothing is kept."""
    assert call(file, *args).exit_code == 2
    assert listed(file) == []


def test_a_client_that_nobody_is(file: Path) -> None:
    """The names that come near are said, and nothing is kept; an address need not be known."""
    done = call(file, "pause", "--client", "tabelt")
    assert (done.exit_code, "did you mean 'tablet'?" in done.stderr) == (2, True)
    (file.parent / "clients").write_text("no name\n")
    assert f"{file.parent}/clients: line 1" in call(file, "pause", "--client", "tablet").stderr
    assert listed(file) == []
    assert call(file, "pause", "--client", "10.0.0.9").exit_code == 0


def test_a_change_that_is_for_nobody_any_more(file: Path) -> None:
    """It is listed with the reason, and can be taken back; also a pause, by ``resume``."""
    call(file, "block", "a.example", "--group", "kids")
    call(file, "pause", "--client", "tablet")
    assert [change["nobody"] for change in listed(file)] == [None, None]
    (file.parent / "clients").write_text("")
    file.write_text(file.read_text().replace('"kids"', '"children"'))
    assert [change["nobody"] for change in listed(file)] == ["no group is named 'kids'", "no client is named 'tablet'"]
    assert "group kids (nobody: no group is named 'kids')" in call(file, "overrides", "ls").stdout
    assert call(file, "resume", "--client", "tablet").exit_code == 0
    assert call(file, "overrides", "rm", "1", "1").stdout == "1: taken back\n"


def test_a_pause_ends_by_hand(file: Path) -> None:
    """``resume`` for a client ends that client's pause, without more every one; exit 1 where there is none."""
    assert call(file, "resume").exit_code == 1
    for args in (["pause"], ["pause", "--client", "10.0.0.7"], ["pause", "--group", "kids"], ["allow", "a.example"]):
        call(file, *args)
    assert call(file, "resume", "--client", "10.0.0.7").exit_code == 0
    assert [change["id"] for change in listed(file)] == [1, 3, 4]
    assert call(file, "resume", "--client", "10.0.0.7").exit_code == 1
    assert call(file, "resume").exit_code == 0
    assert [change["id"] for change in listed(file)] == [4]


@pytest.mark.parametrize("args", [("overrides", "ls"), ("resume",), ("explain", "x.example"), ("lists", "ls")])
def test_a_state_directory_that_is_none(file: Path, args: tuple[str, ...]) -> None:
    """Is said, and not taken for an empty one."""
    (file.parent / "plain").touch()
    text = file.read_text().replace(f'directory = "{file.parent}', f'directory = "{file.parent}/plain')
    file.write_text(f'{text}[[list]]\nname = "ads"\npath = "/ads"\n[[rule]]\naction = "block"\nlists = ["ads"]\n')
    result = call(file, *args)
    assert (result.exit_code, "plain" in result.stderr, "Not a directory" in result.stderr) == (5, True, True)


def test_a_change_is_taken_back_by_its_number(file: Path) -> None:
    """One that is not there: exit 1, and those beside it stay."""
    call(file, "block", "a.example")
    call(file, "block", "b.example")
    done = call(file, "overrides", "rm", "1", "7")
    assert (done.exit_code, "no change by hand 7" in done.stderr) == (1, True)
    assert call(file, "overrides", "rm", "1").exit_code == 0
    text = call(file, "overrides", "ls").stdout
    assert ("b.example" in text, "a.example" in text, "everybody" in text) == (True, False, True)


def test_reload_without_a_daemon(file: Path) -> None:
    """Exit 3; but what is wrong with the configuration is said first, with exit 1."""
    assert call(file, "reload").exit_code == 3
    file.write_text("[queue]\nlength = 0\n")
    done = call(file, "reload")
    assert (done.exit_code, f"{file}:2: queue.length" in done.stderr) == (1, True)
