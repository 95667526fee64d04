"""A ClientHello, as TLS and QUIC carry it: its server name and what it tells of its client (RFC 8446, RFC 6066).

Attributes: ``version`` (the highest offered), ``alpn`` (comma-separated), ``ja4`` (the client's fingerprint), and
``ech`` = "outer" where the hello carries an encrypted one (RFC 9849): its server name need not be the truth then, but
browsers send the extension as GREASE (RFC 8701) as well, and nobody on the path can tell the two apart.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from nfqdpi.core.wire import Malformed, Reader, u16
from nfqdpi.plugins.ja4 import is_grease, ja4

# --- the protocol's constants (RFC 8446, 4) ---
CLIENT_HELLO = 1  # the message's type
_SERVER_NAME: Final = 0
_SIGNATURE_ALGORITHMS, _ALPN, _SUPPORTED_VERSIONS, _ENCRYPTED_CLIENT_HELLO = 13, 16, 43, 0xFE0D
_READ: Final = frozenset((_SIGNATURE_ALGORITHMS, _ALPN, _SUPPORTED_VERSIONS, _ENCRYPTED_CLIENT_HELLO))
_HOST_NAME = 0
_ECH_OUTER = 0  # RFC 9849, 5
_SESSION_ID = 2 + 32  # where it stands in a hello, behind version and random
_VERSIONS = {0x0300: "SSL 3.0", 0x0301: "TLS 1.0", 0x0302: "TLS 1.1", 0x0303: "TLS 1.2", 0x0304: "TLS 1.3"}
_EXTENSION: Final = 4  # bytes of type and length
_ENTRY: Final = 5  # bytes in front of the first name of server_name: the list's length, a type, the name's length

# A host name in A-labels, or an IP literal (RFC 6066, 3 forbids those, clients send them all the same).
_HOST = re.compile(rb"(?=.{1,253}\.?\Z)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*")

# --- our limits ---
_USUAL = 4096  # bytes of a hello whose client is remembered
_REMEMBERED = 1024  # different clients; 4 MB if all are as long
_LONGEST_NAME = 253  # bytes of a name that are kept (RFC 1035, 2.3.4, as text)


def client_hello(body: bytes, names: list[str], attributes: dict[str, str], transport: str = "t") -> None:
    """Add the server names and the attributes of a ClientHello's body (RFC 8446, 4.1.2); up to its flaw, if it has one:
    Malformed. ``transport`` is JA4's letter for what carries it."""
    session_id = _vector(body, _SESSION_ID, 1)
    ciphers = _vector(body, session_id[1], 2)
    compression = _vector(body, ciphers[1], 1)
    at, stop = compression[1], len(body)
    if at < stop:
        at, stop = _vector(body, at, 2)
    kinds, known = _extensions(body, at, stop, names)
    if len(set(kinds)) < len(kinds):
        raise Malformed("an extension stands twice")  # RFC 8446, 4.2
    if stop < len(body):
        raise Malformed("bytes behind the extensions")
    # What browsers vary from flow to flow, the order and GREASE, is no part of what is remembered.
    first, end = ciphers
    offered = body[first + _leading_grease(body, first, end) : end]
    sorted_kinds = tuple(sorted([kind for kind in kinds if not is_grease(kind)]))
    tell = _known_client if len(body) <= _USUAL else _client
    version = _version(known.get(_SUPPORTED_VERSIONS), u16(body, 0))
    attributes |= tell(transport, version, offered, sorted_kinds, known.get(_ALPN),
                       known.get(_SIGNATURE_ALGORITHMS, b""))
    if known.get(_ENCRYPTED_CLIENT_HELLO, b"\xff")[:1] == bytes((_ECH_OUTER,)):
        attributes["ech"] = "outer"


