"""Writing files whole, and alone."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import pytest

from nfqdpi.folder import alone, replace


@pytest.fixture(params=[0o000, 0o077])
def _umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("_umask")
def test_a_file_stays_as_open_as_it_was(tmp_path: Path) -> None:
    """A new one is like its model, or not for everybody; what a kill has left beside it is no model."""
    path, like = tmp_path / "file.toml", tmp_path / "like"
    replace(path, b"1")
    assert (mode(path), path.read_bytes()) == (0o640, b"1")
    path.chmod(0o604)
    path.with_suffix(".new").touch(0o666)
    replace(path, b"2", b"3", like=like)
    assert (mode(path), path.read_bytes()) == (0o604, b"23")
    like.touch()
    like.chmod(0o644)
    path.unlink()
    replace(path, b"4", like=like)
    assert (mode(path), set(tmp_path.iterdir())) == (0o644, {like, path})


def test_two_are_never_in_a_folder_at_once(tmp_path: Path) -> None:
    """The second comes in when the first goes, also where that one has removed the folder."""
    folder, second = tmp_path / "folder", Event()

    def enter() -> None:
        with alone(folder):
            second.set()

    waiting = Thread(target=enter)
    with alone(folder):
        waiting.start()
        assert not second.wait(0.1)
        (folder / ".lock").unlink()
        folder.rmdir()
    assert second.wait(10)
    waiting.join()
    assert folder.exists()


def test_who_may_only_read_keeps_nobody_out(tmp_path: Path) -> None:
    """A lock on the folder, which any user can take, is nothing; the one that counts is for its owner to open."""
    before = os.umask(0)
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        entering = Thread(target=_enter, args=(tmp_path,), daemon=True)
        entering.start()
        entering.join(10)
        assert not entering.is_alive()
    finally:
        os.close(folder)
        os.umask(before)
    assert mode(tmp_path / ".lock") == 0o600


def _enter(folder: Path) -> None:
    with alone(folder):
        pass
