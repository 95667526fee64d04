"""A draft as TOML that our configuration loader reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from nfqdpi.importers.draft import Draft

_SHORT_ARRAY = 4  # items that stand on one line


def render(draft: Draft, header: str) -> str:
    """The file; ``header`` becomes its first comment. Keys that have their default are left out."""
    lines = [_comment(header).lstrip()]
    if draft.time_zone:
        lines += ["", "[policy]", f"time_zone = {_string(draft.time_zone)}"]
    for kind, tables in (("list", draft.lists), ("group", draft.groups), ("schedule", draft.schedules),
                         ("rule", draft.rules)):
        for table in tables:
            lines += ["", f"[[{kind}]]", *_keys(table, draft.comments)]
    return "\n".join(lines) + "\n"


def _keys(table: msgspec.Struct, comments: Mapping[str, str]) -> Iterator[str]:
    for field in msgspec.structs.fields(table):
        value = getattr(table, field.name)
        if value == field.default:
            continue
        if isinstance(value, tuple):
            yield from _array(field.name, value, comments)
        elif isinstance(value, bool):
            yield f"{field.name} = {str(value).lower()}"
        else:
            yield f"{field.name} = {_string(value)}{_comment(comments.get(str(value), ''))}"


def _array(key: str, items: tuple[str, ...], comments: Mapping[str, str]) -> Iterator[str]:
    if len(items) <= _SHORT_ARRAY and not any(map(comments.get, items)):
        yield f"{key} = [{', '.join(map(_string, items))}]"
        return
    yield f"{key} = ["
    yield from (f"    {_string(item)},{_comment(comments.get(item, ''))}" for item in items)
    yield "]"


def _string(text: str) -> str:
    # A JSON string is a TOML basic string, but for DEL (TOML 1.0, String). The encoder takes no subclass of str, and no
    # half of a surrogate pair, which JSON and YAML can escape.
    return msgspec.json.encode(str(text).encode(errors="replace").decode()).decode().replace("\x7f", "\\u007f")


def _comment(text: str) -> str:
    plain = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return f"  # {plain}" if plain else ""
