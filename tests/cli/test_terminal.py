"""What a terminal gets and a pipe does not: colour, cut columns, a word about what is waited for."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping
from pathlib import Path
from threading import Thread
from time import sleep

import pytest

from nfqdpi.cli import terminal
from tests.events.samples import line

ESCAPE = "\x1b["
CONFIG = """
[[rule]]
name = "a"
action = "block"
domains = ["blocked.example"]
[[list]]
name = "ads"
path = "/a/very/long/path/that/no/narrow/terminal/has/room/for/whatever/it/may/be/ads.txt"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "nfqdpi.toml"
    file.write_text(f'{CONFIG}[state]\ndirectory = "{tmp_path}/state"\n')
    return file


def plain(*args: object, **environment: str) -> str:
    """On a pipe."""
    done = subprocess.run([sys.executable, "-m", "nfqdpi", *map(str, args)], stdout=subprocess.PIPE, text=True,
                          env=_environment(environment), check=False)
    return done.stdout


def shown(*args: object, columns: int = 80, **environment: str) -> str:
    """On a terminal of so many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with subprocess.Popen([sys.executable, "-m", "nfqdpi", *map(str, args)], stdin=theirs, stdout=theirs, stderr=theirs,
                          env=_environment(environment)):
        os.close(theirs)
        text = b""
        while piece := _read(ours):
            text += piece
    os.close(ours)
    return text.decode().replace("\r\n", "\n")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # how a terminal says that nobody is there any more
        return b""


def _environment(wanted: Mapping[str, str]) -> dict[str, str]:
    unwanted = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES")
    return {name: value for name, value in os.environ.items() if name not in unwanted} | dict(wanted)


def test_colour(config: Path) -> None:
    """On a terminal, but never with NO_COLOR; on a pipe only with FORCE_COLOR; an empty value says nothing."""
    explain = ("explain", "blocked.example", "-c", config)
    assert ESCAPE in shown(*explain)
    assert ESCAPE not in shown(*explain, NO_COLOR="1")
    assert ESCAPE not in shown(*explain, NO_COLOR="1", FORCE_COLOR="1")
    assert ESCAPE in shown(*explain, NO_COLOR="")
    assert ESCAPE not in plain(*explain)
    assert ESCAPE in plain(*explain, FORCE_COLOR="1")


@pytest.mark.parametrize("columns", [60, 80, 100])
def test_tables_fit(config: Path, columns: int) -> None:
    """The longest column is cut, and says so; all else is there."""
    lines = re.sub(r"\x1b\[\d*m", "", shown("lists", "ls", "-c", config, columns=columns)).splitlines()
    assert max(map(len, lines)) == columns
    assert "…" in lines[1]
    assert lines[1].split()[-1] == "missing"


def test_pipes_get_all(config: Path) -> None:
    """A table on a pipe, and JSON on a terminal, are whole."""
    assert "it/may/be/ads.txt" in plain("lists", "ls", "-c", config)
    assert "it/may/be/ads.txt" in shown("lists", "ls", "--json", "-c", config, columns=40)


def test_a_terminal_that_is_too_narrow(config: Path) -> None:
    """Columns keep what says something; the lines are longer then."""
    assert "missing" in shown("lists", "ls", "-c", config, columns=10)


def test_what_takes_long(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It is named on a terminal, and wiped off again; what is quick is not, and a pipe gets neither."""
    with terminal.busy("slow"):
        sleep(1.2)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with terminal.busy("quick"):
        pass
    assert capsys.readouterr().err == ""
    with terminal.busy("slow"):
        sleep(1.2)
    told = capsys.readouterr().err
    assert told.startswith("\rslow ... 1 s")
    assert told.endswith(f"\r{'':{len('slow ... 1 s')}}\r")


def test_files_that_take_long(config: Path, tmp_path: Path) -> None:
    """Whoever waits for the first event that is wanted is told that files are read; not with the events themselves."""
    pipe = tmp_path / "slow"
    os.mkfifo(pipe)

    def write() -> None:
        with pipe.open("wb") as file:
            sleep(1.5)
            file.write(line("late.example"))

    writing = Thread(target=write)
    writing.start()
    told = shown("events", pipe, "-c", config)
    writing.join()
    assert told.startswith("\rreading ... 1 s")
    assert "late.example" in told.splitlines()[-1]
