"""Stored lists to one file of compiled names, which every worker maps: ``<state>/compiled/KEY``.

The key is a digest of all that the file is made from, so that what bears it is never out of date.
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from nfqdpi import __version__
from nfqdpi.folder import alone, replace
from nfqdpi.lists.store import Facts, Store
from nfqdpi.policy import formats
from nfqdpi.policy.formats import Parsed
from nfqdpi.policy.index import FORMAT, NameIndex, build, is_whole


def compile_lists(state: str, lists: Iterable[str]) -> Path | None:
    """The file of the compiled names of these lists as they are stored now, made where it is not there and whole. None
    where no list is stored. For the daemon, which also has ``clean`` called: who only asks calls ``look``. It computes
    for seconds: not in an event loop's process. Raises OSError."""
    store = Store(state)
    facts = _facts(store, lists)
    if not facts:
        return None
    with alone(_folder(state)):
        path = _folder(state) / _key(facts)
        if path.exists() and is_whole(path.read_bytes()):
            return path
        facts, compiled = _compiled(store, facts)
        path = _folder(state) / _key(facts)
        replace(path, compiled)
    return path


def clean(state: str, kept: Path | None) -> None:
    """Remove every compiled file but the one of the policy in force: the daemon alone knows which one that is, and what
    a worker has mapped stays its own. Raises OSError."""
    if _folder(state).exists():
        for file in _folder(state).iterdir():
            if file != kept and not file.name.startswith("."):  # the lock
                file.unlink(missing_ok=True)


def look(state: str, lists: Iterable[str]) -> NameIndex | None:
    """The same names for one who writes nothing: the daemon's file where there is one, else compiled in memory, for
    seconds. None where no list is stored. Raises OSError."""
    store = Store(state)
    facts = _facts(store, lists)
    if not facts:
        return None
    try:
        mapped = _mapped(_folder(state) / _key(facts))
    except (OSError, ValueError):  # it may be gone since a moment ago; the second: it is empty
        mapped = memoryview(b"")
    return NameIndex(mapped if is_whole(mapped) else _compiled(store, facts)[1])


def open_index(path: Path) -> NameIndex:
    """Maps what ``compile_lists`` has made. Raises OSError."""
    return NameIndex(_mapped(path))


def _mapped(path: Path) -> memoryview:
    with path.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _folder(state: str) -> Path:
    return Path(state) / "compiled"


def _facts(store: Store, lists: Iterable[str]) -> dict[str, Facts]:
    return {name: known for name in lists if (known := store.facts(name)) is not None}


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
