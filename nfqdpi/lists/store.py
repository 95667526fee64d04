"""Lists as they were fetched, on disk: a kill at any moment leaves the old version or the new one."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from nfqdpi.folder import alone, replace
from nfqdpi.policy.formats import Format

T = TypeVar("T", bound=msgspec.Struct)


class Seen(msgspec.Struct, frozen=True):
    """What tells an unchanged source: a server's ETag and Last-Modified, or a file's stamp."""

    tag: str = ""
    modified: str = ""


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


def _decoded(line: bytes, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(line, type=kind)
    except msgspec.DecodeError:
        return None
