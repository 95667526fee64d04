"""``<state>/nfqdpi.sqlite``: written by the command line and the daemon, whole after any crash (sqlite's WAL)."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from nfqdpi.policy.overrides import Override

FILE = "nfqdpi.sqlite"

_MODE = 0o640  # who is blocked when is not for every user to read
_VERSION = 1  # of the tables
_PATIENCE = 5.0  # s to wait for another writer
_TABLES = f"""
BEGIN;
CREATE TABLE IF NOT EXISTS override (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- none is used again: it is a rule's name in events
    action TEXT NOT NULL, pattern TEXT, client TEXT, "group" TEXT, made REAL NOT NULL, until REAL
);
CREATE TABLE IF NOT EXISTS used (day TEXT, rule TEXT, seconds REAL NOT NULL, PRIMARY KEY (day, rule));
PRAGMA user_version = {_VERSION};
COMMIT;
"""
_REFUSALS = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}


class StateError(Exception):
    """The file cannot be read or written; the message names it and says why."""


class State:
    """The state in a directory, which is made by the first write; until then it is an empty one.

    Everything raises StateError, and PermissionError where we may not.
    """

    def __init__(self, directory: str) -> None:
        self._path = Path(directory) / FILE

    def overrides(self, now: float) -> tuple[Override, ...]:
        """The changes by hand that have not ended, in the order in which they were made."""
        with self._open(write=False) as file:
            rows = file.execute('SELECT id, action, pattern, client, "group", made, until FROM override '
                                "WHERE until IS NULL OR until > ? ORDER BY id", (now,))
            return tuple(Override(*row) for row in rows)

    def add(self, change: Override) -> Override:
        """Keep a change by hand; it comes back with its number. What has ended goes."""
        with self._open(write=True) as file:
            file.execute("DELETE FROM override WHERE until <= ?", (change.made,))
            added = file.execute(
                'INSERT INTO override (action, pattern, client, "group", made, until) VALUES (?, ?, ?, ?, ?, ?)',
                (change.action, change.pattern, change.client, change.group, change.made, change.until))
            return replace(change, id=added.lastrowid or 0)

    def remove(self, numbers: Iterable[int]) -> int:
        """Take changes by hand back; how many there were."""
        with self._open(write=True) as file:
            return file.executemany("DELETE FROM override WHERE id = ?", [(number,) for number in numbers]).rowcount

    def used(self, day: str) -> dict[str, float]:
        """Seconds that have been used of each limited rule on a day."""
        with self._open(write=False) as file:
            return dict(file.execute("SELECT rule, seconds FROM used WHERE day = ?", (day,)))

    def use(self, day: str, seconds: Mapping[str, float]) -> None:
        """Put down what has been used by now of each limited rule on a day, in place of before; earlier days go."""
        with self._open(write=True) as file:
            file.execute("DELETE FROM used WHERE day < ?", (day,))
            file.executemany("REPLACE INTO used VALUES (?, ?, ?)",
                             [(day, rule, used) for rule, used in seconds.items()])

    @contextmanager
    def _open(self, *, write: bool) -> Iterator[sqlite3.Connection]:
        """The file, in a transaction of its own; where there is none to read, an empty one."""
        try:
            if write:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE))
            with closing(sqlite3.connect(self._name(), timeout=_PATIENCE)) as file:
                if file.execute("PRAGMA user_version").fetchone() != (_VERSION,):
                    self._prepare(file)
                with file:
                    yield file
        except PermissionError:
            raise
        except OSError as error:
            raise StateError(f"{error.filename}: {error.strerror}") from error
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in _REFUSALS:  # the extended codes lie above
                raise PermissionError(None, str(error), str(self._path)) from error
            raise StateError(f"{self._path}: {error}") from error

    def _name(self) -> Path | str:
        """For sqlite: the file, or, where nothing has been written yet, one in memory."""
        try:
            os.stat(self._path)
        except FileNotFoundError:
            return ":memory:"
        return self._path

    def _prepare(self, file: sqlite3.Connection) -> None:
        (version,) = file.execute("PRAGMA user_version").fetchone()
        if version > _VERSION:
            raise StateError(f"{self._path}: written by a later version of nfqdpi")
        file.execute("PRAGMA journal_mode = WAL")
        file.executescript(_TABLES)
