"""Regular expressions that say no more than our four kinds of patterns, as such patterns."""

from __future__ import annotations

from itertools import product

from nfqdpi.importers.draft import InexpressibleError
from nfqdpi.policy.names import Kind, Pattern

_MOST = 256  # names that one expression may stand for

# What stands before a literal that ends in $. Names have no empty labels, which makes some of these the same.
_HEADS = {
    r"(\.|^)": Kind.TREE, r"(^|\.)": Kind.TREE, r"^(.*\.)?": Kind.TREE, r"^(.+\.)?": Kind.TREE,
    r"^.*\.": Kind.BELOW, r"^.+\.": Kind.BELOW, r".*\.": Kind.BELOW, r".+\.": Kind.BELOW, r"\.": Kind.BELOW,
    "^": Kind.EXACT,
}


def patterns(regex: str) -> list[Pattern]:
    """The patterns that match exactly the names in which the expression is found, in either case. Raises
    InexpressibleError."""
    text = regex.lower().replace("(?:", "(").replace("[.]", r"\.")
    return [pattern for branch in _branches(text) for pattern in _branch(branch)]


def _branches(text: str) -> list[str]:
    """The alternatives that stand in no brackets: an anchor belongs to one of them only."""
    found, depth, escaped = [""], 0, False
    for c in text:
        depth += 0 if escaped else (c in "([") - (c in ")]")
        if c == "|" and not depth and not escaped:
            found.append("")
        else:
            found[-1] += c
        escaped = c == "\\" and not escaped
    return found


def _branch(text: str) -> list[Pattern]:
    if text.endswith("$") and not text.endswith(r"\$"):
        text = text.removesuffix("$")
        for head in sorted(_HEADS, key=len, reverse=True):
            if text.startswith(head):
                return [_pattern(_HEADS[head], literal) for literal in _literals(text.removeprefix(head))]
        raise InexpressibleError("it matches the end of a name within a label")
    if text.startswith("^") and not text.startswith("^.*"):
        raise InexpressibleError("it matches the beginning of a name")
    core = text.removeprefix("^").removeprefix(".*").removesuffix(".*")
    return [_pattern(Kind.SUBSTRING, literal) for literal in _literals(core)]


def _pattern(kind: Kind, literal: str) -> Pattern:
    try:
        return Pattern.parse(str(Pattern(kind, literal)))
    except ValueError:
        raise InexpressibleError(f"it matches {literal!r}, which is no name") from None


def _literals(text: str) -> list[str]:
    """All the texts that the expression stands for, which has no anchors any more."""
    found, rest = _alternatives(text)
    if rest:
        raise InexpressibleError("its brackets do not match")
    return list(dict.fromkeys(found))


def _alternatives(text: str) -> tuple[list[str], str]:
    found, text = _sequence(text)
    while text.startswith("|"):
        more, text = _sequence(text[1:])
        found += more
    return found, text


def _sequence(text: str) -> tuple[list[str], str]:
    found = [""]
    while text and text[0] not in "|)":
        atoms, text = _atom(text)
        if text.startswith("?"):
            atoms, text = [*atoms, ""], text[1:]
        if len(found) * len(atoms) > _MOST:
            raise InexpressibleError(f"it stands for more than {_MOST} names")
        found = ["".join(pair) for pair in product(found, atoms)]
    return found, text


def _atom(text: str) -> tuple[list[str], str]:
    first, rest = text[0], text[1:]
    if first == "(":
        found, rest = _alternatives(rest)
        if not rest.startswith(")"):
            raise InexpressibleError("its brackets do not match")
        return found, rest[1:]
    if first == "[":
        return _class(rest)
    if first == "\\" and rest[:1] in (".", "-", "_"):
        return [rest[0]], rest[1:]
    if first == ".":
        raise InexpressibleError("a dot without a backslash stands for any character")
    if first.isascii() and (first.isalnum() or first in "-_"):
        return [first], rest
    raise InexpressibleError(f"{text[:2] if first == chr(92) else first!r} in it has no counterpart in our patterns")


def _class(text: str) -> tuple[list[str], str]:
    inside, bracket, rest = text.partition("]")
    if not bracket or not inside or not inside.isascii() or not inside.replace("-", "a").replace("_", "a").isalnum():
        raise InexpressibleError("its set of characters has no counterpart in our patterns")
    found: list[str] = []
    while inside:
        if len(inside) > 2 and inside[1] == "-":
            found += map(chr, range(ord(inside[0]), ord(inside[2]) + 1))
            inside = inside[3:]
        else:
            found.append(inside[0])
            inside = inside[1:]
    if not all(c.isalnum() or c in "-_" for c in found):
        raise InexpressibleError("its set of characters has no counterpart in our patterns")
    return list(dict.fromkeys(found)), rest
