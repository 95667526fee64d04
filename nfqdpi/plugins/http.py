"""HTTP/1.x: the host of each request on a flow (RFC 9112).

A unit is a request's head; its body is opaque and skipped by its framing, so that the next head is found where the
server will look for it.
"""

from __future__ import annotations

import re

from nfqdpi.core.classifier import NEED_MORE, NO_MATCH, Classification, Classifier, Pending, Reply, Step

# Servers skip empty lines before a request (RFC 9112, 2.2).
_BLANK = re.compile(rb"[\r\n]*")
_METHOD = re.compile(rb"[A-Za-z!#$%&'*+.^_`|~-][0-9A-Za-z!#$%&'*+.^_`|~-]{0,31}")  # a token (RFC 9110, 5.6.2), bounded
_REQUEST_LINE = re.compile(rb"(\S+)[ \t]+(\S.*?)[ \t]+HTTP/(\d)\.(\d)[ \t]*\r?\n")
_HEAD_END = re.compile(rb"\n\r?\n")
_FIELD = re.compile(rb"^([^\s:]+)[ \t]*:[ \t]*(.*?)[ \t]*\r?$", re.MULTILINE)
_AUTHORITY = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#@]*@)?([^/?#]*)")
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]*)(?::\d*)?")
_STATUS = re.compile(rb"HTTP/\d\.\d (\d{3})")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r?\n")
_TRAILER_END = re.compile(rb"(?:[^\r\n]+\r?\n)*\r?\n")

_LONGEST_NAME = 253  # bytes of a Host that are looked at (RFC 1035, 2.3.4, as text)
_LONGEST_LINE = 65536  # bytes; what a chunk's header or a status line may need, far above what servers take
_MOST_BYTES = 1 << 24  # heads have no limit of their own: [inspect] max_bytes is theirs


def _classify(prefix: bytes) -> Classification | Step | Pending:
    """A request's head, from its first byte (or from the empty lines that may come first)."""
    start = _BLANK.match(prefix).end()  # type: ignore[union-attr]  # it matches the empty string
    if start == len(prefix):
        return NEED_MORE
    method = _METHOD.match(prefix, start)
    if method is None:
        return NO_MATCH
    if method.end() == len(prefix):
        return NEED_MORE
    if prefix[method.end()] not in b" \t":
        return NO_MATCH
    line_end = prefix.find(b"\n", start)
    if line_end < 0:
        return NEED_MORE
    line = _REQUEST_LINE.match(prefix, start, line_end + 1)
    if line is None:
        return NO_MATCH
    head_end = _HEAD_END.search(prefix, line_end)
    if head_end is None:
        return NEED_MORE
    return _request(prefix[line.end() : head_end.start() + 1], line, head_end.end())


def _request(fields: bytes, line: re.Match[bytes], length: int) -> Classification:
    """A whole head: ``fields`` are its lines, ``length`` counts from the start of the unit."""
    method, target = line[1].upper(), line[2]
    attributes = {"method": _printable(line[1]), "url": _printable(target)}
    hosts, flaw = [], ""
    content_lengths, codings, upgrade = set(), b"", method == b"CONNECT"
    for name, value in _FIELD.findall(fields):
        match name.lower():
            case b"host":
                hosts.append(value)
            case b"content-length":
                content_lengths.add(value)
            case b"transfer-encoding":
                codings += b"," + value.lower()
            case b"upgrade":
                upgrade = True
    if (absolute := _AUTHORITY.match(target)) is not None:
        hosts.append(absolute[1])
    elif method == b"CONNECT":
        hosts.append(target)
    names: list[str] = []
    for host in hosts:
        match = _HOST.fullmatch(host)
        if match is None:
            flaw = f"{_printable(host[:64])!r} is not a host"
        name = _name(host if match is None else match[1])
        if name and name not in names:
            names.append(name)
    skip, then = 0, _next_request
    if codings:
        if codings.rpartition(b",")[2].strip() == b"chunked":
            then = _chunk
        else:
            flaw = flaw or "Transfer-Encoding does not end in chunked"  # RFC 9112, 6.3: no length, so no next head
    elif len(content_lengths) > 1 or any(not value.isdigit() or len(value) > 18 for value in content_lengths):  # noqa: PLR2004  below 2^63
        flaw = flaw or "Content-Length is not one number"
    elif content_lengths:
        skip = int(content_lengths.pop())
    confirm = _tunnelled if method == b"CONNECT" else _upgraded if upgrade else None
    return Classification("http", tuple(names), attributes, flaw, length, skip, confirm, hold=upgrade, then=then)


def _next_request(prefix: bytes) -> Classification | Step | Pending:
    """A request on a flow that already spoke HTTP: nothing else may follow."""
    answer = _classify(prefix)
    return answer if answer is not NO_MATCH else _flawed(prefix, "no request where one should begin")


def _flawed(prefix: bytes, flaw: str) -> Classification:
    return Classification("http", flaw=flaw, length=len(prefix))


def _name(host: bytes) -> str:
    """A host without brackets and trailing dot, lower case; of what is none, as much as is worth showing."""
    if host.count(b":") == 1:
        host = host.partition(b":")[0]
    return _printable(host[:_LONGEST_NAME].strip(b"[]")).lower().removesuffix(".")


def _chunk(prefix: bytes) -> Classification | Step | Pending:
    """One chunk of a body, or the last one and its trailer section (RFC 9112, 7.1)."""
    size = _CHUNK_SIZE.match(prefix)
    if size is None:
        return NEED_MORE if b"\n" not in prefix and len(prefix) < _LONGEST_LINE else _flawed(prefix, "no chunk size")
    if length := int(size[1], 16):
        return Step(size.end(), length, _chunk_end)
    trailer = _TRAILER_END.match(prefix, size.end())
    return NEED_MORE if trailer is None else Step(trailer.end(), 0, _next_request)


def _chunk_end(prefix: bytes) -> Classification | Step | Pending:
    """The line end behind a chunk's data."""
    if prefix == b"\r":
        return NEED_MORE
    end = 2 if prefix[:1] == b"\r" else 1
    return Step(end, 0, _chunk) if prefix[end - 1 : end] == b"\n" else _flawed(prefix, "a chunk longer than its size")


def _upgraded(prefix: bytes) -> Reply | Pending:
    """Accepted: 101 to an Upgrade (RFC 9110, 7.8); any other final answer goes on speaking HTTP."""
    return _final_status(prefix, b"101")


def _tunnelled(prefix: bytes) -> Reply | Pending:
    """Accepted: 2xx to a CONNECT (RFC 9110, 9.3.6)."""
    return _final_status(prefix, b"2")


def _final_status(prefix: bytes, accepted: bytes) -> Reply | Pending:
    start = 0
    while (status := _STATUS.match(prefix, start)) is not None and (end := _HEAD_END.search(prefix, start)) is not None:
        start = end.end()
        if status[1][:1] != b"1" or status[1] == b"101":  # the others are interim (RFC 9110, 15.2)
            return Reply(accepted=status[1].startswith(accepted), length=start)
    return NEED_MORE


def _printable(text: bytes) -> str:
    return text.decode("ascii", "backslashreplace")


classifier = Classifier(name="http", protocol="http", version="1", needs=_MOST_BYTES, classify=_classify)
