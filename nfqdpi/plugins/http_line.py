"""HTTP/1.x: what makes a line a request's, and what is said of one that is none."""

from __future__ import annotations

import re
from typing import Final

from nfqdpi.core.classifier import Classification

# Servers skip empty lines before a request (RFC 9112, 2.2), some skip blanks, Python's own whatever is one in Latin-1.
_BLANK: Final = re.compile(rb"[ \t-\r\x1c-\x1f\x85\xa0]*")
# A token (RFC 9110, 5.6.2); servers take no longer line.
METHOD: Final = re.compile(rb"[0-9A-Za-z!#$%&'*+.^_`|~-]{1,8192}")
# The same by their first bytes.
_BLANKS: Final = bytes(_BLANK.fullmatch(bytes((byte,))) is not None for byte in range(256))
_IN_METHOD: Final = bytes(METHOD.fullmatch(bytes((byte,))) is not None for byte in range(256))
# What may stand between the words of a request line (RFC 9112, 3), and what Python's own server takes for it as well.
BETWEEN: Final = b" \t\x0b\x0c\r" + b"\x1c\x1d\x1e\x1f\x85\xa0"
VERSIONED: Final = re.compile(rb"[ \t\x0b\x0c\r\x1c-\x1f\x85\xa0]HTTP/", re.IGNORECASE)  # in any word behind the first
PART: Final = 5  # bytes, the most of it that may stand at a cut

MOST_BLANKS: Final = 8192  # bytes of empty lines before a request; no client sends more than two, some servers skip any
LONGEST_LINE: Final = 65536  # bytes; Python's own server takes no longer request line, nobody so long a chunk's header


def blanks(prefix: bytes) -> int:
    """How many bytes stand in front of a first line."""
    if not prefix or not _BLANKS[prefix[0]]:  # as nearly always
        return 0
    return _BLANK.match(prefix).end()  # type: ignore[union-attr]  # it matches the empty string


def method_at(prefix: bytes, start: int) -> re.Match[bytes] | None:
    """A method, and behind it its end or a blank."""
    if not _IN_METHOD[prefix[start]]:  # as in other protocols' first bytes
        return None
    method = METHOD.match(prefix, start)
    ends = method is not None and (method.end() == len(prefix) or prefix[method.end()] in BETWEEN)
    return method if ends else None


def no_method(prefix: bytes) -> int:
    """Where the first word begins, if it is certain that it is none; -1."""
    start = blanks(prefix)
    return -1 if start > MOST_BLANKS or start == len(prefix) or method_at(prefix, start) is not None else start


def flawed(prefix: bytes, flaw: str) -> Classification:
    return Classification("http", flaw=flaw, length=len(prefix))
