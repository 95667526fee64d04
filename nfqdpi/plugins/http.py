"""HTTP/1.x: the host of each request on a flow (RFC 9112).

A unit is a request's head; its body is opaque and skipped by its framing, so that the next head is found where the
server will look for it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial

from nfqdpi.core.classifier import (
    NEED_MORE,
    NO_MATCH,
    Answer,
    Classification,
    Classifier,
    Classify,
    Confirm,
    Glimpse,
    Pending,
    Step,
)
from nfqdpi.plugins.http_answer import FRAMING, HEAD_END, fields_of, number, tunnelled, upgraded, upgraded_head
from nfqdpi.plugins.http_line import PART, VERSIONED, flawed
from nfqdpi.plugins.http_websocket import RequestOrFrame

# Every pattern reads its text once, whatever the text: none has two neighbours that could share what they match.
# Servers skip empty lines before a request (RFC 9112, 2.2), some skip blanks, Python's own whatever is one in Latin-1.
_BLANK = re.compile(rb"[ \t-\r\x1c-\x1f\x85\xa0]*")
_METHOD = re.compile(rb"[0-9A-Za-z!#$%&'*+.^_`|~-]{1,8192}")  # a token (RFC 9110, 5.6.2); servers take no longer line
# What may stand between the words of a request line (RFC 9112, 3), and what Python's own server takes for it as well.
_BETWEEN = b" \t\x0b\x0c\r" + b"\x1c\x1d\x1e\x1f\x85\xa0"
_VERSION = re.compile(rb"HTTP/1\.\d")
_HOST_LINE = re.compile(rb"\n[ \t\r\x0b\x0c]*host[ \t\r\x0b\x0c]*:([^\n]*)(?=\n)", re.IGNORECASE)
_AUTHORITY = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#@]*@)?([^/?#]*)")
_TARGET = re.compile(rb"/|\*(?:\s|$)|[A-Za-z][A-Za-z0-9+.-]*://")  # what only a request line has (RFC 9112, 3.2)
_IN_AUTHORITY = re.compile(rb"[0-9A-Za-z\[\]:_.~!$&'()*+,;=%@-]+")  # (RFC 3986, 3.2)
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?|)(?::\d*)?")
_LIKE_HTTP = re.compile(rb"(?:RTSP|ICE)/\d\.\d")  # protocols made after HTTP that Node.js's reader takes as well
_OTHER = re.compile(rb"[A-Z]+/\d\.\d")  # those that no server of HTTP takes: SIP/2.0
_NAMING = re.compile(rb"h2|http|tls")  # protocols that name hosts of their own, so that ours would not be the last word
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")
# One of up to 32 bytes costs no more on record with its data than without: two pieces would have to be told apart.
_SMALL_CHUNK = re.compile(rb"([1-9A-Fa-f]|1[0-9A-Fa-f]|20)\r\n")
_FIELD_NAME = re.compile(rb"[0-9A-Za-z!#$%&'*+.^_`|~-]+:")  # a token and nothing else (RFC 9112, 5.1)
_BODIES = frozenset((b"POST", b"PUT", b"PATCH"))  # methods whose body every server reads
_HALF_LINE_END = re.compile(rb"(?<!\r)\n|\r[^\n]")

_LONGEST_NAME = 253  # bytes of a Host that are looked at (RFC 1035, 2.3.4, as text)
_LONGEST_LINE = 65536  # bytes; Python's own server takes no longer request line, nobody so long a chunk's header
_LONGEST_TRAILER = 8192  # bytes of a trailer section; servers take no more of a line
_MOST_BLANKS = 8192  # bytes of empty lines before a request; no client sends more than two, some servers skip any
_MOST_BYTES = 1 << 24  # heads have no limit of their own: [inspect] max_bytes is theirs


def _classify(prefix: bytes) -> Answer:
    """A request's head, from its first byte (or from the empty lines that may come first)."""
    start = _BLANK.match(prefix).end()  # type: ignore[union-attr]  # it matches the empty string
    if start > _MOST_BLANKS:
        return flawed(prefix, "no request behind the empty lines")
    if start == len(prefix):
        return NEED_MORE
    method = _method(prefix, start)
    if method is None:
        return _doubtful(prefix, start=start, seen=start)
    line_end = prefix.find(b"\n", method.end())
    if line_end < 0:
        return NEED_MORE
    words = prefix[start:line_end].split()
    if not any(word[:5].upper() == b"HTTP/" for word in words[1:]):
        return _unversioned(prefix, words, method.group(), prefix[method.end() : line_end].strip(_BETWEEN))
    return _versioned(prefix, words, line_end)


