"""Answers in a resolver's place: a denial, addresses of the operator's choice, or the resolver's own words without ECH.

An answer goes to who has asked, over the same way, so it looks as the resolver's would: the same id, the question as it
was spelled, EDNS where the query had it, and the cookie that the client expects.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate, chain
from struct import Struct
from typing import NamedTuple

from nfqdpi.core.wire import Malformed
from nfqdpi.plugins.dns_message import (
    AAAA,
    ANSWER,
    AUTHENTIC,
    CHECKING_DISABLED,
    HEADER,
    IN,
    NO_ERROR,
    NXDOMAIN,
    OPCODE,
    OPT,
    PARAMETER,
    RECORD,
    RECURSION_AVAILABLE,
    RECURSION_DESIRED,
    RRSIG,
    SERVICES,
    SOA,
    A,
    Record,
    Wire,
    parameters,
)
from nfqdpi.plugins.dns_names import POINTER

BLOCKED, FORGED = 15, 4  # why an answer is not the resolver's: the Extended DNS Errors (RFC 8914, 4)

_QUESTION_NAME = b"\xc0\x0c"  # a pointer to the first byte behind the header
_OPTION = Struct("!HH")
_COOKIE, _ERROR = 10, 15  # EDNS options (RFC 7873, 4; RFC 8914, 2)
_CLIENT_COOKIE = 8  # bytes; one of this length has no server's part, and may not stand in an answer
_DNSSEC_OK = 0x8000  # in an OPT's TTL (RFC 6891, 6.1.3)
_PAYLOAD = 1232  # bytes over UDP that pass any link unfragmented
_TYPE_COVERED = 2  # bytes that an RRSIG begins with (RFC 4034, 3.1)
_MANDATORY, _ECH = 0, 5  # service parameters (RFC 9460, 8; RFC 9848)

# An SOA whose owner is the question's name: root names, serial, refresh, retry, expire, and the TTL of the denial.
_START = Struct("!2s5I")


def denial(message: Wire, ttl: int, why: int) -> bytes:
    """The name does not exist: for ``ttl`` seconds (RFC 2308, 5)."""
    return _answer(message, NXDOMAIN, [], ttl, why)


def addresses(message: Wire, chosen: tuple[bytes, ...], ttl: int, why: int) -> bytes:
    """Those of the chosen addresses that are of the type asked for; nothing of another type (RFC 2308, 2.2)."""
    question = message.questions[0] if message.questions else None
    length = {A: 4, AAAA: 16}.get(question.kind) if question and question.group == IN else None
    fitting = [address for address in chosen if len(address) == length]
    return _answer(message, NO_ERROR, fitting, ttl, why)


def _answer(message: Wire, rcode: int, chosen: list[bytes], ttl: int, why: int) -> bytes:
    copied = message.flags & (OPCODE | RECURSION_DESIRED | CHECKING_DISABLED)
    records = authority = opt = b""
    if message.questions:
        _, kind, group = message.questions[0]
        records = b"".join(_QUESTION_NAME + RECORD.pack(kind, group, ttl, len(each)) + each for each in chosen)
        if not chosen:
            start = _START.pack(b"\0\0", 1, ttl, ttl, ttl, ttl)
            authority = _QUESTION_NAME + RECORD.pack(SOA, group, ttl, len(start)) + start
    if message.opt is not None:
        opt = _opt(message, message.opt, why)
    head = HEADER.pack(message.id, ANSWER | copied | RECURSION_AVAILABLE | rcode, len(message.questions), len(chosen),
                       bool(authority), bool(opt))
    return head + message.data[HEADER.size : message.body] + records + authority + opt


def _opt(message: Wire, opt: Record, why: int) -> bytes:
    options = _OPTION.pack(_ERROR, 2) + why.to_bytes(2, "big")
    cookie = next((value for kind, value in _options(message.data[opt.data : opt.end]) if kind == _COOKIE), b"")
    if len(cookie) > _CLIENT_COOKIE:
        options += _OPTION.pack(_COOKIE, len(cookie)) + cookie
    return b"\0" + RECORD.pack(OPT, _PAYLOAD, opt.ttl & _DNSSEC_OK, len(options)) + options


def _options(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The EDNS options that are whole (RFC 6891, 6.1.2)."""
    at = 0
    while at + _OPTION.size <= len(data):
        kind, length = _OPTION.unpack_from(data, at)
        at += _OPTION.size + length
        if at <= len(data):
            yield kind, data[at - length : at]


class _Edit(NamedTuple):
    """What stands from ``start`` to ``end`` becomes ``new``."""

    start: int
    end: int
    new: bytes


def without_ech(message: Wire) -> bytes | None:
    """The message without the ``ech`` parameter of its services, and without the signatures over these, which are no
    longer true; None: it has none. Raises Malformed where a name points into what goes."""
    edits: list[_Edit] = []
    changed = set()
    for record in chain(*message.sections):
        if record.kind not in SERVICES:
            continue
        rest = _without_ech(message.data, record)
        if len(rest) < record.end - record.rest:
            length = record.rest - record.data + len(rest)
            edits.append(_Edit(record.data - 2, record.data, length.to_bytes(2, "big")))
            edits.append(_Edit(record.rest, record.end, rest))
            changed.add((record.name, record.kind))
    if not edits:
        return None
    counts = [len(section) for section in message.sections]
    for n, section in enumerate(message.sections):
        for record in section:
            covered = int.from_bytes(message.data[record.data : record.data + _TYPE_COVERED], "big")
            if record.kind == RRSIG and (record.name, covered) in changed:
                edits.append(_Edit(record.start, record.end, b""))
                counts[n] -= 1
    header = HEADER.pack(message.id, message.flags & ~AUTHENTIC, len(message.questions), *counts)
    return _edited(message, [_Edit(0, HEADER.size, header), *sorted(edits)])


def _without_ech(data: bytes, record: Record) -> bytes:
    """A service's parameters without the one, which is not mandatory then either (RFC 9460, 8)."""
    kept = b""
    for key, start, end in parameters(data, record.rest, record.end):
        value = data[start:end]
        if key == _MANDATORY:
            keys = (value[n : n + 2] for n in range(0, len(value), 2))
            value = b"".join(each for each in keys if each != _ECH.to_bytes(2, "big"))
        if key != _ECH and (value or key != _MANDATORY):
            kept += PARAMETER.pack(key, len(value)) + value
    return kept


def _edited(message: Wire, edits: list[_Edit]) -> bytes:
    """The message with these changes, which are in order; the pointers of names follow what they point to."""
    ends = [edit.end for edit in edits]
    moved = [0, *accumulate(len(edit.new) - (edit.end - edit.start) for edit in edits)]
    data = bytearray(message.data)
    for at in message.pointers:
        target = int.from_bytes(data[at : at + 2], "big") & ~POINTER
        before = bisect_right(ends, target)
        data[at : at + 2] = (target + moved[before] | POINTER).to_bytes(2, "big")
        if _within(edits, before, target) and not _within(edits, bisect_right(ends, at), at):
            raise Malformed("a name that points into what changes")
    whole, at = b"", 0
    for start, end, new in edits:
        whole += data[at:start] + new
        at = end
    return whole + data[at : message.end]


def _within(edits: list[_Edit], n: int, at: int) -> bool:
    return n < len(edits) and edits[n].start <= at
