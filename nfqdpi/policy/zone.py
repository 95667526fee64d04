"""A response policy zone (RPZ): a zone file whose records say what to do with names."""

from __future__ import annotations

import re

from nfqdpi.policy.dialects import PLAIN_NAME, Entry, name, sink
from nfqdpi.policy.names import Kind

_PLAIN = re.compile(rf"(\*\.)?({PLAIN_NAME})[ \t]+(?:IN[ \t]+)?CNAME[ \t]+\.[ \t\r]*(?:;.*)?")
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"?|;.*|[()]|[^\s;()"]+')
_OTHER_TRIGGER = re.compile(r"(?:.*\.)?(rpz-(?:ip|client-ip|nsdname|nsip))", re.I)
_OF_THE_ZONE = frozenset(("SOA", "NS", "DNSKEY", "RRSIG", "NSEC", "NSEC3", "NSEC3PARAM"))
_CLASS_OR_TTL = re.compile(r"IN|CH|HS|(?:[0-9]+[SMHDW]?)+", re.I)
_LONGEST_LINE = 253  # of one that is read the short way; a name in it can then not be too long
_MOST_TOKENS = 1000  # of a record; a parenthesis that nothing closes does not swallow the zone


class Zone:
    """Reads a zone file line by line: owners left out, ``$ORIGIN`` and parentheses reach over lines (RFC 1035, 5.1)."""

    def __init__(self) -> None:
        self._origin = ""  # what owners are relative to, "." at its end; "" where nothing tells
        self._apex = ""  # the zone's own name
        self._last = ""  # the last record, which begins with its owner
        self._open: list[str] = []  # a record of several lines, so far

    def entries(self, line: str) -> tuple[Entry, ...]:
        """A Dialect. ``x CNAME .``: that name alone; ``*.x``: what is below; ``rpz-passthru.``: an exception."""
        short = len(line) <= _LONGEST_LINE and self._origin == self._apex and not self._open
        if short and (match := _PLAIN.fullmatch(line)) and "rpz-" not in line:
            self._last = line
            return ((Kind.BELOW if match[1] else Kind.EXACT, match[2].lower(), False),)
        tokens = [token for token in _TOKEN.findall(line) if not token.startswith(";")]
        if not self._open and tokens and line[:1] in " \t":
            tokens = self._last.split(maxsplit=1)[:1] + tokens
        self._open += tokens
        if self._open.count("(") > self._open.count(")") and len(self._open) < _MOST_TOKENS:
            return ()
        record, self._open = [token for token in self._open if token not in ("(", ")")], []
        return self._record(record) if record else ()

    def _record(self, tokens: list[str]) -> tuple[Entry, ...]:
        owner, *rest = tokens
        if owner.startswith("$"):
            return self._directive(owner.upper(), rest)
        self._last = owner
        while rest and _CLASS_OR_TTL.fullmatch(rest[0]):
            rest = rest[1:]
        if len(rest) < 2:
            raise ValueError("no record")
        kind, target = rest[0].upper(), rest[1].lower()
        if kind == "SOA":
            self._apex = self._absolute(owner)
            self._origin = self._origin or self._apex
        if kind in _OF_THE_ZONE:
            return ()
        text = self._below_apex(owner)
        if trigger := _OTHER_TRIGGER.fullmatch(text):
            raise ValueError(f"{trigger[1].lower()} looks at addresses or servers, not at the name")
        pattern = Kind.BELOW if text.startswith("*.") else Kind.EXACT
        bare = name(text.removeprefix("*."))
        if kind == "CNAME" and (target == "rpz-passthru." or target == f"{text.lower()}."):
            return ((pattern, bare, True),)
        if kind == "CNAME" and target in (".", "*.", "rpz-drop."):
            return ((pattern, bare, False),)
        if kind in ("A", "AAAA") and sink(target):
            return ((pattern, bare, False),)
        raise ValueError(f"{kind[:20]} {target[:60]} is an answer of its own, which blocks nothing")

    def _directive(self, directive: str, rest: list[str]) -> tuple[Entry, ...]:
        if directive == "$TTL":
            return ()
        if directive != "$ORIGIN" or not rest:
            raise ValueError(f"{directive[:20]} is not followed")
        self._origin = self._absolute(rest[0])
        self._apex = self._apex or self._origin
        return ()

    def _absolute(self, owner: str) -> str:
        if owner == "@":
            return self._origin
        return owner.lower() if owner.endswith(".") else f"{owner.lower()}.{self._origin}"

    def _below_apex(self, owner: str) -> str:
        """The name that an owner stands for: it is written as one below the zone's own, or below the root where nothing
        tells what the zone is called."""
        absolute = self._absolute(owner)
        if not absolute.endswith(f".{self._apex}"):
            raise ValueError("no name below the zone's own")
        return absolute.removesuffix(f".{self._apex}")
