"""TOML files to a ``Config``: all problems at once, each with its file, line where known, key and reason."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin

import msgspec

from nfqdpi.config.model import Config, Rule
from nfqdpi.config.values import check_url
from nfqdpi.core.verdict import MarkField
from nfqdpi.policy.overrides import by_hand

KeyPath = tuple[str | int, ...]
T = TypeVar("T")

_LARGEST = 16 << 20  # bytes of one file; whoever names a device or a log by mistake is told
_INVALID = object()  # in place of a value with a problem, which is on record then

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
    """The merged tables, where each key came from, and the problems found so far."""

    def __init__(self) -> None:
        self.merged: dict[str, Any] = {}
        self.origin: dict[KeyPath, str] = {}
        self.problems: list[str] = []

    def config(self) -> Config:
        """What the tables say. Raises ConfigError."""
        config: Config = self.struct(Config, self.merged, ())
        self.cross_check(config)
        if self.problems:
            raise ConfigError(self.problems)
        return config

    def parts(self, folder: Path) -> list[Path]:
        """Its files, in the order in which they are read."""
        try:
            return sorted(path for path in folder.iterdir() if path.suffix == ".toml")
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            self.problems.append(f"{folder}: {error.strerror}")
            return []

    def add(self, path: Path, *, required: bool = True) -> None:
        try:
            with path.open("rb") as file:
                text = file.read(_LARGEST + 1).decode()
            table = tomllib.loads(text) if len(text) <= _LARGEST else {}
        except OSError as error:
            if required or not isinstance(error, FileNotFoundError):
                self.problems.append(f"{path}: {error.strerror}")
            return
        except UnicodeDecodeError as error:
            self.problems.append(f"{path}: not UTF-8 at byte {error.start}")
            return
        except tomllib.TOMLDecodeError as error:
            line = re.search(r"line (\d+)", str(error))
            self.problems.append(f"{path}{':' + line[1] if line else ''}: not TOML: {error}")
            return
        except RecursionError:
            self.problems.append(f"{path}: nested too deeply")
            return
        if len(text) > _LARGEST:
            self.problems.append(f"{path}: larger than {_LARGEST >> 20} MiB")
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
        self.problems.append(f"{where}: " * bool(where) + f"{name}: {reason}")

    def struct(self, kind: Any, table: object, path: KeyPath) -> Any:
        """The struct, made of what has no problem; _INVALID where a required key has one."""
        if not isinstance(table, dict):
            self.problem(path, "expected a table")
            return _INVALID
        fields = {field.name: field for field in msgspec.structs.fields(kind)}
        values = {}
        for key, value in table.items():
            if key not in fields:
                near = difflib.get_close_matches(key, fields, 1)
                self.problem((*path, key), "unknown key" + (f"; did you mean {near[0]!r}?" if near else ""))
            elif (valid := self.value(fields[key].type, value, (*path, key))) is not _INVALID:
                values[key] = valid
        required = {name for name, field in fields.items() if field.required}
        for name in sorted(required - table.keys()):
            self.problem((*path, name), "missing")
        return kind(**values) if required <= values.keys() else _INVALID

    def value(self, kind: Any, value: object, path: KeyPath) -> Any:
        if _is_struct(kind):
            return self.struct(kind, value, path)
        inner = _item_type(kind)
        if _is_struct(inner) and not isinstance(value, list):
            self.problem(path, f"expected tables: [[{path[-1]}]]")
            return _INVALID
        if inner is not None and isinstance(value, list):
            before = len(self.problems)
            items = tuple(self.value(inner, item, (*path, n)) for n, item in enumerate(value))
            if _is_struct(inner):
                return items
            if len(self.problems) > before:
                return _INVALID
        try:
            return msgspec.convert(value, kind, dec_hook=lambda k, v: k.parse(v))
        except msgspec.ValidationError as error:
            words = [word for word in _words(kind) if isinstance(value, str)]
            self.problem(path, f"{value!r} is none of {', '.join(map(repr, words))}" if words else str(error))
            return _INVALID

    def cross_check(self, config: Config) -> None:
        """What no single key can tell."""
        try:
            MarkField(config.marks.mask)
        except ValueError as error:
            self.problem(("marks", "mask"), str(error))
        if config.queue.first + config.worker_count > 1 << 16:
            self.problem(("queue", "first"), "queue numbers end at 65535")
        self.rules(config)
        if config.plugin:
            self.plugins(config.plugin)

    def rules(self, config: Config) -> None:
        """What rules, lists, groups and schedules say of each other."""
        lists, groups, schedules = (
            self.names(kind, getattr(config, kind)) for kind in ("list", "group", "schedule"))
        for number, source in _valid(config.list):
            if bool(source.path) == bool(source.url):
                self.problem(("list", number), "either path or url says where the names come from")
            try:
                check_url(source.url or "http://x")
            except ValueError as error:
                self.problem(("list", number, "url"), str(error))
        for number, rule in _valid(config.rule):
            scheduled = (rule.schedule,) if rule.schedule else ()
            for key, kind, called, known in (("lists", "list", rule.lists, lists),
                                             ("groups", "group", rule.groups, groups),
                                             ("schedule", "schedule", scheduled, schedules)):
                for name in called:
                    if name not in known:
                        self.problem(("rule", number, key), f"no {kind} is named {name!r}")
            if (rule.action == "redirect") is not bool(rule.redirect):
                self.problem(("rule", number, "redirect"), 'the action "redirect" and its addresses need each other')
            if by_hand(rule.name):
                self.problem(("rule", number, "name"), "changes by hand are named so")
        self.names("rule", config.rule)

    def plugins(self, sections: dict[str, dict[str, Any]]) -> None:
        """What the plugins say of their sections."""
        from nfqdpi import plugins

        points = {point.name: point for point in plugins.points()}
        for name, section in sections.items():
            path = ("plugin", name)
            if name not in points:
                near = difflib.get_close_matches(name, points, 1)
                self.problem(path, "no such plugin" + (f"; did you mean {near[0]!r}?" if near else ""))
                continue
            own = {key: value for key, value in section.items() if key not in plugins.COMMON}
            common = {key: value for key, value in section.items() if key in plugins.COMMON}
            self.struct(plugins.Common, common, path)
            try:
                one = plugins.load(points[name])
            except plugins.PluginError as error:
                self.problem(path, str(error))
                continue
            before = len(self.problems)
            if _is_struct(one.plugin.settings):
                self.struct(one.plugin.settings, own, path)
            if len(self.problems) == before:
                try:
                    plugins.make(one, section)
                except plugins.PluginError as error:
                    self.problem(path, str(error))

    def names(self, kind: str, tables: tuple[Any, ...]) -> set[str]:
        """What the tables are called; no two the same."""
        names: set[str] = set()
        for number, one in _valid(tables):
            name = one.called(number + 1) if isinstance(one, Rule) else one.name
            if name in names:
                self.problem((kind, number, "name"), f"another {kind} is named {name!r}")
            names.add(name)
        return names


def _valid(tables: tuple[T, ...]) -> Iterator[tuple[int, T]]:
    """Each with its number, but for those that have a problem of their own."""
    return ((number, one) for number, one in enumerate(tables) if one is not _INVALID)


def _item_type(kind: Any) -> Any:
    """Of a list's type (however annotated) its items'; None: it is no list."""
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    return get_args(kind)[0] if get_origin(kind) is tuple else None


def _words(kind: Any) -> list[str]:
    """The words that a closed type takes."""
    return [word for arg in get_args(kind) for word in ([arg] if isinstance(arg, str) else _words(arg))]


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
