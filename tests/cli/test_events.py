"""``nfqdpi events`` as a user runs it."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nfqdpi.cli import main
from nfqdpi.cli.events import moment
from nfqdpi.events.model import Line, notice
from nfqdpi.events.reader import Reader
from tests.events.samples import line

NOW = datetime(2026, 11, 22, 15, 30)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration beside an event file that has been rotated once."""
    hour = timedelta(hours=1)
    now = datetime.now()
    (tmp_path / "eve.json.1.gz").write_bytes(gzip.compress(line("old.example", when=now - 30 * hour)))
    os.utime(tmp_path / "eve.json.1.gz", times=(0, (now - 29 * hour).timestamp()))
    (tmp_path / "eve.json").write_bytes(
        line("a.x.example", when=now - 2 * hour) + line("b.example", "accelerate", rule=None, client="10.0.0.2")
        + notice("events_lost", "3 events are missing here", 3) + line("evil\x1b[2J.example"))
    file = tmp_path / "nfqdpi.toml"
    file.write_text(f'[events]\nfile = "{tmp_path}/eve.json"\n')
    return file


def call(*args: object) -> Result:
    return CliRunner().invoke(main, ["events", *map(str, args)])


@pytest.mark.parametrize(("options", "names"), [
    ([], ["old", "a", "b", "evil"]),
    (["--since", "3h"], ["a", "b", "evil"]),
    (["--since", "1h"], ["b", "evil"]),
    (["--last", "2", "--verdict", "block"], ["a", "evil"]),
    (["--client", "10.0.0.2"], ["b"]),
    (["--name", "*.x.example"], ["a"]),
    (["--not", "name=x.example", "--not", "verdict=accelerate"], ["old", "evil"]),
    (["--reason", "default"], ["b"]),
    (["--rule", "ads", "--since", "yesterday", "--last", "1"], ["evil"]),
])
def test_filters(config: Path, options: list[str], names: list[str]) -> None:
    """By verdict, client, name, reason, rule and time, over the live file and the rotated one."""
    result = call("-c", config, "--json", *options)
    assert result.exit_code == 0, result.output
    told = [json.loads(text) for text in result.output.splitlines()]
    assert [event["tls"]["sni"].partition(".")[0].partition("\x1b")[0] for event in told if "tls" in event] == names


def test_lines_for_people(config: Path) -> None:
    """Time, verdict, client, name and why; what comes off the wire is escaped; a gap is told."""
    last = call("-c", config, "--last", "3").output.splitlines()
    assert last[0].split()[2:] == ["accelerate", "10.0.0.2", "b.example", "default"]
    assert last[1].split(maxsplit=2)[2] == "! 3 events are missing here"
    assert last[2].split()[2:] == ["block", "10.0.0.1", "evil\\x1b[2J.example", "rule", "ads"]


def test_files_that_are_named(config: Path) -> None:
    """A saved file, packed or not, and standard input."""
    packed = config.parent / "eve.json.1.gz"
    assert "old.example" in call("-c", config, packed).output
    done = subprocess.run([sys.executable, "-m", "nfqdpi", "events", "-"], input=line("stdin.example"),
                          capture_output=True, check=False)
    assert b"stdin.example" in done.stdout
    done = subprocess.run([sys.executable, "-m", "nfqdpi", "events", "-"], input=packed.read_bytes(),
                          capture_output=True, check=False)
    assert b"old.example" in done.stdout


@pytest.mark.parametrize("damage", [
    lambda packed: packed[:-12], lambda packed: packed[:40] + b"\0\xff\0\xff" + packed[44:],
    lambda packed: packed[:-8] + b"\0" * 8,
])
def test_a_damaged_file(config: Path, damage: Callable[[bytes], bytes]) -> None:
    """It is named, what is left of it is shown, and so are all others."""
    packed = config.parent / "eve.json.1.gz"
    packed.write_bytes(damage(packed.read_bytes()))
    result = call("-c", config)
    assert (result.exit_code, "b.example" in result.stdout) == (5, True)
    assert f"{packed}: damaged" in result.stderr


def test_what_is_no_event_is_told(config: Path) -> None:
    """A file of something else does not look like an empty one."""
    (config.parent / "other").write_text("a\nb\n")
    assert call("-c", config, config.parent / "other").stderr == "nfqdpi: 2 lines are no events\n"


