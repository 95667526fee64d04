"""Lists of names in the six formats that the world writes them in.

===========  ======================================  ==================================================
hosts        ``0.0.0.0 a.example``                   that name alone, as Pi-hole reads it
domains      ``a.example``                           that name alone; ``*.a.example``: with all below
adblock      ``||a.example^``, ``@@||a.example^``    the name and all below it; an exception
rpz          ``a.example CNAME .``                   that name alone; ``*.a.example``: what is below
dnsmasq      ``address=/a.example/``                 the name and all below it
wildcard     ``*.a.example``, ``a.example``          the name and all below it
===========  ======================================  ==================================================
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from nfqdpi.policy import dialects
from nfqdpi.policy.dialects import PLAIN_NAME, Dialect
from nfqdpi.policy.names import Kind
from nfqdpi.policy.zone import Zone

_LOOKED_AT = 1 << 18  # bytes from which the format is told
_LONGEST_LINE = 253  # of one that is read the short way; a name in it can then not be too long
_LONGEST_READ = 1 << 16  # characters of a line that is looked at; a rule for a page's scripts can be some thousand long
_MOST_WORDS = 10_000  # *word* of a list: each worker builds an automaton of them, 40 ms for so many, and judges nothing
_LONGEST_SHOWN = 200  # characters of a refused line that are kept


class Format(StrEnum):
    """How a list is written."""

    HOSTS = "hosts"
    DOMAINS = "domains"
    ADBLOCK = "adblock"
    RPZ = "rpz"
    DNSMASQ = "dnsmasq"
    WILDCARD = "wildcard"


@dataclass(frozen=True, slots=True)
class Refused:
    """A line (the first is 1) that says nothing which we could follow."""

    line: int
    text: str
    why: str


@dataclass(frozen=True, slots=True)
class Entries:
    """Names in canonical form, as often as they were written; ``lines``: beside each the number of its line."""

    names: list[str] = field(default_factory=list)
    lines: array[int] = field(default_factory=lambda: array("L"))


def _by_kind() -> dict[Kind, Entries]:
    return {kind: Entries() for kind in Kind}


@dataclass(frozen=True, slots=True)
class Parsed:
    """A list's names by what they cover. ``excepted``: what the list itself takes out again."""

    format: Format
    blocked: dict[Kind, Entries] = field(default_factory=_by_kind)
    excepted: dict[Kind, Entries] = field(default_factory=_by_kind)
    refused: list[Refused] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many names are blocked."""
        return sum(len(entries.names) for entries in self.blocked.values())


# Format -> what begins a comment; the most common line, for speed, and what it covers; every other line's dialect.
_READ: dict[Format, tuple[str, str, Kind, Dialect]] = {
    Format.HOSTS: ("#!;", rf"(?:0\.0\.0\.0|127\.0\.0\.1|::1?)[ \t]+({PLAIN_NAME})\s*(?:#.*)?", Kind.EXACT,
                   dialects.hosts),
    Format.DOMAINS: ("#!;", rf"({PLAIN_NAME})\s*(?:#.*)?", Kind.EXACT, dialects.domains),
    Format.ADBLOCK: ("#![", rf"\|\|({PLAIN_NAME})\^(?:\$important)?\s*", Kind.TREE, dialects.adblock),
    Format.DNSMASQ: ("#", r"(?:address=|(?:server|local)=(?=/[^/]*/\s*\Z))"
                          rf"/({PLAIN_NAME})/(?:0\.0\.0\.0|::|#)?\s*", Kind.TREE, dialects.dnsmasq),
    Format.WILDCARD: ("#!;", rf"(?:\*\.)?({PLAIN_NAME})\s*(?:#.*)?", Kind.TREE, dialects.wildcard),
}

_SIGNS = [(form, re.compile(sign, re.I)) for form, sign in (
    (Format.RPZ, r"\$(?:ttl|origin)\s|\S*\s+(?:\S+\s+)*(?:soa|cname)\s"),
    (Format.DNSMASQ, r"(?:address|server|local)\s*=\s*/"),
    (Format.ADBLOCK, rf"\[ad|@@|\|\||{dialects.COSMETIC}"),
    (Format.HOSTS, r"(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9a-f]*:[0-9a-f:.]*)(?:%\S*)?\s+\S"),
    (Format.WILDCARD, rf"\*\.{PLAIN_NAME}\s*(?:#|\Z)"),
    (Format.DOMAINS, rf"{PLAIN_NAME}\s*(?:#|\Z)"),
)]


def detect(text: bytes) -> Format | None:
    """The format that most of the first lines are in; None where they are in none."""
    votes = Counter(form for line in lines(text[:_LOOKED_AT]) if (form := _sign(line)))
    return votes.most_common(1)[0][0] if votes else None


def _sign(line: str) -> Format | None:
    line = line[:_LONGEST_LINE].strip()
    if line.startswith(("#", "!", ";")):
        return None
    return next((form for form, sign in _SIGNS if sign.match(line)), None)


def line_count(text: bytes) -> int:
    """How often a line ends in it."""
    return text.count(b"\n") + text.count(b"\r") - text.count(b"\r\n")


def read(text: bytes, form: Format) -> Parsed:
    """All names of a list; a line that is bad anywhere is refused as a whole. Never raises."""
    parsed = Parsed(form)
    comment, plain, kind, dialect = _READ[form] if form is not Format.RPZ else (";", "(?!)", Kind.EXACT, Zone().entries)
    match_plain, entries = re.compile(plain).fullmatch, parsed.blocked[kind]
    add, add_line = entries.names.append, entries.lines.append
    for number, line in enumerate(lines(text), 1):
        if len(line) <= _LONGEST_LINE and (match := match_plain(line)):
            add(match[1].lower())
            add_line(number)
        elif len(line) > _LONGEST_READ:
            _refuse(parsed, number, line, f"longer than {_LONGEST_READ} characters")
        elif line and line[0] not in comment:
            _odd(parsed, number, line, dialect)
    if form is Format.RPZ:
        _refuse_outranked(parsed)
    return parsed


def _odd(parsed: Parsed, number: int, line: str, dialect: Dialect) -> None:
    try:
        for kind, name, exception in dialect(line):
            entries = (parsed.excepted if exception else parsed.blocked)[kind]
            if kind is Kind.SUBSTRING and len(entries.names) >= _MOST_WORDS:
                _refuse(parsed, number, line.strip(), f"more than {_MOST_WORDS} words")
                return
            entries.names.append(name)
            entries.lines.append(number)
    except ValueError as error:
        _refuse(parsed, number, line.strip(), str(error))


def _refuse(parsed: Parsed, number: int, line: str, why: str) -> None:
    parsed.refused.append(Refused(number, shown(line[:_LONGEST_SHOWN]), shown(why)))


def shown(line: str) -> str:
    """What was no UTF-8 is replaced: nobody could write it down."""
    return line.encode(errors="surrogateescape").decode(errors="replace")


def _refuse_outranked(parsed: Parsed) -> None:
    """In a zone the closer name wins, here the exception: what is blocked below an exception cannot be said."""
    passed = dict(zip(parsed.excepted[Kind.BELOW].names, parsed.excepted[Kind.BELOW].lines, strict=True))
    if not passed:
        return
    for kind, entries in parsed.blocked.items():
        kept = Entries()
        for name, line in zip(entries.names, entries.lines, strict=True):
            labels = name.split(".")
            above = next((a for n in range(1, len(labels)) if (a := ".".join(labels[n:])) in passed), None)
            if above is None:
                kept.names.append(name)
                kept.lines.append(line)
            else:
                parsed.refused.append(Refused(line, f"{kind}{name}", f"line {passed[above]} lets *.{above} pass"))
        parsed.blocked[kind] = kept
    parsed.refused.sort(key=lambda refused: refused.line)


def lines(text: bytes) -> list[str]:
    """As an editor numbers them, whatever ends them: LF, CRLF or CR; a byte that is not UTF-8 makes its line a bad
    one."""
    text = text.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return text.decode(errors="surrogateescape").split("\n")
