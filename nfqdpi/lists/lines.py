"""Where in a list a name stands."""

from __future__ import annotations

from typing import NamedTuple

from nfqdpi.lists.store import Stored
from nfqdpi.policy import formats
from nfqdpi.policy.names import Kind, Pattern


class Line(NamedTuple):
    """A line of a list (the first is 1), and the pattern that it was read as."""

    number: int
    text: str
    pattern: Pattern


def line_of(stored: Stored, name: str) -> Line | None:
    """The first line that covers the canonical name; None where none does."""
    labels = name.split(".")
    above = {".".join(labels[n:]) for n in range(1, len(labels))}
    covering = {Kind.TREE: above | {name}, Kind.EXACT: {name}, Kind.BELOW: above}
    found: list[tuple[int, Pattern]] = []
    for kind, entries in formats.read(stored.text, stored.facts.form).blocked.items():
        texts = covering.get(kind) or {text for text in entries.names if text in name}
        found += [(number, Pattern(kind, text)) for text, number in zip(entries.names, entries.lines, strict=True)
                  if text in texts]
    if not found:
        return None
    number, pattern = min(found, key=lambda one: one[0])
    return Line(number, formats.shown(formats.lines(stored.text)[number - 1].strip()), pattern)
