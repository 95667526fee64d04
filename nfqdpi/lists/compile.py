"""Stored lists to one file of compiled names, which every worker maps: ``<state>/compiled/KEY``.

The key is a digest of all that the file is made from, so that it is never out of date; it is written beside, forced to
the disk and renamed, so that it is never half. The file in force and the one before it stay.
"""

from __future__ import annotations

import fcntl
import gc
import hashlib
import mmap
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from nfqdpi import __version__
from nfqdpi.lists.store import Facts, Store
from nfqdpi.policy import formats
from nfqdpi.policy.index import FORMAT, NameIndex, build, is_whole

_KEPT = 2  # files: the workers let go of the old one only when they have the new one


def compile_lists(state: str, lists: Sequence[str]) -> Path | None:
    """The compiled names of these lists as they are stored now; what is there already and whole, is taken. None where
    none is stored. It computes for seconds: not in an event loop's process. Raises OSError."""
    if not _facts(state, lists):
        return None
    with _locked(Path(state) / "compiled") as folder:
        if path := find(state, lists):
            os.utime(path)  # the newest stay
            return path
        facts, compiled = _compiled(state, lists)
        path = folder / _key(facts)
        beside = folder / "new"
        with beside.open("wb") as file:
            file.write(compiled)
            file.flush()
            os.fsync(file.fileno())
        beside.rename(path)
        for old in sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime_ns)[:-_KEPT]:
            old.unlink()
        folder_descriptor = os.open(folder, os.O_RDONLY)
        os.fsync(folder_descriptor)
        os.close(folder_descriptor)
    return path


def find(state: str, lists: Sequence[str]) -> Path | None:
    """The compiled names of these lists as they are stored now; None where they are not compiled yet, or not whole."""
    path = Path(state) / "compiled" / _key(_facts(state, lists))
    try:
        return path if is_whole(path.read_bytes()) else None
    except FileNotFoundError:
        return None


def open_index(path: Path) -> NameIndex:
    """Maps what ``compile_lists`` has made. Raises OSError."""
    with path.open("rb") as file:
        return NameIndex(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))


def in_memory(state: str, lists: Sequence[str]) -> NameIndex:
    """The same of lists as they are stored now, for one who may not write there. Raises OSError."""
    return NameIndex(_compiled(state, lists)[1])


def _compiled(state: str, lists: Sequence[str]) -> tuple[dict[str, Facts], bytes]:
    store = Store(state)
    stored = {name: one for name in lists if (one := store.load(name)) is not None}
    collecting = gc.isenabled()
    gc.disable()  # a million strings without a cycle among them
    try:
        parsed = {name: formats.read(one.text, one.facts.form) for name, one in stored.items()}
        return {name: one.facts for name, one in stored.items()}, build(parsed)
    finally:
        if collecting:
            gc.enable()


def _facts(state: str, lists: Sequence[str]) -> dict[str, Facts]:
    store = Store(state)
    return {name: facts for name in lists if (facts := store.facts(name)) is not None}


def _key(facts: Mapping[str, Facts]) -> str:
    made_from = [(name, one.form.value, one.sha256) for name, one in facts.items()]
    return hashlib.sha256(repr((__version__, FORMAT, made_from)).encode()).hexdigest()[:32]


@contextmanager
def _locked(folder: Path) -> Iterator[Path]:
    """Nobody else writes in it meanwhile."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
    finally:
        os.close(lock)
