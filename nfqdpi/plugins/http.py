"""HTTP/1.x: the host of each request on a flow (RFC 9112).

A unit is a request's head; its body is opaque and skipped by its framing, so that the next head is found where the
server will look for it.
"""

from __future__ import annotations

import re

from nfqdpi.core.classifier import NEED_MORE, NO_MATCH, Classification, Classifier, Pending, Reply, Step

# Every pattern reads its text once, whatever the text: none has two neighbours that could share what they match.
_BLANK = re.compile(rb"[ \t\r\n]*")  # servers skip empty lines before a request (RFC 9112, 2.2), some skip blanks
_METHOD = re.compile(rb"[0-9A-Za-z!#$%&'*+.^_`|~-]{1,8192}")  # a token (RFC 9110, 5.6.2); servers take no longer line
_BETWEEN = b" \t\x0b\x0c\r"  # what may stand between the words of a request line (RFC 9112, 3)
_VERSION = re.compile(rb"HTTP/1\.\d")
_HEAD_END = re.compile(rb"\n\r?\n")
_AUTHORITY = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#@]*@)?([^/?#]*)")
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?|)(?::\d*)?")
_NAMING = re.compile(rb"h2|http|tls")  # protocols that name hosts of their own, so that ours would not be the last word
_STATUS = re.compile(rb"HTTP/\d\.\d (\d{3})")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")
_HALF_LINE_END = re.compile(rb"(?<!\r)\n|\r[^\n]")

_LONGEST_NAME = 253  # bytes of a Host that are looked at (RFC 1035, 2.3.4, as text)
_LONGEST_LINE = 65536  # bytes; what a chunk's header or a status line may need, far above what servers take
_LONGEST_NUMBER = 18  # digits of a Content-Length: below 2^63
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
    if prefix[method.end()] not in _BETWEEN:
        return NO_MATCH
    line_end = prefix.find(b"\n", start)
    if line_end < 0:
        return NEED_MORE
    words = prefix[start:line_end].split()
    if not any(word[:5].upper() == b"HTTP/" for word in words[1:]):
        return NO_MATCH
    head_end = _HEAD_END.search(prefix, line_end)
    if head_end is None:
        return NEED_MORE
    return _request(words, prefix[line_end + 1 : head_end.start() + 1], head_end.end())


def _request(words: list[bytes], fields: bytes, length: int) -> Classification:
    """A whole head: its first line's words, its other lines; ``length`` counts from the start of the unit."""
    method, target, version = words[0].upper(), b" ".join(words[1:-1]), words[-1]
    flaw = "" if target and _VERSION.fullmatch(version) else "not a request line of HTTP/1"
    of = _fields(fields)
    if of is None:
        of, flaw = {}, "a field over two lines, or a bare CR or NUL"
    hosts = of.get(b"host", [])
    if (absolute := _AUTHORITY.match(target)) is not None:
        hosts.append(absolute[1])
    elif method == b"CONNECT":
        hosts.append(target)
    names: dict[str, None] = {}
    for host in hosts:
        match = _HOST.fullmatch(host)
        if match is None or len(match[1].removesuffix(b".")) > _LONGEST_NAME:
            flaw = f"{_printable(host[:64])!r} is not a host"
        if name := _name(host if match is None else match[1]):
            names[name] = None
    codings, lengths = b",".join(of.get(b"transfer-encoding", [])), set(of.get(b"content-length", []))
    skip, then = 0, _next_request
    if b"transfer-encoding" in of:
        then = _chunk
        # Otherwise servers do not agree on where the body ends (RFC 9112, 6.1 and 6.3), so there is no next head.
        if lengths or version == b"HTTP/1.0" or codings.lower().rpartition(b",")[2].strip() != b"chunked":
            flaw = flaw or "a body without a certain end"
    elif len(lengths) > 1 or any(not n.isdigit() or len(n) > _LONGEST_NUMBER for n in lengths):
        flaw = flaw or "Content-Length is not one number"
    elif lengths:
        skip = int(lengths.pop())
    offers = b",".join(of.get(b"upgrade", []))
    leaves = method == b"CONNECT" or bool(offers) and _NAMING.search(offers.lower()) is None
    confirm = None if not leaves else _tunnelled if method == b"CONNECT" else _upgraded
    attributes = {"method": _printable(words[0]), "url": _printable(target)}
    return Classification("http", tuple(names), attributes, flaw, length, skip, confirm, hold=leaves, then=then)


def _fields(lines: bytes) -> dict[bytes, list[bytes]] | None:
    """The values of each field, by its name in lower case. None: one goes on in the next line, or has a CR or NUL in
    it, which some servers take for a line's end (RFC 9112, 5.2 and 2.2). A line that is no field is nobody's Host."""
    of: dict[bytes, list[bytes]] = {}
    for line in lines.split(b"\n"):
        bare = line.removesuffix(b"\r")
        if bare[:1] in (b" ", b"\t") or b"\r" in bare or b"\0" in bare:
            return None
        name, _, value = bare.partition(b":")
        of.setdefault(name.strip().lower(), []).append(value.strip(b" \t"))
    return of


def _next_request(prefix: bytes) -> Classification | Step | Pending:
    """A request on a flow that already spoke HTTP: nothing else may follow."""
    answer = _classify(prefix)
    return answer if answer is not NO_MATCH else _flawed(prefix, "no request where one should begin")


def _flawed(prefix: bytes, flaw: str) -> Classification:
    return Classification("http", flaw=flaw, length=len(prefix))


def _name(host: bytes) -> str:
    """A host without brackets and trailing dot, lower case; of what is none, as much as is worth showing."""
    front, colon, port = host.rpartition(b":")
    if colon and b":" not in front and port.isdigit():
        host = front
    return _printable(host[:_LONGEST_NAME].strip(b"[]")).lower().removesuffix(".")


def _chunk(prefix: bytes) -> Classification | Step | Pending:
    """One chunk of a body, or the last one and its trailer section (RFC 9112, 7.1). Line ends are CRLF: servers do not
    agree on a bare LF here."""
    line_end = prefix.find(b"\n")
    if line_end < 0:
        return NEED_MORE if len(prefix) < _LONGEST_LINE else _flawed(prefix, "no chunk size")
    size = _CHUNK_SIZE.fullmatch(prefix, 0, line_end + 1)
    if size is None:
        return _flawed(prefix, "no chunk size")
    if length := int(size[1], 16):
        return Step(size.end(), length, _chunk_end)
    end = prefix.find(b"\r\n\r\n", line_end - 1) + 4
    if _HALF_LINE_END.search(prefix, line_end, end if end > 3 else len(prefix)):  # noqa: PLR2004  not found
        return _flawed(prefix, "a trailer section without a certain end")
    return Step(end, 0, _next_request) if end > 3 else NEED_MORE  # noqa: PLR2004


def _chunk_end(prefix: bytes) -> Classification | Step | Pending:
    """The line end behind a chunk's data."""
    if prefix == b"\r":
        return NEED_MORE
    return Step(2, 0, _chunk) if prefix[:2] == b"\r\n" else _flawed(prefix, "a chunk longer than its size")


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