@pytest.mark.parametrize(("change", "options"), [
    ({"timestamp": "yesterday"}, ["--since", "1d"]), ({"timestamp": "0001-01-01"}, ["--since", "1d"]),
    ({"src_ip": "none"}, ["--client", "10.0.0.1"]),
])
def test_what_only_looks_like_an_event(config: Path, change: dict[str, str], options: list[str]) -> None:
    """A time or an address that is none is another program's, where it is looked at."""
    other = config.parent / "other"
    other.write_text(json.dumps(json.loads(line("odd.example")) | change) + "\n" + line("good.example").decode())
    result = call("-c", config, other, *options)
    assert (result.exit_code, result.stderr) == (0, "nfqdpi: 1 lines are no events\n")
    assert "good.example" in result.stdout


@pytest.mark.parametrize(("options", "code", "says"), [
    (["--since", "soon"], 2, "'soon' is no time"),
    (["--client", "me"], 2, "'me' is no address"),
    (["--not", "verdict=maybe"], 2, "expected one of inspect, accelerate, block"),
    (["--not", "colour=red"], 2, "none of verdict, client, name, reason, rule"),
    (["--since", ""], 2, "'' is no time"),
    (["-f", "one", "two"], 2, "-f follows one file"),
    (["-f", "-"], 2, "no pipe"),
    (["none.json"], 5, "none.json: No such file or directory"),
])
def test_what_cannot_be_meant(config: Path, options: list[str], code: int, says: str) -> None:
    """A sentence, and the exit code."""
    result = call("-c", config, *options)
    assert (result.exit_code, says in result.stderr) == (code, True), result.stderr


def test_no_event_file(tmp_path: Path) -> None:
    """Where the configuration has none, one must be named."""
    (tmp_path / "nfqdpi.toml").write_text('[events]\nfile = ""\n')
    result = call("-c", tmp_path / "nfqdpi.toml")
    assert (result.exit_code, "switched off" in result.stderr) == (2, True)


def test_a_rotation_while_files_are_read(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each event comes once: what is read is what the files were when it began."""
    path = config.parent / "eve.json"
    shown = Reader._picked

    def rotate(reading: Reader, text: bytes) -> Line | None:
        if b"old.example" in text:
            (config.parent / "eve.json.1.gz").rename(config.parent / "eve.json.2.gz")
            path.rename(config.parent / "eve.json.1")
            path.write_bytes(line("new.example"))
        return shown(reading, text)

    monkeypatch.setattr(Reader, "_picked", rotate)
    told = call("-c", config).stdout
    assert [told.count(name) for name in ("old.example", "a.x.example", "b.example")] == [1, 1, 1]


def test_following(config: Path) -> None:
    """What is written after the start comes at once, through a rotation, until Ctrl-C."""
    path = config.parent / "eve.json"
    command = [sys.executable, "-m", "nfqdpi", "events", "-c", str(config), "-f", "--last", "1", "--verdict", "block"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout
        assert "evil" in following.stdout.readline()
        with path.open("ab") as file:
            file.write(line("passed.example", "accelerate") + line("new.example"))
        assert "new.example" in following.stdout.readline()
        path.rename(config.parent / "eve.json.1")
        path.write_bytes(line("newer.example"))
        assert "newer.example" in following.stdout.readline()
        following.send_signal(signal.SIGINT)
        assert following.wait(10) == 0


@pytest.mark.parametrize(("text", "expected"), [
    ("10m", NOW - timedelta(minutes=10)), ("1d", NOW - timedelta(days=1)), ("today", NOW.replace(hour=0, minute=0)),
    ("yesterday", datetime(2026, 11, 21)), ("14:00", NOW.replace(hour=14, minute=0)),
    ("21:00", datetime(2026, 11, 21, 21)), ("2026-11-20", datetime(2026, 11, 20)),
    ("2026-11-20 08:15:30", datetime(2026, 11, 20, 8, 15, 30)),
])
def test_moments(text: str, expected: datetime) -> None:
    """So long ago, a time of the last 24 hours, a day, or day and time."""
    assert moment(text, NOW) == expected.astimezone()
