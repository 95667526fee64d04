"""Names and the patterns that match them, label by label: ``google.com`` never matches ``notgoogle.com``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import AddressValueError, IPv6Address

import ahocorasick
import idna

_LABEL = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_")
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
        if len(text) > 2 and text[0] == text[-1] == "*" and "*" not in text[1:-1]:
            return cls(Kind.SUBSTRING, text[1:-1])
        kind = next((k for k in (Kind.EXACT, Kind.BELOW) if text.startswith(k)), Kind.TREE)
        return cls(kind, _a_labels(text.removeprefix(kind).removesuffix("."), written))

    def __str__(self) -> str:
        return f"{self.kind}{self.text}" + ("*" if self.kind is Kind.SUBSTRING else "")


def _a_labels(name: str, written: str) -> str:
    if not name.isascii():
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
    name = name.lower().removesuffix(".")
    if not name.isascii():
        try:
            return idna.encode(name, uts46=True).decode()
        except idna.IDNAError:
            return name  # matches nothing but a substring, which is what an impossible name deserves
    return _ipv6(name) or name


class PatternIndex:
    """Many patterns, each with the number of its rule: which rules match a name?

    One dictionary probe a label and kind, and one pass of an automaton for all the substrings together, however
    many patterns there are.
    """

    def __init__(self, patterns: Iterable[tuple[Pattern, int]]) -> None:
        self._by_name: dict[tuple[Kind, str], list[int]] = {}
        substrings: dict[str, list[int]] = {}
        for pattern, rule in patterns:
            if pattern.kind is Kind.SUBSTRING:
                substrings.setdefault(pattern.text, []).append(rule)
            else:
                self._by_name.setdefault((pattern.kind, pattern.text), []).append(rule)
        self._words: ahocorasick.Automaton | None = None
        if substrings:
            self._words = ahocorasick.Automaton()
            for text, rules in substrings.items():
                self._words.add_word(text, (text, rules))
            self._words.make_automaton()

    def matches(self, name: str) -> Iterator[tuple[int, Pattern]]:
        """(rule number, pattern) for every pattern that matches the canonical name; in no order."""
        probe = self._by_name.get
        suffix = name
        whole = True
        while True:
            for kind in (Kind.TREE, Kind.EXACT if whole else Kind.BELOW):
                for rule in probe((kind, suffix), ()):
                    yield rule, Pattern(kind, suffix)
            whole = False
            dot = suffix.find(".")
            if dot < 0:
                break
            suffix = suffix[dot + 1 :]
        if self._words is not None:
            for _, (text, rules) in self._words.iter(name):
                for rule in rules:
                    yield rule, Pattern(Kind.SUBSTRING, text)
