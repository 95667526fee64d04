"""What is kept beside the lists: changes by hand and time used."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nfqdpi.policy.overrides import Override
from nfqdpi.state import State, StateError
from nfqdpi.state.store import FILE

BLOCK = Override(0, "block", "tiktok.com", None, "kids", made=100.0, until=None)
BREAK = Override(0, "allow", None, "192.0.2.7", None, made=200.0, until=800.0)


def test_nothing_is_written_by_reading(tmp_path: Path) -> None:
    """A state that nobody has written is empty, and stays unmade."""
    state = State(str(tmp_path / "state"))
    assert (state.overrides(0.0), state.used("2026-11-22")) == ((), {})
    assert not (tmp_path / "state").exists()


def test_changes_are_kept_in_order_until_they_end(tmp_path: Path) -> None:
    """Another reader finds what was written, numbered; what has ended is not there. No number comes twice."""
    state = State(str(tmp_path))
    first, second = state.add(BLOCK), state.add(BREAK)
    assert (first.id, second.id) == (1, 2)
    assert State(str(tmp_path)).overrides(799.0) == (first, second)
    assert State(str(tmp_path)).overrides(800.0) == (first,)
    assert state.remove([1, 2, 3]) == 2
    assert state.remove([1]) == 0
    assert state.add(BLOCK).id == 3


def test_who_is_blocked_is_not_for_everybody_to_read(tmp_path: Path) -> None:
    """The file and what sqlite lays beside it, whatever the umask."""
    before = os.umask(0o000)
    try:
        State(str(tmp_path)).add(BLOCK)
        with sqlite3.connect(tmp_path / FILE) as other:  # which keeps the log from being folded in
            other.execute("SELECT * FROM override").fetchall()
            State(str(tmp_path)).add(BREAK)
            modes = {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    finally:
        os.umask(before)
        other.close()
    assert modes == {0o640}


def test_time_used_counts_by_day(tmp_path: Path) -> None:
    """A day's figures take the place of earlier ones; with a new day the old ones go."""
    state = State(str(tmp_path))
    state.use("2026-11-22", {"games": 10.0, "video": 5.0})
    state.use("2026-11-22", {"games": 20.0})
    assert state.used("2026-11-22") == {"games": 20.0, "video": 5.0}
    state.use("2026-11-23", {})
    assert state.used("2026-11-22") == {}


def test_what_is_no_state_is_said(tmp_path: Path) -> None:
    """A file of something else, of a later version, or a directory that cannot be made."""
    (tmp_path / FILE).write_text("precious, and no database at all; longer than a header is" * 10)
    with pytest.raises(StateError, match="not a database"):
        State(str(tmp_path)).overrides(0.0)
    with pytest.raises(StateError, match="Not a directory"):
        State(str(tmp_path / FILE / "below")).add(BLOCK)
    with pytest.raises(StateError, match="Not a directory"):
        State(str(tmp_path / FILE)).overrides(0.0)
    later = tmp_path / "later"
    later.mkdir()
    with sqlite3.connect(later / FILE) as file:
        file.execute("PRAGMA user_version = 99")
    file.close()
    with pytest.raises(StateError, match="later version"):
        State(str(later)).overrides(0.0)


def test_a_writer_that_is_killed_leaves_whole_changes(tmp_path: Path) -> None:
    """kill -9 at any moment: what was said to be kept is there, and nothing by halves."""
    writer = ("from nfqdpi.policy.overrides import Override\nfrom nfqdpi.state import State\nimport sys\n"
              "for n in range(10**6):\n"
              "    kept = State(sys.argv[1]).add(Override(0, 'block', f'{n}.example', None, None, float(n), None))\n"
              "    print(kept.id, flush=True)\n")
    for delay in (0.15, 0.2, 0.25, 0.3):
        with subprocess.Popen([sys.executable, "-c", writer, tmp_path], stdout=subprocess.PIPE, text=True) as process:
            time.sleep(delay)
            os.kill(process.pid, signal.SIGKILL)
            assert process.stdout
            told = [int(line) for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
        numbers = [change.id for change in State(str(tmp_path)).overrides(0.0)]
        assert numbers == list(range(1, len(numbers) + 1))
        assert not told or told[-1] in numbers
