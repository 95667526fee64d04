"""HTTP/1.x: what makes a line a request's, and what is said of one that is none."""

from __future__ import annotations

import re

from nfqdpi.core.classifier import Classification

# Servers skip empty lines before a request (RFC 9112, 2.2), some skip blanks, Python's own whatever is one in Latin-1.
_BLANK = re.compile(rb"[ \t-\r\x1c-\x1f\x85\xa0]*")
METHOD = re.compile(rb"[0-9A-Za-z!#$%&'*+.^_`|~-]{1,8192}")  # a token (RFC 9110, 5.6.2); servers take no longer line
# What may stand between the words of a request line (RFC 9112, 3), and what Python's own server takes for it as well.
BETWEEN = b" \t\x0b\x0c\r" + b"\x1c\x1d\x1e\x1f\x85\xa0"
VERSIONED = re.compile(rb"[ \t\x0b\x0c\r\x1c-\x1f\x85\xa0]HTTP/", re.IGNORECASE)  # in any word behind the first
PART = 5  # bytes, the most of it that may stand at a cut

MOST_BLANKS = 8192  # bytes of empty lines before a request; no client sends more than two, some servers skip any
LONGEST_LINE = 65536  # bytes; Python's own server takes no longer request line, nobody so long a chunk's header


def blanks(prefix: bytes) -> int:
    """How many bytes stand in front of a first line."""
    return _BLANK.match(prefix).end()  # type: ignore[union-attr]  # it matches the empty string


def method_at(prefix: bytes, start: int) -> re.Match[bytes] | None:
    """A method, and behind it its end or a blank."""
    method = METHOD.match(prefix, start)
    ends = method is not None and (method.end() == len(prefix) or prefix[method.end()] in BETWEEN)
    return method if ends else None


def no_method(prefix: bytes) -> int:
    """Where the first word begins, if it is certain that it is none; -1."""
    start = blanks(prefix)
    return -1 if start > MOST_BLANKS or start == len(prefix) or method_at(prefix, start) is not None else start


def flawed(prefix: bytes, flaw: str) -> Classification:
    return Classification("http", flaw=flaw, length=len(prefix))
