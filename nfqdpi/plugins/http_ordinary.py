"""HTTP/1.x: heads as browsers and programs send them, read in a fifth of the time that others take."""

from __future__ import annotations

from typing import Final

from nfqdpi.core.classifier import Classification, Classify
from nfqdpi.core.wire import u16

LONGEST_NAME: Final = 253  # bytes of a Host that are looked at (RFC 1035, 2.3.4, as text)
_LONGEST_HEAD: Final = 8192  # bytes; what may be behind a head costs nothing then
_A: Final = 0x41
_Z: Final = 0x5A
_SPACE: Final = 0x20
_DOT: Final = 0x2E
_COLON: Final = 0x3A
# The third and the fourth letter of Host, Upgrade, Content-Length and Transfer-Encoding, which few other fields have.
_ST: Final = 0x5354
_GR: Final = 0x4752
_NT: Final = 0x4E54
_AN: Final = 0x414E
_UPPER: Final = 0xDFDF  # bits of two letters without their case
_HARMLESS: Final = b"Upgrade-Insecure-Requests:"  # one of the few, which browsers send
_VISIBLE: Final = bytes(byte if 0x21 <= byte <= 0x7E else 0 for byte in range(256))
# What may be in a name, in lower case; all else as what ends it.
_NAME: Final = b"".join(bytes((byte,)).lower() if bytes((byte,)).isalnum() or byte in b"-_." else b":"
                        for byte in range(256))


def ordinary(prefix: bytes, request: Classify) -> Classification | None:
    """A whole head that names one host, and has nothing that would change what follows: ``request`` does. None: it is
    of another kind, or not certainly of this one."""
    if not prefix or not _A <= prefix[0] <= _Z:
        return None
    text = (prefix if len(prefix) <= _LONGEST_HEAD else prefix[:_LONGEST_HEAD]).decode("latin-1")
    end, blank = text.find("\n"), text.find(" ")
    if not 0 < blank < end - 10:  # so that no slice below ends before it begins
        return None
    method, url = text[:blank], prefix[blank + 1 : end - 10]
    if (prefix[end - 10 : end + 1] not in (b" HTTP/1.1\r\n", b" HTTP/1.0\r\n") or not url.startswith(b"/")
            or method not in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")
            or url.translate(_VISIBLE) != url or "\0" in text):
        return None
    length, name = _fields(prefix, text, end + 1)
    if not length:
        return None
    return Classification("http", (name,), {"method": method, "url": text[blank + 1 : end - 10]}, length=length,
                          then=request)


def _fields(prefix: bytes, text: str, at: int) -> tuple[int, str]:
    """Where the fields end that begin there, and the host that they name; 0: they are not ordinary, or go on."""
    name = ""
    while True:
        end = text.find("\n", at)
        if end <= at or text.find("\r", at) != end - 1:  # a bare CR or LF ends a line to some servers only
            return 0, ""
        if end == at + 1:
            return end + 1 if name else 0, name
        if prefix[at] <= _SPACE:  # blanks may stand in front of a name, or a line go on
            return 0, ""
        if end > at + 4 and u16(prefix, at + 2) & _UPPER in (_ST, _GR, _NT, _AN):
            if prefix[at : at + 6] in (b"Host: ", b"host: "):
                if name or not (name := _name(prefix[at + 6 : end - 1])):
                    return 0, ""
            elif prefix[at : at + 26] != _HARMLESS:
                return 0, ""
        at = end + 1


def _name(host: bytes) -> str:
    """A host in lower case and without its port; "": it is none, or an address in brackets, or ends in a dot."""
    name = host.translate(_NAME).decode("latin-1")
    if ":" in name:
        name, _, port = name.partition(":")
        if host[len(name)] != _COLON or (port and not port.isdigit()):
            return ""
    if not name or ".." in name or host[0] == _DOT or host[len(name) - 1] == _DOT or len(name) > LONGEST_NAME:
        return ""
    return name
