"""Rows of a table of OVSDB, in the forms in which its tools print them (RFC 7047, 5.1)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from nfqdpi.importers.draft import SourceError

Row = dict[str, Any]


def rows(text: str, table: str) -> list[Row]:
    """The rows, their columns as plain values: lists for sets, dicts for maps. From rows as objects (``ovsh -j``), from
    answers to "select", from "insert" requests, and from ``ovsdb-client dump -f json``; one after another or in
    arrays. Raises SourceError."""
    found = []
    try:
        for document in _documents(text):
            found += [{column: _plain(value) for column, value in row.items()} for row in _find(document, table)]
    except (ValueError, TypeError, RecursionError) as error:
        raise SourceError(f"not JSON as OVSDB's tools write it: {error}") from error
    if not found:
        raise SourceError(f"no rows of {table} in it")
    return found


def _documents(text: str) -> Iterator[Any]:
    decoder, at = json.JSONDecoder(), 0
    while rest := text[at:].lstrip():
        document, length = decoder.raw_decode(rest)
        yield document
        at = len(text) - len(rest) + length


def _find(document: Any, table: str) -> Iterator[Row]:
    match document:
        case [*documents]:
            for one in documents:
                yield from _find(one, table)
        case {"headings": [*headings], "data": [*data]}:
            if str(document.get("caption", table)).startswith(table):
                yield from (dict(zip(headings, row, strict=True)) for row in data)
        case {"op": "insert", "table": str(name), "row": dict(row)}:
            if name == table:
                yield row
        case {"rows": [*inner]}:
            yield from _find(inner, table)
        case dict():
            yield document
        case _:  # the database's name in front of requests
            return


def _plain(value: Any) -> Any:
    match value:
        case ["set", [*items]]:
            return [_plain(item) for item in items]
        case ["map", [*pairs]]:
            return {_plain(key): _plain(item) for key, item in pairs}
        case ["uuid" | "named-uuid", str(name)]:
            return name
        case _:
            return value
