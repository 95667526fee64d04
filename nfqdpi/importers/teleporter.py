"""The tables of a Pi-hole, out of whatever its operator has: the archive that Teleporter made, or gravity.db itself."""

from __future__ import annotations

import json
import sqlite3
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from nfqdpi.importers.draft import SourceError

Row = dict[str, Any]
Tables = dict[str, list[Row]]

_TABLES = ("group", "adlist", "adlist_by_group", "domainlist", "domainlist_by_group", "client", "client_by_group")
_DATABASE = "etc/pihole/gravity.db"
# Teleporter of version 5 splits the table domainlist by its column "type".
_DOMAIN_FILES = {"whitelist.exact.json": 0, "blacklist.exact.json": 1, "whitelist.regex.json": 2,
                 "blacklist.regex.json": 3}
_LARGEST = 256 << 20  # bytes of one file in an archive; the tables of a household have a thousandth


def read(path: Path) -> tuple[Tables, list[str]]:
    """The rows of each table, and the names of the archive's files that hold no table. Raises SourceError, OSError."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise SourceError("it is no regular file")  # it is read more than once; a device has no end, and a pipe waits
    with path.open("rb") as file:
        magic = file.read(16)
    try:
        if magic == b"SQLite format 3\x00":
            with closing(sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)) as database:
                return _from_database(database), []
        if magic.startswith(b"PK"):
            return _from_zip(path)
        return _from_tar(path)
    except (sqlite3.Error, zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise SourceError(f"neither an archive of Teleporter nor gravity.db: {error}") from error
    except (ValueError, RecursionError) as error:  # of JSON
        raise SourceError(f"a table in it is not JSON: {error}") from error


def _from_zip(path: Path) -> tuple[Tables, list[str]]:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if _DATABASE not in names:
            raise SourceError(f"an archive without {_DATABASE}")
        with archive.open(_DATABASE) as file:
            content = _bounded(file, _DATABASE)
    with closing(sqlite3.connect(":memory:")) as database:
        # A copy in memory has no log beside it, so it cannot be in WAL mode (sqlite's file format, 1.3.3).
        database.deserialize(content[:18] + b"\x01\x01" + content[20:])
        return _from_database(database), [name for name in names if name != _DATABASE]


def _from_database(database: sqlite3.Connection) -> Tables:
    database.row_factory = sqlite3.Row
    # The names are ours, not the file's.
    return {table: [dict(row) for row in database.execute(f'SELECT * FROM "{table}"')] for table in _TABLES}  # noqa: S608


def _from_tar(path: Path) -> tuple[Tables, list[str]]:
    tables: Tables = {table: [] for table in _TABLES}
    others = []
    with tarfile.open(path) as archive:
        for name, content in _files(archive):
            table = name.removesuffix(".json")
            if name in _DOMAIN_FILES:
                tables["domainlist"] += [{**row, "type": _DOMAIN_FILES[name]} for row in _rows(content, name)]
            elif name.endswith(".json") and table in tables:
                tables[table] += _rows(content, name)
            else:
                others.append(name)
    if not tables["group"]:
        raise SourceError("an archive without group.json, which Teleporter writes since Pi-hole 5")
    return tables, others


def _files(archive: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    for member in archive:
        if (file := archive.extractfile(member)) is not None:
            yield member.name.removeprefix("./"), _bounded(file, member.name)


def _bounded(file: IO[bytes], name: str) -> bytes:
    content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise SourceError(f"{name} in it is larger than {_LARGEST >> 20} MiB")
    return content


def _rows(content: bytes, name: str) -> list[Row]:
    rows = json.loads(content)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise SourceError(f"{name} in it is no table")
    return rows
