"""TOML files to a ``Config``: all problems at once, each with its file, line where known, key and reason."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import msgspec

from nfqdpi.config.model import Config
from nfqdpi.core.verdict import MarkField
from nfqdpi.policy.names import Pattern

KeyPath = tuple[str | int, ...]

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
    if path.exists() or required:
        reading.add(path)
    for extra in sorted((path.parent / "conf.d").glob("*.toml")):
        reading.add(extra)
    config: Config = reading.struct(Config, reading.merged, ())
    if not reading.problems:
        reading.cross_check(config)
    if reading.problems:
        raise ConfigError(reading.problems)
    return config


class _Reading:
    """The merged tables, where each key came from, and the problems found so far."""

    def __init__(self) -> None:
        self.merged: dict[str, Any] = {}
        self.origin: dict[KeyPath, str] = {}
        self.problems: list[str] = []

    def add(self, path: Path) -> None:
        try:
            text = path.read_bytes().decode()
            table = tomllib.loads(text)
        except OSError as error:
            self.problems.append(f"{path}: {error.strerror}")
            return
        except UnicodeDecodeError as error:
            self.problems.append(f"{path}: not UTF-8 at byte {error.start}")
            return
        except tomllib.TOMLDecodeError as error:
            line = re.search(r"line (\d+)", str(error))
            self.problems.append(f"{path}{':' + line[1] if line else ''}: not TOML: {error}")
            return
        already = {key: len(value) for key, value in self.merged.items() if isinstance(value, list)}
        for key_path, line_number in _key_lines(text):
            if len(key_path) > 1 and isinstance(key_path[1], int):
                key_path = (key_path[0], key_path[1] + already.get(str(key_path[0]), 0), *key_path[2:])  # noqa: PLW2901
            self.origin[key_path] = f"{path}:{line_number}"
        self.merge(self.merged, table)
        for key in table:
            self.origin.setdefault((key,), str(path))

    def merge(self, into: dict[str, Any], table: dict[str, Any]) -> None:
        for key, value in table.items():
            old = into.get(key)
            if isinstance(old, dict) and isinstance(value, dict):
                self.merge(old, value)
            elif isinstance(old, list) and isinstance(value, list) and all(isinstance(v, dict) for v in value):
                old.extend(value)
            else:
                into[key] = value

    def problem(self, path: KeyPath, reason: str) -> None:
        where = next((self.origin[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.origin), "")
        name = "".join(f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")
        self.problems.append(f"{where}: {name}: {reason}")

    def struct(self, kind: Any, table: object, path: KeyPath) -> Any:
        """The struct, or None where it had a problem (which is then on record)."""
        if not isinstance(table, dict):
            self.problem(path, "expected a table")
            return None
        fields = {field.name: field for field in msgspec.structs.fields(kind)}
        values = {}
        before = len(self.problems)
        for key, value in table.items():
            if key not in fields:
                near = difflib.get_close_matches(key, fields, 1)
                self.problem((*path, key), "unknown key" + (f"; did you mean {near[0]!r}?" if near else ""))
            else:
                values[key] = self.value(fields[key].type, value, (*path, key))
        for name in (n for n, field in fields.items() if field.required and n not in table):
            self.problem((*path, name), "missing")
        return kind(**values) if len(self.problems) == before else None

    def value(self, kind: Any, value: object, path: KeyPath) -> Any:
        if _is_struct(kind):
            return self.struct(kind, value, path)
        if get_origin(kind) is tuple and _is_struct(inner := get_args(kind)[0]):
            if not isinstance(value, list):
                self.problem(path, f"expected tables: [[{path[-1]}]]")
                return ()
            return tuple(self.struct(inner, item, (*path, n)) for n, item in enumerate(value))
        try:
            return msgspec.convert(value, kind, dec_hook=lambda k, v: k.parse(v))
        except msgspec.ValidationError as error:
            self.problem(path, re.sub(r" - at `\$(.*)`$", r" (at \1)", str(error)))
            return None

    def cross_check(self, config: Config) -> None:
        """What no single key can tell."""
        try:
            MarkField(config.marks.mask)
        except ValueError as error:
            self.problem(("marks", "mask"), str(error))
        if config.queue.first + config.worker_count > 1 << 16:
            self.problem(("queue", "first"), "queue numbers end at 65535")
        names: set[str] = set()
        for number, one in enumerate(config.group):
            if one.name in names:
                self.problem(("group", number, "name"), f"another group is named {one.name!r}")
            names.add(one.name)
        for number, rule in enumerate(config.rule):
            for group in rule.groups:
                if group not in names:
                    self.problem(("rule", number, "groups"), f"no group is named {group!r}")
            for domain in rule.domains:
                try:
                    Pattern.parse(domain)
                except ValueError as error:
                    self.problem(("rule", number, "domains"), str(error))


def _is_struct(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


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
