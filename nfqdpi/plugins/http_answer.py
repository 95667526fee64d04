"""HTTP/1.x: the fields of a head, and what a server's answer says of a request to leave the protocol (RFC 9112)."""

from __future__ import annotations

import re
from functools import partial

from nfqdpi.core.classifier import NEED_MORE, Pending, Reply

HEAD_END = re.compile(rb"\n\r?\n")
FRAMING = frozenset((b"content-length", b"transfer-encoding"))
_BODILESS = (b"204", b"205")  # RFC 9110, 15.3.5 and 15.3.6
_EMPTY = (b"204", b"304")  # whatever length they say (RFC 9112, 6.3)
_STATUS = re.compile(rb"HTTP/\d\.\d (\d{3})")

_LONGEST_ANSWER = 1 << 30  # bytes of a body that may pass before the next answer: less than sequence numbers wrap in
_LONGEST_NUMBER = 18  # digits of a Content-Length: below 2^63


def fields_of(lines: bytes) -> dict[bytes, list[bytes]]:
    """The values of each field, by its name in lower case."""
    fields: dict[bytes, list[bytes]] = {}
    for line in lines.split(b"\n"):
        name, _, value = line.partition(b":")
        fields.setdefault(name.strip().lower(), []).append(value.strip(b" \t\r"))
    return fields


def number(value: bytes) -> int:
    """A Content-Length, or -1."""
    return int(value) if value.isdigit() and len(value) <= _LONGEST_NUMBER else -1


def upgraded(prefix: bytes, *, bodiless: bool = False) -> Reply | Pending:
    """Accepted: 101 to an Upgrade (RFC 9110, 7.8); any other final answer goes on speaking HTTP."""
    final = _final(prefix)
    if final is None:
        return NEED_MORE
    status, head, end = final
    if status == b"101":
        return Reply(accepted=True, length=end)
    return Reply(accepted=False, length=end, skip=0 if bodiless else _body(status, head))


upgraded_head = partial(upgraded, bodiless=True)  # no answer to HEAD has a body (RFC 9110, 9.3.2)


def tunnelled(prefix: bytes) -> Reply | Pending:
    """Accepted: 2xx to a CONNECT (RFC 9110, 9.3.6). But there is no body in front of a tunnel: a server that announces
    one, or says that there is none, has answered CONNECT like any other request, and goes on speaking HTTP."""
    final = _final(prefix)
    if final is None:
        return NEED_MORE
    status, head, end = final
    if status.startswith(b"2") and status not in _BODILESS and FRAMING.isdisjoint(fields_of(head)):
        return Reply(accepted=True, length=end)
    return Reply(accepted=False, length=end, skip=_body(status, head))


def _body(status: bytes, head: bytes) -> int | None:
    """Bytes of an answer's body (RFC 9112, 6.3); None: not certain, or up to the end of the connection."""
    if status in _EMPTY:
        return 0
    fields = fields_of(head)
    lengths = set(fields.get(b"content-length", []))
    if len(lengths) != 1 or b"transfer-encoding" in fields:
        return None
    length = number(lengths.pop())
    return length if 0 <= length <= _LONGEST_ANSWER else None


def _final(prefix: bytes) -> tuple[bytes, bytes, int] | None:
    """Status, head and where it ends of a server's first answer that is not interim (RFC 9110, 15.2)."""
    start = 0
    while (status := _STATUS.match(prefix, start)) is not None and (end := HEAD_END.search(prefix, start)) is not None:
        if status[1][:1] != b"1" or status[1] == b"101":
            return status[1], prefix[start : end.start()], end.end()
        start = end.end()
    return None