def _method(prefix: bytes, start: int) -> re.Match[bytes] | None:
    """A method, and behind it its end or a blank."""
    method = _METHOD.match(prefix, start)
    ends = method is not None and (method.end() == len(prefix) or prefix[method.end()] in _BETWEEN)
    return method if ends else None


def _no_method(prefix: bytes) -> int:
    """Where the first word begins, if it is certain that it is none; -1."""
    start = _BLANK.match(prefix).end()  # type: ignore[union-attr]  # it matches the empty string
    return -1 if start > _MOST_BLANKS or start == len(prefix) or _method(prefix, start) is not None else start


def _doubtful(prefix: bytes, *, start: int, seen: int) -> Answer:
    """A first line that begins with no method: another protocol's, most likely. But Python's own server takes whatever
    stands there for one, and servers that are built on it ask no more than that; so the line's end tells. Before
    ``seen`` there is none."""
    line_end = prefix.find(b"\n", seen, start + _LONGEST_LINE)
    if line_end < 0:
        doubt = Glimpse("", then=partial(_doubtful, start=start, seen=len(prefix)))
        return doubt if len(prefix) < start + _LONGEST_LINE else NO_MATCH
    if VERSIONED.search(prefix, start, line_end) is None:
        return NO_MATCH
    return _versioned(prefix, prefix[start:line_end].split(), line_end)


def _versioned(prefix: bytes, words: list[bytes], line_end: int) -> Answer:
    """A head whose first line is there, with a version."""
    target = _names(_hosts(words[0].upper(), b" ".join(words[1:-1]), {}))
    return _head(prefix, words=words, first=line_end, seen=line_end, searched=line_end, names=target)


def _head(  # noqa: PLR0913  each says how far something has got
    prefix: bytes, *, words: list[bytes], first: int, seen: int, searched: int, names: tuple[str, ...] = ()
) -> Answer:
    """The head whose first line, of these words, ends at ``first``. The lines up to the one that ends at ``seen`` have
    been read; ``names`` were found in them and are not told yet. Before ``searched`` the head does not end."""
    head_end = HEAD_END.search(prefix, searched)
    if head_end is not None:
        return _request(words, prefix[first + 1 : head_end.start() + 1], head_end.end())
    last = max(seen, prefix.rfind(b"\n", searched))
    names += _names([host.strip(b" \t\r") for host in _HOST_LINE.findall(prefix, seen, last + 1)])
    then = partial(_head, words=words, first=first, seen=last, searched=max(last, len(prefix) - 2))
    return Glimpse("http", names, _attributes(words), then)


def _unversioned(prefix: bytes, words: list[bytes], method: bytes, target: bytes) -> Classification | Pending:
    """A first line without "HTTP/" in its place. Some servers read it all the same, as HTTP/0.9: nginx answers at once,
    for the host in the target; Node.js waits for fields, and takes the Host from there. Or it is no request at all."""
    if _LIKE_HTTP.fullmatch(words[-1]):
        return flawed(prefix, "another protocol's version")
    if not target:
        return NO_MATCH
    if len(words) > 2 and _OTHER.fullmatch(words[-1]):
        head_end = HEAD_END.search(prefix, prefix.index(words[-1]))
        hosts = fields_of(prefix[: head_end.start()]).get(b"host", []) if head_end is not None else []
        if hosts:  # which only a request has
            return Classification("http", _names(hosts), {}, flaw="another protocol's version", length=len(prefix))
        return NEED_MORE if head_end is None else NO_MATCH
    connects = method == b"CONNECT" and _IN_AUTHORITY.fullmatch(target) is not None  # NATS says CONNECT {"json"}
    if not (connects or method == b"GET" or _TARGET.match(target) or b"HTTP/" in target.upper()):
        return NO_MATCH
    names = _names(_hosts(method.upper(), target, {}))
    return Classification("http", names, {"method": _printable(method), "url": _printable(target)},
                          "no version in the request line", len(prefix))


