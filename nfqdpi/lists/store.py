"""Lists as they were fetched, on disk: a kill at any moment leaves the old version or the new one."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from nfqdpi.lists.fetch import Seen
from nfqdpi.policy.formats import Format

_MODE = 0o640  # a list's source may have a password in it

T = TypeVar("T", bound=msgspec.Struct)


class Facts(msgspec.Struct, frozen=True):
    """Of a text: where it came from, when (seconds since 1970), and what is in it. ``setting`` is the format that was
    configured, ``form`` the one that it is in."""

    source: str
    setting: str
    form: Format
    names: int
    refused: int
    sha256: str
    fetched: float
    seen: Seen


class Attempt(msgspec.Struct, frozen=True):
    """The last time that the source was asked: ``asked`` is what the configuration said then, ``problem`` why the old
    version stayed, "" where nothing was wrong."""

    time: float
    asked: str
    seen: Seen
    problem: str = ""


class Stored(NamedTuple):
    """A version: its facts and its text."""

    facts: Facts
    text: bytes


class Store:
    """``<state>/lists/NAME/list`` holds a version, its facts on the first line and the text behind: one file, so that
    one rename changes both. ``attempt`` beside it holds the last Attempt."""

    def __init__(self, state: str) -> None:
        self._root = Path(state) / "lists"

    def load(self, name: str) -> Stored | None:
        """The version; None where there is none, or it is not what was written."""
        try:
            with (self._root / name / "list").open("rb") as file:
                facts = _decoded(file.readline(), Facts)
                text = file.read() if facts else b""
        except FileNotFoundError:
            return None
        return Stored(facts, text) if facts and hashlib.sha256(text).hexdigest() == facts.sha256 else None

    def facts(self, name: str) -> Facts | None:
        """The version's facts, without a look at its text."""
        return self._first_line(name, "list", Facts)

    def attempt(self, name: str) -> Attempt | None:
        """The last attempt; None where there was none."""
        return self._first_line(name, "attempt", Attempt)

    @contextmanager
    def writing(self, name: str) -> Iterator[Writing]:
        """Its folder, alone."""
        folder = self._root / name
        with alone(folder):
            yield Writing(folder)

    def remove(self, name: str) -> None:
        """Forget all about a list."""
        with alone(self._root / name):
            shutil.rmtree(self._root / name)

    def _first_line(self, name: str, file_name: str, kind: type[T]) -> T | None:
        try:
            with (self._root / name / file_name).open("rb") as file:
                return _decoded(file.readline(), kind)
        except FileNotFoundError:
            return None


class Writing:
    """The folder of a list while it is ours alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, facts: Facts, text: bytes) -> None:
        """Make this the version."""
        replace(self._folder / "list", msgspec.json.encode(facts) + b"\n", text)

    def note(self, attempt: Attempt) -> None:
        """Make this the last attempt."""
        replace(self._folder / "attempt", msgspec.json.encode(attempt) + b"\n")


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Nobody else is in here meanwhile; who comes second, waits. A kill lets the next one in. Who may only read here
    cannot open the lock, and so keeps nobody out."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if os.fstat(lock).st_nlink:  # or else the folder was removed by the one before us
                yield
                return
        finally:
            os.close(lock)


def replace(path: Path, *parts: bytes, like: Path | None = None) -> None:
    """The file's new content, written beside, forced to the disk, renamed: what is there is whole at every moment.
    It has the mode and the owner of the old one, or else of ``like``, or else 0640 and ours. To be done alone."""
    beside = path.with_suffix(".new")
    beside.unlink(missing_ok=True)
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        model = next((one.stat() for one in (path, like) if one is not None and one.exists()), None)
        if model is not None:
            with suppress(PermissionError):  # only root gives files away
                os.fchown(file.fileno(), model.st_uid, model.st_gid)
        os.fchmod(file.fileno(), stat.S_IMODE(model.st_mode) if model is not None else _MODE)
        file.writelines(parts)
        file.flush()
        os.fsync(file.fileno())
    beside.rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _decoded(line: bytes, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(line, type=kind)
    except msgspec.DecodeError:
        return None
