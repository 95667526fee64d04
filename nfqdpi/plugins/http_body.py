"""HTTP/1.x: a request's body, up to the next head (RFC 9112, 6 and 7.1)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from nfqdpi.core.classifier import NEED_MORE, NO_MATCH, Answer, Classify, Step
from nfqdpi.plugins.http_answer import FRAMING, number
from nfqdpi.plugins.http_line import BETWEEN, LONGEST_LINE, METHOD, PART, VERSIONED, blanks, flawed, no_method
from nfqdpi.plugins.http_ordinary import ordinary

_BODIES = frozenset((b"POST", b"PUT", b"PATCH"))  # methods whose body every server reads
_FIELD_NAME = re.compile(rb"[0-9A-Za-z!#$%&'*+.^_`|~-]+:")  # a token and nothing else (RFC 9112, 5.1)
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")
# One of up to 32 bytes costs no more on record with its data than without: two pieces would have to be told apart.
_SMALL_CHUNK = re.compile(rb"([1-9A-Fa-f]|1[0-9A-Fa-f]|20)\r\n")
_HALF_LINE_END = re.compile(rb"(?<!\r)\n|\r[^\n]")
_LONGEST_TRAILER = 8192  # bytes of a trailer section; servers take no more of a line


@dataclass(frozen=True, slots=True)
class NextRequest:
    """A request on a flow that already spoke HTTP: nothing else may follow. ``first`` reads it on any flow."""

    first: Classify

    def __call__(self, prefix: bytes) -> Answer:
        if (found := ordinary(prefix, self)) is not None:
            return found
        answer = self.first(prefix) if no_method(prefix) < 0 else NO_MATCH
        return answer if answer is not NO_MATCH else flawed(prefix, "no request where one should begin")

    def at_once(self, prefix: bytes) -> Answer:
        """As above, where a blank in front would end a line that a server may have taken for a request's."""
        return flawed(prefix, "a request for a body") if blanks(prefix[:1]) else self(prefix)


def framing(
    method: bytes, version: bytes, fields: dict[bytes, list[bytes]], lines: bytes, request: NextRequest
) -> tuple[int, Classify, str]:
    """The bytes of the body that nobody need look at, what reads on behind them, and why its end is not certain, or "".
    Where it is not, servers do not agree (RFC 9112, 6.1 and 6.3), so there is no next head."""
    lengths = fields.get(b"content-length", [])
    if FRAMING.isdisjoint(fields):
        return 0, request, ""
    if not all(_FIELD_NAME.match(line) for line in lines.splitlines()):
        # Python's own server takes the first line that is no field for the head's end, and sees no length behind it.
        return 0, request, "a body without a certain end"
    if b"transfer-encoding" in fields:
        last = fields[b"transfer-encoding"][-1].lower().rpartition(b",")[2].strip(b" \t")
        certain = not lengths and version != b"HTTP/1.0" and last == b"chunked"
        return 0, _Chunk(request), "" if certain else "a body without a certain end"
    size = number(lengths[0])
    if size < 0 or len(set(lengths)) > 1:
        return 0, request, "Content-Length is not one number"
    return (size, request, "") if method in _BODIES or not size else (0, Unread(size, request), "")


@dataclass(frozen=True, slots=True)
class _Chunk:
    """One chunk of a body, or the last one and its trailer section (RFC 9112, 7.1). Line ends are CRLF: servers do not
    agree on a bare LF here."""

    request: NextRequest

    def __call__(self, prefix: bytes) -> Answer:
        if small := _small_chunks(prefix):
            return Step(small, 0, self)
        line_end = prefix.find(b"\n")
        if line_end < 0:
            return NEED_MORE if len(prefix) < LONGEST_LINE else flawed(prefix, "no chunk size")
        size = _CHUNK_SIZE.fullmatch(prefix, 0, line_end + 1)
        if size is None or b"HTTP/" in size[0].upper():  # to a server that reads no bodies it may be a request line
            return flawed(prefix, "no chunk size")
        if length := int(size[1], 16):
            return Step(size.end(), length, self.end)
        trailer, end, _ = prefix[line_end - 1 :].partition(b"\r\n\r\n")
        longest = _LONGEST_TRAILER if end else _LONGEST_TRAILER + 3  # of its end there may be three bytes
        if len(trailer) > longest or _HALF_LINE_END.search(trailer + end):
            return flawed(prefix, "a trailer section without a certain end")
        return Step(line_end - 1 + len(trailer) + len(end), 0, self.request) if end else NEED_MORE

    def end(self, prefix: bytes) -> Answer:
        """The line end behind a chunk's data."""
        if prefix == b"\r":
            return NEED_MORE
        return Step(2, 0, self) if prefix[:2] == b"\r\n" else flawed(prefix, "a chunk longer than its size")


def _small_chunks(prefix: bytes) -> int:
    """The bytes of the small chunks that are wholly there: together they cost no more than one."""
    end = 0
    while (size := _SMALL_CHUNK.match(prefix, end)) is not None:
        data_end = size.end() + int(size[1], 16)
        if prefix[data_end : data_end + 2] != b"\r\n":
            break
        end = data_end + 2
    return end


@dataclass(frozen=True, slots=True)
class Unread:
    """The body, of so many bytes, of a request that should have none: some servers do not read it, but take it for the
    next request. So it may not begin as one."""

    length: int
    request: NextRequest

    def __call__(self, prefix: bytes) -> Answer:
        body = prefix[: self.length]
        if (start := no_method(body)) >= 0:
            line = _LineOfBody(self.length - start, self.request)
            return Step(start, 0, line) if start else line(prefix)
        found = self.request.first(body)
        if found is NEED_MORE and len(prefix) < self.length:
            return NEED_MORE
        word = body.strip(BETWEEN + b"\n")
        if found is NO_MATCH or (found is NEED_MORE and (not word or METHOD.fullmatch(word))):
            return Step(len(body), self.length - len(body), self.request)
        return flawed(prefix, "a request for a body")


@dataclass(frozen=True, slots=True)
class _LineOfBody:
    """The first line of a body that should not be, of which ``left`` bytes are to come. It begins with no method, but
    to some servers that is one. ``before``: what may begin, or is, its version."""

    left: int
    request: NextRequest
    before: bytes = b""

    def __call__(self, prefix: bytes) -> Answer:
        body = prefix[: self.left]
        line, end, _ = (self.before + body).partition(b"\n")
        version = VERSIONED.search(line)
        if end and version is None:
            return Step(len(body), self.left - len(body), self.request)
        size = len(line) - len(self.before)
        if end and not size:
            return flawed(prefix, "a request for a body")
        if size == self.left:
            return Step(size, 0, self.request if version is None else self.request.at_once)
        before = line[-PART:] if version is None else version[0]
        return Step(size, 0, _LineOfBody(self.left - size, self.request, before))
