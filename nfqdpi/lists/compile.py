"""Stored lists to one file of compiled names, which every worker maps: ``<state>/compiled/KEY``.

The key is a digest of all that the file is made from, so that what bears it is never out of date.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from nfqdpi import __version__
from nfqdpi.lists.store import Facts, Store, alone, replace
from nfqdpi.policy import formats
from nfqdpi.policy.formats import Parsed
from nfqdpi.policy.index import FORMAT, NameIndex, build, is_whole

_KEPT = 2  # files: a worker may be about to map the one before


def compile_lists(state: str, lists: Iterable[str]) -> Path | None:
    """The compiled names of these lists as they are stored now; what is there already and whole, is taken. None where
    none is stored. It computes for seconds: not in an event loop's process. Raises OSError."""
    store, folder = Store(state), Path(state) / "compiled"
    facts = {name: known for name in lists if (known := store.facts(name)) is not None}
    if not facts:
        return None
    with alone(folder):
        path = folder / _key(facts)
        if path.exists() and is_whole(path.read_bytes()):
            with suppress(PermissionError):  # of one who may read only
                os.utime(path)  # the newest stay
            return path
        facts, compiled = _compiled(store, facts)
        path = folder / _key(facts)
        replace(path, compiled)
        newest_last = sorted(folder.iterdir(), key=lambda file: (file.suffix != ".new", file.stat().st_mtime_ns))
        for old in newest_last[:-_KEPT]:
            old.unlink()
    return path


def open_index(path: Path) -> NameIndex:
    """Maps what ``compile_lists`` has made. Raises OSError."""
    with path.open("rb") as file:
        return NameIndex(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))


def in_memory(state: str, lists: Iterable[str]) -> NameIndex:
    """The same of lists as they are stored now, for one who may not write there. Raises OSError."""
    return NameIndex(_compiled(Store(state), lists)[1])


def _compiled(store: Store, lists: Iterable[str]) -> tuple[dict[str, Facts], bytes]:
    """And the facts of what it is made from, which may be newer than what the caller knows."""
    facts: dict[str, Facts] = {}

    def parsed() -> Iterator[tuple[str, Parsed]]:
        for name in lists:
            if (one := store.load(name)) is not None:
                facts[name] = one.facts
                yield name, formats.read(one.text, one.facts.form)

    compiled = build(parsed())
    return facts, compiled


def _key(facts: Mapping[str, Facts]) -> str:
    made_from = [(name, one.form.value, one.sha256) for name, one in facts.items()]
    return hashlib.sha256(repr((__version__, FORMAT, made_from)).encode()).hexdigest()[:32]
