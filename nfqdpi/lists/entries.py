"""The lists that the command line has added to the configuration: ``conf.d/lists.toml`` beside it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from nfqdpi.config import Config
from nfqdpi.parts import Part, PartError

_HEADER = re.compile(r"^[ \t]*\[.*$", re.M)


def part(config: Path) -> Part:
    """Where the entries are."""
    return Part(config, "lists.toml", "lists add")


def add(config: Path, entry: dict[str, str]) -> Config:
    """Write one more list; the whole configuration with it. Raises PartError, ConfigError."""
    try:
        lines = "".join(f"{key} = {msgspec.json.encode(value).decode()}\n" for key, value in entry.items())
    except UnicodeEncodeError:
        raise PartError(f"{entry} has bytes that are not UTF-8, which TOML cannot say") from None
    file = part(config)
    with file.alone() as text:
        return file.put(f"{text}\n[[list]]\n{lines}".lstrip("\n"), {"list": [*_lists(text), entry]})


def remove(config: Path, name: str) -> Config:
    """Cut one list out; the whole configuration without it. Raises PartError, ConfigError."""
    file = part(config)
    with file.alone() as text:
        lists = _lists(text)
        number = next((n for n, entry in enumerate(lists) if entry.get("name") == name), None)
        if number is None:
            raise PartError(f"{file.path} has no list named {name!r}, and no other file is changed here")
        starts = [match.start() for match in _HEADER.finditer(text)] + [len(text)]
        if len(starts) <= len(lists):
            raise file.by_hand()
        shorter = lists[:number] + lists[number + 1 :]
        return file.put(text[: starts[number]] + text[starts[number + 1] :], {"list": shorter} if shorter else {})


def _lists(text: str) -> list[dict[str, Any]]:
    lists: list[dict[str, Any]] = tomllib.loads(text).get("list", [])
    return lists
