"""TOML files to a ``Config``: all problems at once, each with its file, line where known, key and reason."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nfqdpi.config.checks import check
from nfqdpi.config.model import Config
from nfqdpi.config.structs import KeyPath, Problems, struct

_LARGEST = 16 << 20  # bytes of one file; whoever names a device or a log by mistake is told

_HEADER = re.compile(r"\s*(\[\[?)\s*([\w.-]+)\s*\]")
_KEY = re.compile(r"\s*([\w-]+)\s*=")


class ConfigError(Exception):
    """``problems``: one line each, "file:line: key: reason"."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load(path: Path, *, required: bool = True) -> Config:
    """Read ``path``, then ``conf.d/*.toml`` beside it (a later scalar wins, lists of tables are joined).

    A file that is not there is an empty one unless ``required``. Raises ConfigError.
    """
    reading = _Reading()
    reading.add(path, required=required)
    for extra in reading.parts(path.parent / "conf.d"):
        reading.add(extra)
    return reading.config()


def of_table(table: Mapping[str, Any]) -> Config:
    """What a table says that is written as the file is. Raises ConfigError."""
    reading = _Reading()
    reading.merged = dict(table)
    return reading.config()


class _Reading:
    """The merged tables, and the problems found so far."""

    def __init__(self) -> None:
        self.merged: dict[str, Any] = {}
        self.problems = Problems()

    def config(self) -> Config:
        """What the tables say. Raises ConfigError."""
        config: Config = struct(Config, self.merged, (), self.problems)
        check(config, self.problems)
        if self.problems.lines:
            raise ConfigError(self.problems.lines)
        return config

    def parts(self, folder: Path) -> list[Path]:
        """Its files, in the order in which they are read."""
        try:
            return sorted(path for path in folder.iterdir() if path.suffix == ".toml")
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            self.problems.lines.append(f"{folder}: {error.strerror}")
            return []

    def add(self, path: Path, *, required: bool = True) -> None:
        try:
            with path.open("rb") as file:
                text = file.read(_LARGEST + 1).decode()
            table = tomllib.loads(text) if len(text) <= _LARGEST else {}
        except OSError as error:
            if required or not isinstance(error, FileNotFoundError):
                self.problems.lines.append(f"{path}: {error.strerror}")
            return
        except UnicodeDecodeError as error:
            self.problems.lines.append(f"{path}: not UTF-8 at byte {error.start}")
            return
        except tomllib.TOMLDecodeError as error:
            line = re.search(r"line (\d+)", str(error))
            self.problems.lines.append(f"{path}{':' + line[1] if line else ''}: not TOML: {error}")
            return
        except RecursionError:
            self.problems.lines.append(f"{path}: nested too deeply")
            return
        if len(text) > _LARGEST:
            self.problems.lines.append(f"{path}: larger than {_LARGEST >> 20} MiB")
            return
        already = {key: len(value) for key, value in self.merged.items() if isinstance(value, list)}
        for key_path, line_number in _key_lines(text):
            if len(key_path) > 1 and isinstance(key_path[1], int):
                key_path = (key_path[0], key_path[1] + already.get(str(key_path[0]), 0), *key_path[2:])  # noqa: PLW2901
            self.problems.origin[key_path] = f"{path}:{line_number}"
        _merge(self.merged, table)
        for key in table:
            self.problems.origin.setdefault((key,), str(path))


def _merge(into: dict[str, Any], table: dict[str, Any]) -> None:
    for key, value in table.items():
        old = into.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            _merge(old, value)
        elif isinstance(old, list) and isinstance(value, list) and all(isinstance(v, dict) for v in value):
            old.extend(value)
        else:
            into[key] = value


def _key_lines(text: str) -> Iterator[tuple[KeyPath, int]]:
    """Each header and key with its line number; a plain scan, good enough to point an operator at the place."""
    section: KeyPath = ()
    counts: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            name = header[2]
            section = tuple(name.split("."))
            if header[1] == "[[":
                section = (name, counts.get(name, 0))
                counts[name] = counts.get(name, 0) + 1
            yield section, number
        elif key := _KEY.match(line):
            yield (*section, key[1]), number
