"""Compiled lists on disk."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from nfqdpi.config.model import DomainList
from nfqdpi.lists.compile import clean, compile_lists, look, open_index
from nfqdpi.lists.lines import line_of
from nfqdpi.lists.store import Store
from nfqdpi.lists.update import update
from nfqdpi.policy.names import Pattern


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def fetch(state: Path, name: str, text: str) -> None:
    source = state.parent / f"{name}.txt"
    source.write_text(text)
    for result in update([DomainList(name, path=str(source), least=0.0)], Store(str(state)), lambda name, share: None):
        assert not result.problem


def compiled(state: Path, *lists: str) -> Path:
    path = compile_lists(str(state), lists)
    assert path is not None
    return path


def files(state: Path) -> set[Path]:
    return set((state / "compiled").glob("[!.]*"))


def test_what_is_compiled_is_taken(state: Path) -> None:
    """As long as its inputs stay the same, nothing is compiled again; when one changes, it is another file."""
    fetch(state, "ads", "0.0.0.0 a.example\n")
    fetch(state, "kids", "||b.example^\n@@||good.b.example^\n")
    first = compiled(state, "ads", "kids")
    made = first.stat().st_ino
    assert (compiled(state, "ads", "kids"), first.stat().st_ino) == (first, made)
    fetch(state, "ads", "0.0.0.0 a.example\n0.0.0.0 c.example\n")
    second = compiled(state, "ads", "kids")
    assert second != first
    answers = {"a.example": 0b01, "x.b.example": 0b10, "good.b.example": 0, "c.example": 0b01}
    assert {name: open_index(second).lists_of(name) for name in answers} == answers
    assert open_index(first).lists_of("c.example") == 0


def test_no_list_is_stored(state: Path) -> None:
    """There is nothing to compile, and nothing is written."""
    assert compile_lists(str(state), ["ads"]) is None
    assert compile_lists(str(state), []) is None
    assert not state.exists()


def test_only_the_policy_in_force_is_kept(state: Path) -> None:
    """Compiling takes nothing away from anybody; ``clean`` takes all but the one that is named."""
    clean(str(state), None)
    paths = []
    for n in (1, 2, 1, 3):
        fetch(state, "ads", f"0.0.0.0 {n}.example\n")
        paths.append(compiled(state, "ads"))
    assert files(state) == set(paths)
    clean(str(state), paths[0])
    assert files(state) == {paths[2]}


@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[:-1], lambda b: b[:100] + b"x" + b[101:]])
def test_a_damaged_file_is_made_again(state: Path, damage: object) -> None:
    """Whatever a disk has done to it."""
    fetch(state, "ads", "0.0.0.0 a.example\n")
    path = compiled(state, "ads")
    good = path.read_bytes()
    assert callable(damage)
    path.write_bytes(damage(good))
    assert compiled(state, "ads") == path
    assert path.read_bytes() == good


def test_who_looks_writes_nothing(state: Path) -> None:
    """It has the answers of the daemon's file, and the same where there is none, or a damaged one."""
    fetch(state, "ads", "0.0.0.0 a.example\n")

    def answer() -> int:
        index = look(str(state), ["ads", "none"])
        assert index is not None
        return index.lists_of("a.example")

    assert answer() == 1
    assert not (state / "compiled").exists()
    path = compiled(state, "ads")
    assert answer() == 1
    for damaged in (b"", b"damaged"):
        path.write_bytes(damaged)
        assert (answer(), path.read_bytes()) == (1, damaged)
    assert look(str(state), ["none"]) is None


def test_a_mapped_file_may_be_removed(state: Path) -> None:
    """Workers that have not yet heard of a new one go on with what they have."""
    fetch(state, "ads", "0.0.0.0 a.example\n")
    path = compiled(state, "ads")
    index = open_index(path)
    path.unlink()
    assert index.lists_of("a.example") == 1


def test_killed_at_any_moment(memory: Path) -> None:
    """What is there under a key is whole, and what was left lying about goes with the next."""
    state = memory / "state"
    fetch(state, "ads", "".join(f"0.0.0.0 {n}.example\n" for n in range(2000)))
    chance = random.Random(1)  # noqa: S311  no secret
    for n in range(40):
        fetch(state, "more", f"0.0.0.0 {n}.example\n")
        pid = os.fork()
        if pid == 0:
            compile_lists(str(state), ["ads", "more"])
            os._exit(0)
        time.sleep(chance.uniform(0.0, 0.02))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        assert open_index(compiled(state, "ads", "more")).lists_of("1999.example") == 1
    fetch(state, "more", "0.0.0.0 last.example\n")
    last = compiled(state, "ads", "more")
    clean(str(state), last)
    assert files(state) == {last}


def test_the_line_of_a_name(state: Path) -> None:
    """The first that covers it, as it was written."""
    fetch(state, "ads", "! comment\r||b.example^\r\n||a.B.example^\r\n|x.example^\r\n||*.y.example^\n*word*\n")
    stored = Store(str(state)).load("ads")
    assert stored is not None
    for name, number, text, pattern in (
            ("b.example", 2, "||b.example^", "b.example"), ("www.a.b.example", 2, "||b.example^", "b.example"),
            ("x.example", 4, "|x.example^", "=x.example"), ("a.y.example", 5, "||*.y.example^", "*.y.example"),
            ("sword.example", 6, "*word*", "*word*")):
        assert line_of(stored, name) == (number, text, Pattern.parse(pattern))
    assert line_of(stored, "y.example") is None
    assert line_of(stored, "z.x.example") is None