def _request(words: list[bytes], lines: bytes, length: int) -> Classification:
    """A whole head: its first line's words, its other lines; ``length`` counts from the start of the unit."""
    method, target, version = words[0], b" ".join(words[1:-1]), words[-1]
    fields = fields_of(lines)
    hosts = _hosts(method.upper(), target, fields)
    flaw = next((f"{_printable(host[:64])!r} is not a host" for host in hosts if not _is_host(host)), "")
    if not target or _VERSION.fullmatch(version) is None or _METHOD.fullmatch(method) is None:
        flaw = "not a request line of HTTP/1"
    elif _broken(lines):
        flaw = "a field over two lines, or a bare CR or NUL"
    skip, then, uncertain = _framing(method, version, fields, lines)
    confirm = _leaves(method, fields)
    if confirm is not None and isinstance(then, _Unread):
        uncertain = "a body where none belongs"
    elif then is _next_request and _offers(fields).strip(b" \t").lower() == b"websocket":
        then = RequestOrFrame(_next_request)
    return Classification("http", _names(hosts), _attributes(words), flaw or uncertain, length, skip, confirm,
                          hold=confirm is not None, then=then)


def _framing(
    method: bytes, version: bytes, fields: dict[bytes, list[bytes]], lines: bytes
) -> tuple[int, Classify, str]:
    """The bytes of the body that nobody need look at, what reads on behind them, and why its end is not certain, or "".
    Where it is not, servers do not agree (RFC 9112, 6.1 and 6.3), so there is no next head."""
    lengths = fields.get(b"content-length", [])
    if FRAMING.isdisjoint(fields):
        return 0, _next_request, ""
    if not all(_FIELD_NAME.match(line) for line in lines.splitlines()):
        # Python's own server takes the first line that is no field for the head's end, and sees no length behind it.
        return 0, _next_request, "a body without a certain end"
    if b"transfer-encoding" in fields:
        last = fields[b"transfer-encoding"][-1].lower().rpartition(b",")[2].strip(b" \t")
        certain = not lengths and version != b"HTTP/1.0" and last == b"chunked"
        return 0, _chunk, "" if certain else "a body without a certain end"
    size = number(lengths[0])
    if size < 0 or len(set(lengths)) > 1:
        return 0, _next_request, "Content-Length is not one number"
    return (size, _next_request, "") if method in _BODIES or not size else (0, _Unread(size), "")


def _hosts(method: bytes, target: bytes, fields: dict[bytes, list[bytes]]) -> list[bytes]:
    """Everything in a head that names a host (RFC 9112, 3.2)."""
    hosts = list(fields.get(b"host", []))
    if (absolute := _AUTHORITY.match(target)) is not None:
        hosts.append(absolute[1])
    elif method == b"CONNECT":
        hosts.append(target)
    return hosts


def _names(hosts: list[bytes]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in map(_name, hosts) if name))


def _attributes(words: list[bytes]) -> dict[str, str]:
    return {"method": _printable(words[0]), "url": _printable(b" ".join(words[1:-1]))}


def _leaves(method: bytes, fields: dict[bytes, list[bytes]]) -> Confirm | None:
    """What reads the answer to a request to leave HTTP/1; None: it is not one."""
    if method == b"CONNECT":
        return tunnelled
    offers = _offers(fields)
    if not offers or _NAMING.search(offers.lower()) is not None:
        return None
    return upgraded_head if method == b"HEAD" else upgraded


def _broken(lines: bytes) -> bool:
    """True with a field that goes on in the next line (RFC 9112, 5.2), or with what some servers take for a line's end
    (2.2): a bare CR, a NUL."""
    return (lines.count(b"\r") != lines.count(b"\r\n") or b"\0" in lines or b"\n " in lines or b"\n\t" in lines
            or lines[:1] in (b" ", b"\t"))


def _offers(fields: dict[bytes, list[bytes]]) -> bytes:
    """The protocols that a request would change to."""
    return b",".join(fields.get(b"upgrade", []))


def _next_request(prefix: bytes) -> Answer:
    """A request on a flow that already spoke HTTP: nothing else may follow."""
    answer = _classify(prefix) if _no_method(prefix) < 0 else NO_MATCH
    return answer if answer is not NO_MATCH else flawed(prefix, "no request where one should begin")


def _request_at_once(prefix: bytes) -> Answer:
    """As above, where a blank in front would end a line that a server may have taken for a request's."""
    return flawed(prefix, "a request for a body") if _BLANK.match(prefix, 0, 1)[0] else _next_request(prefix)  # type: ignore[index]  # it matches the empty string


