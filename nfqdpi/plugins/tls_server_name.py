"""The server_name of a ClientHello (RFC 6066, 3)."""

from __future__ import annotations

import re
from string import ascii_lowercase, digits
from typing import Final

from nfqdpi.core.wire import Malformed, Reader, u16

# --- the protocol's constants ---
_HOST_NAME: Final = 0
_ENTRY: Final = 5  # bytes in front of the first name: the list's length, a type, the name's length

# A host name in A-labels, or an IP literal (RFC 6066, 3 forbids those, clients send them all the same).
_HOST = re.compile(rb"(?=.{1,253}\.?\Z)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*")
_LONGEST_LABEL: Final = 63
_DOT: Final = ord(".")
_OF_NAMES = f"{ascii_lowercase}{digits}-_.".encode()
_FOLDED: Final = bytes(byte if byte in _OF_NAMES else 0 for byte in bytes(range(256)).lower())  # a table for translate

# --- our limit ---
_LONGEST_NAME: Final = 253  # bytes of a name that are kept (RFC 1035, 2.3.4, as text)


def read_server_name(data: bytes, start: int, stop: int, names: list[str]) -> None:
    """Add the one host_name of the extension whose contents are ``data[start:stop]``, or the several that break the
    rule; up to its flaw, if it has one: Malformed."""
    size = stop - start
    if (size > _ENTRY and data[start + 2] == _HOST_NAME and u16(data, start) == size - 2
            and u16(data, start + 3) == size - _ENTRY):
        _add(data[start + _ENTRY : stop], names)  # one, as nearly always
        return
    reader = Reader(data[start:stop])
    entries = Reader(reader.vector(2))
    kinds = []
    while entries:
        kind, name = entries.u8(), entries.vector(2)
        kinds.append(kind)
        if kind == _HOST_NAME:
            _add(name, names)
    if kinds != [_HOST_NAME] or reader:
        raise Malformed("server_name is not one host_name")


def _add(name: bytes, names: list[str]) -> None:
    plain = name.translate(_FOLDED).decode("ascii")
    if (0 < len(name) <= _LONGEST_LABEL and name[0] != _DOT and name[-1] != _DOT
            and "\0" not in plain and ".." not in plain):
        names.append(plain)  # as nearly always
        return
    if name:
        names.append(printable(name[:_LONGEST_NAME]).lower().removesuffix("."))
    if not _HOST.fullmatch(name):
        raise Malformed(f"server_name {name[:64]!r} is not a host name")


def printable(name: bytes) -> str:
    """ASCII as it stands, other bytes escaped."""
    return name.decode("ascii", "backslashreplace")
