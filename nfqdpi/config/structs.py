"""Tables as TOML has them to structs, and a problem for each key that does not fit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, get_args, get_origin

import msgspec

KeyPath = tuple[str | int, ...]

INVALID = object()  # in place of a value with a problem, which is on record then


class Problems:
    """Those found so far, ``lines``: "file:line: key: reason"; ``origin``: where each key came from."""

    def __init__(self) -> None:
        self.origin: dict[KeyPath, str] = {}
        self.lines: list[str] = []

    def add(self, path: KeyPath, reason: str) -> None:
        where = next((self.origin[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.origin), "")
        name = "".join(f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")
        self.lines.append(f"{where}: " * bool(where) + f"{name}: {reason}")


def struct(kind: Any, table: object, path: KeyPath, problems: Problems) -> Any:
    """The struct, made of what has no problem; INVALID where a required key has one."""
    if not isinstance(table, dict):
        problems.add(path, "expected a table")
        return INVALID
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    values = {}
    for key, value in table.items():
        if key not in fields:
            problems.add((*path, key), "unknown key" + near(key, fields))
        elif (valid := _value(fields[key].type, value, (*path, key), problems)) is not INVALID:
            values[key] = valid
    required = {name for name, field in fields.items() if field.required}
    for name in sorted(required - table.keys()):
        problems.add((*path, name), "missing")
    return kind(**values) if required <= values.keys() else INVALID


def near(name: str, known: Iterable[str]) -> str:
    """What may have been meant, for the end of a complaint."""
    from difflib import get_close_matches  # for those who have misspelt something

    close = get_close_matches(name, list(known), 1)
    return f"; did you mean {close[0]!r}?" if close else ""


def is_struct(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _value(kind: Any, value: object, path: KeyPath, problems: Problems) -> Any:
    if is_struct(kind):
        return struct(kind, value, path, problems)
    inner = _item_type(kind)
    if is_struct(inner) and not isinstance(value, list):
        problems.add(path, f"expected tables: [[{path[-1]}]]")
        return INVALID
    if inner is not None and isinstance(value, list):
        before = len(problems.lines)
        items = tuple(_value(inner, item, (*path, n), problems) for n, item in enumerate(value))
        if is_struct(inner):
            return items
        if len(problems.lines) > before:
            return INVALID
    try:
        return msgspec.convert(value, kind, dec_hook=lambda k, v: k.parse(v))
    except msgspec.ValidationError as error:
        words = [word for word in _words(kind) if isinstance(value, str)]
        problems.add(path, f"{value!r} is none of {', '.join(map(repr, words))}" if words else str(error))
        return INVALID


def _item_type(kind: Any) -> Any:
    """Of a list's type (however annotated) its items'; None: it is no list."""
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    return get_args(kind)[0] if get_origin(kind) is tuple else None


def _words(kind: Any) -> list[str]:
    """The words that a closed type takes."""
    return [word for arg in get_args(kind) for word in ([arg] if isinstance(arg, str) else _words(arg))]