@dataclass(frozen=True, slots=True)
class _Unread:
    """The body, of so many bytes, of a request that should have none: some servers do not read it, but take it for the
    next request. So it may not begin as one."""

    length: int

    def __call__(self, prefix: bytes) -> Answer:
        body = prefix[: self.length]
        if (start := _no_method(body)) >= 0:
            line = _LineOfBody(self.length - start)
            return Step(start, 0, line) if start else line(prefix)
        found = _classify(body)
        if found is NEED_MORE and len(prefix) < self.length:
            return NEED_MORE
        word = body.strip(_BETWEEN + b"\n")
        if found is NO_MATCH or (found is NEED_MORE and (not word or _METHOD.fullmatch(word))):
            return Step(len(body), self.length - len(body), _next_request)
        return flawed(prefix, "a request for a body")


@dataclass(frozen=True, slots=True)
class _LineOfBody:
    """The first line of a body that should not be, of which ``left`` bytes are to come. It begins with no method, but
    to some servers that is one (``_doubtful``). ``before``: what may begin, or is, its version."""

    left: int
    before: bytes = b""

    def __call__(self, prefix: bytes) -> Answer:
        body = prefix[: self.left]
        line, end, _ = (self.before + body).partition(b"\n")
        version = VERSIONED.search(line)
        if end and version is None:
            return Step(len(body), self.left - len(body), _next_request)
        size = len(line) - len(self.before)
        if end and not size:
            return flawed(prefix, "a request for a body")
        if size == self.left:
            return Step(size, 0, _next_request if version is None else _request_at_once)
        return Step(size, 0, _LineOfBody(self.left - size, line[-PART:] if version is None else version[0]))


def _is_host(host: bytes) -> bool:
    match = _HOST.fullmatch(host)
    return match is not None and len(match[1].removesuffix(b".")) <= _LONGEST_NAME


def _name(host: bytes) -> str:
    """A host without port, brackets and trailing dot, lower case; of what is none, as much as is worth showing."""
    if (match := _HOST.fullmatch(host)) is not None:
        host = match[1]
    else:
        front, colon, port = host.rpartition(b":")
        if colon and b":" not in front and port.isdigit():
            host = front
    return _printable(host[:_LONGEST_NAME].strip(b"[]")).lower().removesuffix(".")


def _chunk(prefix: bytes) -> Answer:
    """One chunk of a body, or the last one and its trailer section (RFC 9112, 7.1). Line ends are CRLF: servers do not
    agree on a bare LF here."""
    if small := _small_chunks(prefix):
        return Step(small, 0, _chunk)
    line_end = prefix.find(b"\n")
    if line_end < 0:
        return NEED_MORE if len(prefix) < _LONGEST_LINE else flawed(prefix, "no chunk size")
    size = _CHUNK_SIZE.fullmatch(prefix, 0, line_end + 1)
    if size is None or b"HTTP/" in size[0].upper():  # to a server that reads no bodies it may be a request line
        return flawed(prefix, "no chunk size")
    if length := int(size[1], 16):
        return Step(size.end(), length, _chunk_end)
    trailer, end, _ = prefix[line_end - 1 :].partition(b"\r\n\r\n")
    longest = _LONGEST_TRAILER if end else _LONGEST_TRAILER + 3  # of its end there may be three bytes
    if len(trailer) > longest or _HALF_LINE_END.search(trailer + end):
        return flawed(prefix, "a trailer section without a certain end")
    return Step(line_end - 1 + len(trailer) + len(end), 0, _next_request) if end else NEED_MORE


def _small_chunks(prefix: bytes) -> int:
    """The bytes of the small chunks that are wholly there: together they cost no more than one."""
    end = 0
    while (size := _SMALL_CHUNK.match(prefix, end)) is not None:
        data_end = size.end() + int(size[1], 16)
        if prefix[data_end : data_end + 2] != b"\r\n":
            break
        end = data_end + 2
    return end


def _chunk_end(prefix: bytes) -> Answer:
    """The line end behind a chunk's data."""
    if prefix == b"\r":
        return NEED_MORE
    return Step(2, 0, _chunk) if prefix[:2] == b"\r\n" else flawed(prefix, "a chunk longer than its size")


def _printable(text: bytes) -> str:
    return text.decode("ascii", "backslashreplace")


classifier = Classifier(name="http", protocol="http", version="1", needs=_MOST_BYTES, classify=_classify)
