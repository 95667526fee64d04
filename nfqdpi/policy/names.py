"""Names and the patterns that match them, label by label: ``google.com`` never matches ``notgoogle.com``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import AddressValueError, IPv6Address
from typing import assert_never

import ahocorasick
import idna

_LABEL = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_")
_WORD = re.compile(r"\*([a-z0-9_.-]+)\*")  # what stands in a name; a part of an IDN has no A-label
_MAX_NAME = 253  # RFC 1035, 2.3.4, as text without the trailing dot


class Kind(StrEnum):
    """What a pattern covers."""

    TREE = ""  # example.com: the name and all below it
    EXACT = "="  # =example.com: that name alone
    BELOW = "*."  # *.example.com: only what is below
    SUBSTRING = "*"  # *casino*


@dataclass(frozen=True, slots=True)
class Pattern:
    """A domain pattern in canonical form; ``text`` is lower case, A-labels, without the markers."""

    kind: Kind
    text: str

    @classmethod
    def parse(cls, written: str) -> Pattern:
        """From the configuration's four forms. Raises ValueError in words fit for the operator."""
        text = written.strip().lower()
        if word := substring(text):
            return cls(Kind.SUBSTRING, word)
        kind = next((k for k in (Kind.EXACT, Kind.BELOW) if text.startswith(k)), Kind.TREE)
        return cls(kind, _a_labels(text.removeprefix(kind).removesuffix("."), written))

    def __str__(self) -> str:
        return f"{self.kind}{self.text}" + ("*" if self.kind is Kind.SUBSTRING else "")

    def matches(self, name: str) -> bool:
        """True of a canonical name that the pattern covers. For one or two; an index asks many at once."""
        match self.kind:
            case Kind.TREE:
                return name == self.text or name.endswith("." + self.text)
            case Kind.EXACT:
                return name == self.text
            case Kind.BELOW:
                return name.endswith("." + self.text)
            case Kind.SUBSTRING:
                return self.text in name
            case other:
                assert_never(other)


def substring(written: str) -> str:
    """Of ``*word*`` the word in lower case; "" of anything else, and of a word that no name can have."""
    match = _WORD.fullmatch(written.lower())
    return match[1] if match else ""


def _a_labels(name: str, written: str) -> str:
    if not name.isascii() and "*" not in name:
        try:
            name = idna.encode(name, uts46=True).decode()
        except idna.IDNAError as error:
            raise ValueError(f"{written!r} is not a domain name: {error}") from None
    if literal := _ipv6(name):
        return literal
    labels = name.split(".")
    if len(name) > _MAX_NAME or not all(label and len(label) < 64 and _LABEL.issuperset(label) for label in labels):
        raise ValueError(f"{written!r} is not a domain pattern (example.com, =example.com, *.example.com, *word*)")
    return name


def _ipv6(name: str) -> str:
    """An IPv6 literal, which is a legal Host, in its one short form; "" where the name is none."""
    try:
        return str(IPv6Address(name)) if ":" in name else ""
    except AddressValueError:
        return ""


def canonical(name: str) -> str:
    """A name from the wire as patterns see it: lower case, no trailing dot, A-labels where it was written in UTF-8, the
    short form of an IPv6 literal."""
    name = name.lower()
    if name[-1:] == ".":
        name = name[:-1]
    if not name.isascii():
        try:
            return idna.encode(name, uts46=True).decode()
        except idna.IDNAError:
            return name  # matches nothing but a substring, which is what an impossible name deserves
    return _ipv6(name) or name if ":" in name else name


class Words:
    """Texts anywhere in a name, each with a mask: one pass of an automaton, however many there are."""

    def __init__(self, masks: Mapping[str, int]) -> None:
        self._automaton = ahocorasick.Automaton()
        for text, mask in masks.items():
            self._automaton.add_word(text, mask)
        self._automaton.make_automaton()

    def find(self, name: str) -> int:
        """The masks of all texts in the name, together."""
        found = 0
        for _, mask in self._automaton.iter(name):
            found |= mask
        return found


class _Domain:
    """A domain in the tree of those that patterns name: masks of the rules for itself, and for what is below it."""

    __slots__ = ("below", "here", "under")

    def __init__(self) -> None:
        self.here = self.below = 0
        self.under: dict[str, _Domain] = {}  # by the next label to the left


class PatternIndex:
    """Many patterns, each with the number of its rule: which rules have one that matches a name?

    The walk down the tree, from a name's last label, ends with the first label that no pattern has: after two or three
    for most names, however many patterns there are.
    """

    def __init__(self, patterns: Iterable[tuple[Pattern, int]]) -> None:
        self._root = _Domain()
        words: dict[str, int] = {}
        for pattern, rule in patterns:
            bit = 1 << rule
            if pattern.kind is Kind.SUBSTRING:
                words[pattern.text] = words.get(pattern.text, 0) | bit
                continue
            domain = self._root
            for label in reversed(pattern.text.split(".")):
                domain = domain.under.setdefault(label, _Domain())
            domain.here |= bit * (pattern.kind is not Kind.BELOW)
            domain.below |= bit * (pattern.kind is not Kind.EXACT)
        self._words = Words(words) if words else None

    def matches(self, name: str) -> int:
        """A mask with a bit set for the number of every rule that has a pattern for the canonical name."""
        found = 0 if self._words is None else self._words.find(name)
        domain = self._root
        if not domain.under:
            return found
        for label in reversed(name.split(".")):
            found |= domain.below
            below = domain.under.get(label)
            if below is None:
                return found
            domain = below
        return found | domain.here
