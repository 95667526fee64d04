"""A writer never makes anybody wait, and owns up to what is lost."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import msgspec
import pytest

from nfqdpi.config.model import Config, Events, Rule
from nfqdpi.config.values import SyslogTarget
from nfqdpi.events.model import Line, Notice
from nfqdpi.events.targets import File
from nfqdpi.events.writer import EventLog, Writer
from tests.events.samples import line


class Gate:
    """A target that takes nothing until it is let, and may fail first."""

    name = "gate"

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.reached = threading.Event()
        self.failing = False
        self.taken = b""
        self.reopened = 0

    def write(self, lines: bytes, given_up: Callable[[], bool]) -> int:
        self.reached.set()
        while not self.opened.wait(0.01):
            if given_up():
                return 0
        if self.failing:
            raise OSError(28, "No space left on device")
        self.taken += lines
        return lines.count(b"\n")

    def reopen(self) -> None:
        self.reopened += 1

    def close(self) -> None:
        pass


def finish(writer: Writer, patience: float = 5) -> None:
    writer.stop(monotonic() + patience)
    writer.join()


def test_what_does_not_fit_is_counted_and_owned_up_to() -> None:
    """Of a target that stands still, as much waits as may; the rest is lost, and the file itself says so, where."""
    gate = Gate()
    writer = Writer(gate, most=100)
    writer.write(b"first\n")
    gate.reached.wait(5)
    for _ in range(40):
        writer.write(b"123456789\n")
    assert (writer.lost, writer.trouble) == (31, "is too slow")
    gate.opened.set()
    finish(writer)
    notices = [n for text in gate.taken.splitlines() if text.startswith(b"{")
               if isinstance(n := msgspec.json.decode(text, type=Line), Notice)]
    assert [(n.notice.kind, n.notice.count) for n in notices] == [("events_lost", 31)]
    assert gate.taken.count(b"123456789\n") == 9
    assert (writer.written, writer.lost) == (10, 31)


def test_a_target_that_fails() -> None:
    """What it did not take is lost; when it takes lines again, the first one says how many."""
    gate = Gate()
    gate.failing = True
    gate.opened.set()
    writer = Writer(gate)
    writer.write(b"1\n2\n")
    while not writer.trouble:
        pass
    assert writer.trouble == "No space left on device"
    gate.failing = False
    writer.write(b"3\n")
    finish(writer)
    confession, rest = gate.taken.splitlines()
    assert b'"count":2' in confession
    assert (rest, writer.written, writer.lost, writer.trouble) == (b"3", 1, 2, "")


def test_the_end_does_not_wait_for_ever() -> None:
    """A target that stands still is left; what waits is counted."""
    gate = Gate()
    writer = Writer(gate)
    for _ in range(10):
        writer.write(b"1\n")
    before = monotonic()
    finish(writer, 0.1)
    assert monotonic() - before < 5
    assert (writer.written, writer.lost) == (0, 10)


def test_reopening_keeps_the_order() -> None:
    """It happens between what was written before it and after."""
    gate = Gate()
    writer = Writer(gate)
    writer.write(b"1\n")
    writer.reopen()
    writer.write(b"2\n")
    gate.opened.set()
    finish(writer)
    assert (gate.taken, gate.reopened) == (b"1\n2\n", 1)


def test_what_cannot_be_opened_anew_is_tried_again(tmp_path: Path) -> None:
    """Until it can, that is told, and lines go to the file of before."""
    path, moved = tmp_path / "eve.json", tmp_path / "moved"
    writer = Writer(File(str(path)))
    path.rename(moved)
    path.mkdir()
    writer.reopen()
    writer.write(b"1\n")
    while writer.written < 1:
        pass
    assert writer.trouble == "cannot be opened anew: Is a directory"
    path.rmdir()
    writer.write(b"2\n")
    finish(writer)
    assert (moved.read_text(), path.read_text(), writer.lost, writer.trouble) == ("1\n", "2\n", 0, "")


def test_rotation_by_size_and_by_signal_loses_nothing(tmp_path: Path) -> None:
    """Lines written while the file is renamed by us and by somebody else are all there, once each."""
    path = tmp_path / "eve.json"
    writer = Writer(File(str(path), max_bytes=10_000, keep=1000))
    for number in range(20_000):
        writer.write(b"%d\n" % number)
        if number % 2000 == 1999:
            path.rename(tmp_path / f"moved-{number}")
            writer.reopen()
            while not path.exists():
                pass
    finish(writer)
    assert (writer.lost, writer.written) == (0, 20_000)
    lines = [int(text) for file in tmp_path.iterdir() for text in file.read_text().split()]
    assert sorted(lines) == list(range(20_000))


def test_a_pipe_that_nobody_reads(tmp_path: Path) -> None:
    """Writing returns at once; what the pipe and the queue hold goes through when somebody does."""
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    log = EventLog(Config(events=Events(file=str(tmp_path / "pipe"))))
    for _ in range(1000):
        log.write(line() * 10)
    os.set_blocking(reader, False)
    taken = 0
    while taken < 10_000:
        try:
            taken += os.read(reader, 1 << 20).count(b"\n")
        except BlockingIOError:
            continue
    log.close()
    assert (taken, log.lost, log.troubles) == (10_000, 0, [])


def test_targets_are_those_of_the_configuration(tmp_path: Path) -> None:
    """A syslog server that is not there is no hindrance: a trouble that is told, and losses that are counted."""
    events = Events(file=str(tmp_path / "eve.json"), syslog=SyslogTarget(f"{tmp_path}/nobody"))
    log = EventLog(Config(events=events, rule=(Rule("block", "ads", level="alert"),)))
    log.write(line())
    log.close()
    assert (tmp_path / "eve.json").read_bytes().count(b"\n") == 1
    assert log.lost == 1
    assert log.troubles == [f"syslog {tmp_path}/nobody: No such file or directory"]


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    """It is an error at the start, not a silent loss."""
    with pytest.raises(IsADirectoryError):
        EventLog(Config(events=Events(file=str(tmp_path))))
