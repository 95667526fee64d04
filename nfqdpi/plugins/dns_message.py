"""DNS messages: the header, the questions and the records, each with where it stands (RFC 1035, 4).

``parse`` reads a message once, from front to end, and checks names, addresses, and how long everything is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from struct import Struct
from typing import NamedTuple

from nfqdpi.core.wire import Malformed
from nfqdpi.plugins.dns_names import CutOff, Names

HEADER = Struct("!6H")  # id, flags, and how many there are of questions, answers, authorities, additionals
_QUESTION = Struct("!HH")
RECORD = Struct("!HHIH")  # behind the owner: type, class, TTL, length of RDATA
PARAMETER = Struct("!HH")  # key, length (RFC 9460, 2.2)

# --- the header's flags (RFC 1035, 4.1.1; RFC 4035, 3) ---
ANSWER, TRUNCATED, RECURSION_DESIRED, RECURSION_AVAILABLE = 0x8000, 0x0200, 0x0100, 0x0080
AUTHENTIC, CHECKING_DISABLED = 0x0020, 0x0010
OPCODE, RCODE = 0x7800, 0x000F
QUERY = 0  # the opcode; no other asks for addresses
NO_ERROR, NXDOMAIN = 0, 3

IN = 1  # the class
LONGEST_TTL = (1 << 31) - 1  # seconds; more counts as 0 (RFC 2181, 8)
A, CNAME, SOA, AAAA, DNAME, OPT, RRSIG, SVCB, HTTPS = 1, 5, 6, 28, 39, 41, 46, 64, 65
SERVICES = (SVCB, HTTPS)
_ADDRESS = {A: 4, AAAA: 16}  # bytes

# RDATA with names (RFC 1035, 3.3; RFC 3597, 4; RFC 9460, 2.2): bytes before them, how many, bytes behind; -1: any.
_NAMES = {2: (0, 1, 0), 3: (0, 1, 0), 4: (0, 1, 0), CNAME: (0, 1, 0), SOA: (0, 2, 20), 7: (0, 1, 0), 8: (0, 1, 0),
          9: (0, 1, 0), 12: (0, 1, 0), 14: (0, 2, 0), 15: (2, 1, 0), 17: (0, 2, 0), 18: (2, 1, 0), 21: (2, 1, 0),
          26: (2, 2, 0), 33: (6, 1, 0), 36: (2, 1, 0), DNAME: (0, 1, 0), SVCB: (2, 1, -1), HTTPS: (2, 1, -1)}


class Question(NamedTuple):
    """What is asked; ``name`` in lower case, "" for the root, odd bytes as ``\\DDD``; ``group`` is the class."""

    name: str
    kind: int
    group: int


class Record(NamedTuple):
    """A resource record (RFC 1035, 4.1.3). It stands from ``start``, its RDATA from ``data`` to ``end``; ``names`` are
    those in the RDATA, and ``rest`` is what follows them. ``ttl`` in seconds."""

    name: str
    kind: int
    group: int
    ttl: int
    start: int
    data: int
    rest: int
    end: int
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wire:
    """A message, and what is in it. The records stand from ``body`` to ``end``, in three ``sections``: answers,
    authorities, additionals. ``pointers`` is where the pointers are that names are compressed with. ``flaw``: why it is
    no message of DNS, or ""."""

    data: bytes
    id: int
    flags: int
    questions: tuple[Question, ...]
    body: int
    end: int
    sections: tuple[tuple[Record, ...], tuple[Record, ...], tuple[Record, ...]]
    pointers: tuple[int, ...]
    flaw: str

    @property
    def is_answer(self) -> bool:
        """True of an answer, false of a query."""
        return bool(self.flags & ANSWER)

    @property
    def opcode(self) -> int:
        """What kind of query it is, or answers."""
        return (self.flags & OPCODE) >> 11

    @property
    def rcode(self) -> int:
        """The header's part of the response code."""
        return self.flags & RCODE

    @property
    def answers(self) -> tuple[Record, ...]:
        """The records that answer the question."""
        return self.sections[0]

    @property
    def opt(self) -> Record | None:
        """The record that carries EDNS (RFC 6891, 6.1.1)."""
        return next((record for record in self.sections[2] if record.kind == OPT), None)


