"""HTTP/1.x: the host of each request on a flow (RFC 9112).

A unit is a request's head; its body is opaque and skipped by its framing, so that the next head is found where the
server will look for it.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Final

from nfqdpi.core.classifier import (
    NEED_MORE,
    NO_MATCH,
    Answer,
    Classification,
    Classifier,
    Confirm,
    Glimpse,
    Pending,
)
from nfqdpi.plugins.http_answer import HEAD_END, fields_of, tunnelled, upgraded, upgraded_head
from nfqdpi.plugins.http_body import NextRequest, Unread, framing
from nfqdpi.plugins.http_line import BETWEEN, LONGEST_LINE, METHOD, MOST_BLANKS, VERSIONED, blanks, flawed, method_at
from nfqdpi.plugins.http_ordinary import LONGEST_NAME, ordinary
from nfqdpi.plugins.http_websocket import RequestOrFrame

# Every pattern, in the parts as well, reads its text once: none has two neighbours that could share what they match.
_VERSION = re.compile(rb"HTTP/1\.\d")
_HOST_LINE = re.compile(rb"\n[ \t\r\x0b\x0c]*host[ \t\r\x0b\x0c]*:([^\n]*)(?=\n)", re.IGNORECASE)
_AUTHORITY = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#@]*@)?([^/?#]*)")
_TARGET = re.compile(rb"/|\*(?:\s|$)|[A-Za-z][A-Za-z0-9+.-]*://")  # what only a request line has (RFC 9112, 3.2)
_IN_AUTHORITY = re.compile(rb"[0-9A-Za-z\[\]:_.~!$&'()*+,;=%@-]+")  # (RFC 3986, 3.2)
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?|)(?::\d*)?")
_LIKE_HTTP = re.compile(rb"(?:RTSP|ICE)/\d\.\d")  # protocols made after HTTP that Node.js's reader takes as well
_OTHER = re.compile(rb"[A-Z]+/\d\.\d")  # those that no server of HTTP takes: SIP/2.0
_NAMING = re.compile(rb"h2|http|tls")  # protocols that name hosts of their own, so that ours would not be the last word

_MOST_BYTES = 1 << 24  # heads have no limit of their own: [inspect] max_bytes is theirs


def _classify(prefix: bytes) -> Answer:
    """A request's head, from its first byte (or from the empty lines that may come first)."""
    return ordinary(prefix, _next_request) or _any(prefix)


def _any(prefix: bytes) -> Answer:
    """A head of any kind."""
    start = blanks(prefix)
    if start > MOST_BLANKS:
        return flawed(prefix, "no request behind the empty lines")
    if start == len(prefix):
        return NEED_MORE
    method = method_at(prefix, start)
    if method is None:
        return _doubtful(prefix, start)
    line_end = prefix.find(b"\n", method.end())
    if line_end < 0:
        return NEED_MORE
    words = prefix[start:line_end].split()
    if not any(word[:5].upper() == b"HTTP/" for word in words[1:]):
        return _unversioned(prefix, words, method.group(), prefix[method.end() : line_end].strip(BETWEEN))
    return _versioned(prefix, words, line_end)


def _doubtful(prefix: bytes, start: int) -> Answer:
    """A first line that begins with no method: another protocol's, most likely. But Python's own server takes whatever
    stands there for one, and servers that are built on it ask no more than that; so the line's end tells."""
    text = prefix.decode("latin-1")
    line_end = text.find("\n", start, start + LONGEST_LINE)
    if line_end < 0:
        doubt = Glimpse("", then=partial(_doubtful, start=start) if start else None)
        return doubt if len(prefix) < start + LONGEST_LINE else NO_MATCH
    slash = text.find("/", start + 1, line_end)
    if slash < 0 or (text.find("P/", slash - 1, line_end) < 0 and text.find("p/", slash - 1, line_end) < 0):
        return NO_MATCH  # as nearly always
    line = prefix[start:line_end]
    return NO_MATCH if VERSIONED.search(line) is None else _versioned(prefix, line.split(), line_end)


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
    if not target or _VERSION.fullmatch(version) is None or METHOD.fullmatch(method) is None:
        flaw = "not a request line of HTTP/1"
    elif _broken(lines):
        flaw = "a field over two lines, or a bare CR or NUL"
    skip, then, uncertain = framing(method, version, fields, lines, _next_request)
    confirm = _leaves(method, fields)
    if confirm is not None and isinstance(then, Unread):
        uncertain = "a body where none belongs"
    elif then is _next_request and _offers(fields).strip(b" \t").lower() == b"websocket":
        then = RequestOrFrame(_next_request)
    return Classification("http", _names(hosts), _attributes(words), flaw or uncertain, length, skip, confirm,
                          hold=confirm is not None, then=then)


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


def _is_host(host: bytes) -> bool:
    match = _HOST.fullmatch(host)
    return match is not None and len(match[1].removesuffix(b".")) <= LONGEST_NAME


def _name(host: bytes) -> str:
    """A host without port, brackets and trailing dot, lower case; of what is none, as much as is worth showing."""
    if (match := _HOST.fullmatch(host)) is not None:
        host = match[1]
    else:
        front, colon, port = host.rpartition(b":")
        if colon and b":" not in front and port.isdigit():
            host = front
    return _printable(host[:LONGEST_NAME].strip(b"[]")).lower().removesuffix(".")


def _printable(text: bytes) -> str:
    return text.decode("ascii", "backslashreplace")


_next_request: Final = NextRequest(_any)
classifier = Classifier(name="http", protocol="http", version="1", needs=_MOST_BYTES, classify=_classify)