def _client(  # noqa: PLR0913, PLR0917  a hello's parts
    transport: str, version: int, ciphers: bytes, kinds: tuple[int, ...], alpn: bytes | None, signatures: bytes,
) -> dict[str, str]:
    """The attributes that follow from what all hellos of a client have in common."""
    protocols = _alpn(alpn)
    attributes = {"version": _VERSIONS.get(version, f"{version:#06x}")}
    if protocols:
        attributes["alpn"] = ",".join(map(_printable, protocols))
    attributes["ja4"] = ja4(version, ciphers, kinds, protocols, signatures, transport)
    return attributes


_known_client = lru_cache(maxsize=_REMEMBERED)(_client)


def _extensions(body: bytes, at: int, stop: int, names: list[str]) -> tuple[list[int], dict[int, bytes]]:
    """The types of all extensions in their order, and the contents of those that are read here; names are added."""
    kinds: list[int] = []
    known: dict[int, bytes] = {}
    while at < stop:
        start = at + _EXTENSION
        if start > stop:
            raise Malformed("an extension is cut off")
        kind = u16(body, at)
        at = start + u16(body, at + 2)
        if at > stop:
            raise Malformed(f"extension {kind} is cut off")
        kinds.append(kind)
        if kind == _SERVER_NAME:
            _server_name(body[start:at], names)
        elif kind in _READ:
            known[kind] = body[start:at]
    return kinds, known


def _vector(body: bytes, at: int, length_size: int) -> tuple[int, int]:
    """Where the contents of a variable-length vector (RFC 8446, 3.4) begin and end."""
    start = at + length_size
    if start > len(body):
        raise Malformed("the hello is cut off")
    end = start + (body[at] if length_size == 1 else u16(body, at))
    if end > len(body):
        raise Malformed("the hello is cut off")
    return start, end


def _server_name(data: bytes, names: list[str]) -> None:
    """Add the one host_name of a server_name extension (RFC 6066, 3), or the several that break the rule."""
    size = len(data)
    if size > _ENTRY and data[2] == _HOST_NAME and u16(data, 0) == size - 2 and u16(data, 3) == size - _ENTRY:
        _host_name(data[_ENTRY:], names)  # one, as nearly always
        return
    reader = Reader(data)
    entries = Reader(reader.vector(2))
    kinds = []
    while entries:
        kind, name = entries.u8(), entries.vector(2)
        kinds.append(kind)
        if kind == _HOST_NAME:
            _host_name(name, names)
    if kinds != [_HOST_NAME] or reader:
        raise Malformed("server_name is not one host_name")


def _host_name(name: bytes, names: list[str]) -> None:
    if name:
        names.append(_printable(name[:_LONGEST_NAME]).lower().removesuffix("."))
    if not _HOST.fullmatch(name):
        raise Malformed(f"server_name {name[:64]!r} is not a host name")


@lru_cache(maxsize=_REMEMBERED)
def _version(offers: bytes | None, legacy: int) -> int:
    """The highest of supported_versions that anybody knows (RFC 8446, 4.2.1); GREASE values are none of them. Without
    any, the ``legacy`` one that stands in front of the hello."""
    offered = Reader(offers).vector(1) if offers is not None else b""
    if len(offered) % 2:
        raise Malformed("half a version")
    versions = [u16(offered, at) for at in range(0, len(offered), 2)]
    return max([version for version in versions if version in _VERSIONS], default=legacy)


def _leading_grease(body: bytes, start: int, end: int) -> int:
    """The length of the GREASE value in front of a list of 16-bit numbers."""
    return 2 if end - start >= 2 and is_grease(u16(body, start)) else 0


def _alpn(data: bytes | None) -> list[bytes]:
    """ProtocolNameList (RFC 7301, 3.1)."""
    if data is None:
        return []
    names = []
    reader = Reader(Reader(data).vector(2))
    while reader:
        names.append(reader.vector(1))
    return names


def _printable(name: bytes) -> str:
    return name.decode("ascii", "backslashreplace")