def parse(data: bytes) -> Wire:
    """Read a message, up to its flaw if it has one. Bytes behind the last record are nobody's: no reader looks at them.
    """
    if len(data) < HEADER.size:
        return Wire(data, 0, 0, (), 0, 0, ((), (), ()), (), f"a message of {len(data)} bytes")
    id_, flags, asked, *counts = HEADER.unpack_from(data)
    names, body, flaw = Names(data), HEADER.size, ""
    questions: list[Question] = []
    sections: tuple[list[Record], list[Record], list[Record]] = [], [], []
    try:
        body = _questions(data, asked, names, questions)
        if asked > 1 and not flags & OPCODE:
            flaw = f"{asked} questions"  # RFC 9619
        _records(data, body, counts, names, sections)
        if sum(record.kind == OPT for record in sections[-1]) > 1:
            flaw = "two OPT records"  # RFC 6891, 6.1.1
        if not flags & (ANSWER | OPCODE) and not any((asked, *counts)):
            flaw = "nothing is asked"  # a query without a question has EDNS (RFC 7873, 5.4)
    except CutOff as cut:
        # An answer that says that it is truncated may end anywhere (RFC 2181, 9): the records that are whole count.
        if not flags & ANSWER or not flags & TRUNCATED or len(questions) < asked:
            flaw = str(cut)
    except Malformed as error:
        flaw = str(error)
    answers, authorities, additionals = map(tuple, sections)
    end = max((section[-1].end for section in sections if section), default=body)
    return Wire(data, id_, flags, tuple(questions), body, end, (answers, authorities, additionals),
                tuple(names.pointers), flaw)


def _questions(data: bytes, count: int, names: Names, questions: list[Question]) -> int:
    """Add so many questions, and say where they end."""
    at = HEADER.size
    for _ in range(count):
        name, at = names.read(at)
        if at + _QUESTION.size > len(data):
            raise CutOff("a question is cut off")
        questions.append(Question(name, *_QUESTION.unpack_from(data, at)))
        at += _QUESTION.size
    return at


def _records(data: bytes, at: int, counts: list[int], names: Names, sections: Iterable[list[Record]]) -> None:
    """Add so many records to each section."""
    for section, count in zip(sections, counts, strict=True):
        for _ in range(count):
            record = _record(data, at, names)
            section.append(record)
            at = record.end


def _record(data: bytes, start: int, names: Names) -> Record:
    name, at = names.read(start)
    behind = at + RECORD.size
    if behind > len(data):
        raise CutOff("a record is cut off")
    kind, group, ttl, length = RECORD.unpack_from(data, at)
    end = behind + length
    if end > len(data):
        raise CutOff("a record is cut off")
    if group == IN and length != _ADDRESS.get(kind, length):
        raise Malformed(f"an address of {length} bytes")
    if kind == OPT and name:
        raise Malformed("an OPT record with a name")  # RFC 6891, 6.1.2
    if ttl > LONGEST_TTL and kind != OPT:  # which keeps flags there
        ttl = 0
    rest, inside = _inside(data, kind, behind, end, names) if kind in _NAMES else (behind, ())
    return Record(name, kind, group, ttl, start, behind, rest, end, inside)


def _inside(data: bytes, kind: int, start: int, end: int, names: Names) -> tuple[int, tuple[str, ...]]:
    """What follows the names in RDATA, and these."""
    if start == end:
        return start, ()  # an UPDATE deletes by records without RDATA (RFC 2136, 2.5)
    before, count, after = _NAMES[kind]
    rest, pointers = start + before, len(names.pointers)
    inside: list[str] = []
    for _ in range(count):
        name, rest = names.read(rest)
        inside.append(name)
    if rest > end or (after >= 0 and rest + after != end):
        raise Malformed(f"{end - start} bytes of RDATA around names of {rest - start - before}")
    if kind in SERVICES:
        parameters(data, rest, end)
        if len(names.pointers) > pointers:
            raise Malformed("a compressed name in a service")
    return rest, tuple(inside)


def parameters(data: bytes, at: int, end: int) -> list[tuple[int, int, int]]:
    """The service parameters from ``at`` to ``end`` of a message: the key, and where the value begins and ends
    (RFC 9460, 2.2). Raises Malformed."""
    found: list[tuple[int, int, int]] = []
    while at < end:
        start = at + PARAMETER.size
        key, length = PARAMETER.unpack_from(data, at) if start <= end else (0, end)
        at = start + length
        if at > end or (found and key <= found[-1][0]):
            raise Malformed("a service parameter is cut off or out of order")
        found.append((key, start, at))
    return found
