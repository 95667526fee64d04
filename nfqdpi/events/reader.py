"""Events out of files: saved ones, and the live one while it grows and is rotated."""

from __future__ import annotations

import gzip
import os
import re
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

import msgspec

from nfqdpi.events.model import Line

_LOOK = 0.2  # s between two looks at a file that has no more
_GZIP = b"\x1f\x8b"
_NUMBER = re.compile(r"\.([0-9]{1,6})(?:\.gz)?$")


class Read(NamedTuple):
    """A line and the event in it."""

    text: bytes
    line: Line


class Damaged(Exception):  # noqa: N818  a state of the file, not of the program
    """A packed file that cannot be unpacked to its end."""


class Reader:
    """Picks the events that are wanted out of files. ``foreign`` counts the lines that are no events of ours;
    ``damaged`` are the files that end before their end, a sentence each: the others are read all the same."""

    def __init__(self, wanted: Callable[[Line], bool]) -> None:
        self.foreign = 0
        self.damaged: list[str] = []
        self._wanted = wanted
        self._decoder: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)

    def all(self, files: Iterable[Iterable[bytes]]) -> Iterator[Read]:
        """Of files one after the other."""
        for file in files:
            try:
                for text in file:
                    if line := self._picked(text):
                        yield Read(text, line)
            except Damaged as damage:
                self.damaged.append(str(damage))

    def last(self, files: Sequence[Iterable[bytes]], most: int) -> list[Read]:
        """The last ``most``, of files in the order of their age; older ones are read only if need be."""
        found: list[Read] = []
        for file in reversed(files):
            found = [*deque(self.all([file]), most - len(found)), *found]
            if len(found) == most:
                break
        return found

    def _picked(self, text: bytes) -> Line | None:
        try:
            line = self._decoder.decode(text)
            return line if self._wanted(line) else None
        except (msgspec.DecodeError, ValueError):  # the second: of a time or an address that is none
            self.foreign += bool(text.strip())
            return None


class Saved:
    """The lines of a file, read when they are asked for. Iterating raises OSError and Damaged."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __iter__(self) -> Iterator[bytes]:
        with self._path.open("rb") as file:
            yield from unpacked(file)


def siblings(path: Path, since: datetime | None = None) -> list[Path]:
    """The files that this one was rotated to, whoever did it (eve.json.1, eve.json-20261122.gz), the oldest first, and
    itself. Without those whose last event is older than ``since``, and those that are only being packed."""
    ages = []
    others = set(path.parent.glob(f"{path.name}[.-]*"))
    for other in others:
        if other.suffix == ".gz" and other.with_suffix("") in others:
            continue
        number = _NUMBER.search(other.name)  # tells what was written in the same tick of the clock
        with suppress(FileNotFoundError):
            ages.append((other.stat().st_mtime, -int(number[1]) if number else 0, other))
    return [other for age, _, other in sorted(ages) if since is None or age >= since.timestamp()] + [path]


def whole(file: BufferedReader) -> Iterator[bytes]:
    """The lines from here on, but for half a one at the end, which is being written."""
    while (line := file.readline()).endswith(b"\n"):
        yield line
    file.seek(-len(line), os.SEEK_CUR)


def growing(file: BufferedReader, path: Path) -> Iterator[bytes]:
    """The lines from here on and those to come, without end, whoever renames or empties the file meanwhile. ``path`` is
    where it was opened; it is closed in the end. Raises OSError."""
    try:
        while True:
            yield from whole(file)
            if newer := _newer(file, path):
                time.sleep(_LOOK)  # whoever renamed it may not have told its writer yet
                yield from whole(file)
                file.close()
                *rotated, file = newer
                for older in rotated:
                    with older:
                        yield from unpacked(older)
            else:
                if os.fstat(file.fileno()).st_size < file.tell():
                    file.seek(0)
                time.sleep(_LOOK)
    finally:
        file.close()


def _newer(file: BufferedReader, path: Path) -> list[BufferedReader]:
    """The files that have been written since this one, the live one last; none where this is the live one, or there is
    no other yet."""
    ours = os.fstat(file.fileno())
    found = opened(path)
    newer: list[BufferedReader] = []
    for other in reversed(found):
        facts = os.fstat(other.fileno())
        # Whoever packs a file keeps its time: this one may have been packed since it was renamed.
        if os.path.samestat(facts, ours) or (facts.st_mtime, not _packed(other)) <= (ours.st_mtime, False):
            break
        newer.insert(0, other)
    for other in found[: len(found) - len(newer)]:
        other.close()
    return newer


def opened(path: Path, since: datetime | None = None) -> list[BufferedReader]:
    """The siblings and the file, opened; none while there is no such file. Nobody has renamed one of them meanwhile:
    what is renamed while others are read would come twice, or not at all."""
    while path.exists():
        names = siblings(path, since)
        found: list[BufferedReader] = []
        with suppress(FileNotFoundError):
            found.extend(other.open("rb") for other in names)
        with suppress(FileNotFoundError):
            inodes = [os.fstat(other.fileno()).st_ino for other in found]
            if names == siblings(path, since) and inodes == [other.stat().st_ino for other in names]:
                return found
        for other in found:
            other.close()
    return []


def unpacked(file: BufferedReader) -> Iterator[bytes]:
    """The lines of a file that may be packed. Raises Damaged."""
    if not _packed(file):
        yield from file
        return
    try:
        with gzip.open(file) as lines:
            yield from lines
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise Damaged(f"{file.name}: damaged, the rest of it is missing here: {error}") from error


def _packed(file: BufferedReader) -> bool:
    return file.peek(len(_GZIP)).startswith(_GZIP)
