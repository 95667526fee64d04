"""The lists that the command line has added to the configuration: ``conf.d/lists.toml`` beside it."""

from __future__ import annotations

import os
import re
import stat
import tomllib
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from nfqdpi.config import Config, ConfigError, load
from nfqdpi.lists.store import alone, replace

_HEADER = re.compile(r"^[ \t]*\[.*$", re.M)


class EntryError(Exception):
    """Why the file cannot be changed so."""


def path_beside(config: Path) -> Path:
    """Where the entries are."""
    return config.parent / "conf.d" / "lists.toml"


def add(config: Path, entry: dict[str, str]) -> Config:
    """Write one more list; the whole configuration with it. Raises EntryError, ConfigError."""
    try:
        lines = "".join(f"{key} = {msgspec.json.encode(value).decode()}\n" for key, value in entry.items())
    except UnicodeEncodeError:
        raise EntryError(f"{entry} has bytes that are not UTF-8, which TOML cannot say") from None
    _make_folder(config)
    with alone(path_beside(config).parent):
        text = _text(config)
        return _change(config, f"{text}\n[[list]]\n{lines}".lstrip("\n"), [*_lists(text), entry])


def remove(config: Path, name: str) -> Config:
    """Cut one list out; the whole configuration without it. Raises EntryError, ConfigError."""
    _make_folder(config)
    with alone(path_beside(config).parent):
        text = _text(config)
        lists = _lists(text)
        number = next((n for n, entry in enumerate(lists) if entry.get("name") == name), None)
        if number is None:
            raise EntryError(f"{path_beside(config)} has no list named {name!r}, and no other file is changed here")
        starts = [match.start() for match in _HEADER.finditer(text)] + [len(text)]
        if len(starts) <= len(lists):
            raise _by_hand(config)
        shorter = text[: starts[number]] + text[starts[number + 1] :]
        return _change(config, shorter, lists[:number] + lists[number + 1 :])


def _make_folder(config: Path) -> None:
    """As the folder that it lies in: the daemon's user is to read there, whatever our umask."""
    folder = path_beside(config).parent
    with suppress(FileExistsError):
        folder.mkdir()
        model = config.parent.stat()
        with suppress(PermissionError):  # only root gives folders away
            os.chown(folder, model.st_uid, model.st_gid)
        folder.chmod(stat.S_IMODE(model.st_mode))


def _by_hand(config: Path) -> EntryError:
    return EntryError(f"{path_beside(config)} is written in another way than 'lists add' does: edit it there")


def _text(config: Path) -> str:
    try:
        return path_beside(config).read_text()
    except FileNotFoundError:
        return ""


def _lists(text: str) -> list[dict[str, Any]]:
    lists: list[dict[str, Any]] = tomllib.loads(text).get("list", [])
    return lists


def _change(config: Path, text: str, meant: list[dict[str, Any]]) -> Config:
    """Put the text in place, when it says what is ``meant`` and the whole configuration is right with it."""
    file = path_beside(config)
    try:
        says = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise EntryError(f"{file} would not be TOML any more: {error}") from error
    if says != ({"list": meant} if meant else {}):
        raise _by_hand(config)
    with TemporaryDirectory(prefix="nfqdpi-") as folder:
        checked = _with(config, text, Path(folder))
    replace(file, text.encode(), like=config)
    return checked


def _with(config: Path, text: str, folder: Path) -> Config:
    """The configuration with this text in the file's place, from a folder that shows it so."""
    file = path_beside(config)
    parts = folder / "conf.d"
    parts.mkdir()
    (folder / config.name).symlink_to(config.absolute())
    for part in file.parent.glob("*.toml"):
        if part.name != file.name:
            (parts / part.name).symlink_to(part.absolute())
    (parts / file.name).write_text(text)
    try:
        return load(folder / config.name, required=False)
    except ConfigError as error:
        raise ConfigError([line.replace(str(folder), str(config.parent)) for line in error.problems]) from None
