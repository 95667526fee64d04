"""TLS: the server name of a ClientHello, over any number of segments and records (RFC 8446, RFC 6066).

Frame first (``_handshake``: is the whole message here?), then parse strictly (``client_hello``, QUIC's as well).

Attributes: ``version`` (the highest offered), ``alpn`` (comma-separated), ``ja4`` (the client's fingerprint), and
``ech`` = "outer" where the hello carries an encrypted one (RFC 9849): its server name need not be the truth then, but
browsers send the extension as GREASE as well, and nobody on the path can tell the two apart.
"""

from __future__ import annotations

import re
from functools import lru_cache, partial
from typing import Final, NamedTuple

from nfqdpi.core.classifier import (
    NEED_MORE,
    NO_MATCH,
    Answer,
    Classification,
    Classifier,
    Glimpse,
    Pending,
    Reply,
    Step,
)
from nfqdpi.core.wire import Malformed, Reader, u16
from nfqdpi.plugins.ja4 import is_grease, ja4

# --- the protocol's constants (RFC 8446, 4 and 5.1; RFC 8701 for GREASE) ---
_CHANGE_CIPHER_SPEC, _ALERT, _HANDSHAKE, _APPLICATION_DATA = 20, 21, 22, 23
_RECORD_TYPES = (_CHANGE_CIPHER_SPEC, _ALERT, _HANDSHAKE, _APPLICATION_DATA)
_RECORD_HEADER, _MESSAGE_HEADER = 5, 4
_MAX_RECORD = 1 << 14
CLIENT_HELLO, _SERVER_HELLO = 1, 2
_SERVER_NAME: Final = 0
_SIGNATURE_ALGORITHMS, _ALPN, _SUPPORTED_VERSIONS, _ENCRYPTED_CLIENT_HELLO = 13, 16, 43, 0xFE0D
_HOST_NAME = 0
_ECH_OUTER = 0  # RFC 9849, 5
_RANDOM = 32
_SESSION_ID = 2 + _RANDOM  # where it stands in a hello, behind version and random
_HELLO_RETRY_RANDOM = bytes.fromhex(  # RFC 8446, 4.1.3: SHA-256 of "HelloRetryRequest"
    "cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c"
)
_VERSIONS = {0x0300: "SSL 3.0", 0x0301: "TLS 1.0", 0x0302: "TLS 1.1", 0x0303: "TLS 1.2", 0x0304: "TLS 1.3"}
_EXTENSION: Final = 4  # bytes of type and length

# A host name in A-labels, or an IP literal (RFC 6066, 3 forbids those, clients send them all the same).
_HOST = re.compile(rb"(?=.{1,253}\.?\Z)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*")

# --- our limit ---
# 2^24 is the message's own, and no server takes it: OpenSSL stops at 128 KiB, others before that.
_MOST_BYTES = 1 << 17
_USUAL = 4096  # bytes of a hello whose client is remembered
_REMEMBERED = 1024  # different clients; 4 MB if all are as long
_LONGEST_NAME = 253  # bytes of a name that are kept (RFC 1035, 2.3.4, as text)


class _Begun(NamedTuple):
    """A handshake message of which ``message`` came in whole records, up to ``start``."""

    start: int
    message: bytes


class _Whole(NamedTuple):
    """A handshake message: its body, what stands ``behind`` it in its last record, and where that record ends."""

    body: bytes
    behind: bytes
    end: int


_NOTHING = _Begun(0, b"")


def _handshake(prefix: bytes, first: int, begun: _Begun, *, patient: bool) -> _Whole | _Begun | Pending:
    """Read a handshake message of type ``first`` on from what has begun; ``patient``: to the end of its last record.
    A message may span records, a record must not be empty (RFC 8446, 5.1)."""
    start, message = begun.start, bytearray(begun.message)
    wanted = _wanted(message)
    while len(message) < wanted:
        header = prefix[start : start + _RECORD_HEADER]
        if header and (header[0] != _HANDSHAKE or (len(header) > 1 and header[1] != 3)):  # the major version
            if message:
                raise Malformed("a handshake message is broken off by another record")
            return NO_MATCH
        if len(header) < _RECORD_HEADER:
            return _Begun(start, bytes(message))
        length = int.from_bytes(header[3:], "big")
        if not 0 < length <= _MAX_RECORD:
            raise Malformed(f"a handshake record of {length} bytes")
        before, end = len(message), start + _RECORD_HEADER + length
        message += prefix[start + _RECORD_HEADER : end]
        if message and message[0] != first:
            return NO_MATCH
        wanted = _wanted(message)
        if end > len(prefix) and (patient or len(message) < wanted):
            return _Begun(start, bytes(message[:before]))
        start = end
    return _Whole(bytes(message[_MESSAGE_HEADER:wanted]), bytes(message[wanted:]), start)


def _wanted(message: bytearray) -> int:
    """The length of the message that begins so; of its header, where that is not whole yet."""
    if len(message) < _MESSAGE_HEADER:
        return _MESSAGE_HEADER
    if (wanted := _MESSAGE_HEADER + int.from_bytes(message[1:_MESSAGE_HEADER], "big")) > _MOST_BYTES:
        raise Malformed(f"a handshake message of {wanted} bytes")
    return wanted


def _one_record(prefix: bytes, first: int) -> _Whole | None:
    """As ``_handshake``, for a whole message that is alone in a whole record: nearly always so, and several times as
    fast. None: look closer."""
    body = _RECORD_HEADER + _MESSAGE_HEADER
    if len(prefix) < body or prefix[0] != _HANDSHAKE or prefix[1] != 3 or prefix[_RECORD_HEADER] != first:
        return None
    length = u16(prefix, 3)
    end = _RECORD_HEADER + length
    message = prefix[6] << 16 | u16(prefix, 7)
    if length > _MAX_RECORD or message + _MESSAGE_HEADER != length or end > len(prefix):
        return None
    return _Whole(prefix[body:end], b"", end)


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
    attributes |= tell(transport, _version(body, known), offered, sorted_kinds, known.get(_ALPN),
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


_READ: Final = frozenset((_SIGNATURE_ALGORITHMS, _ALPN, _SUPPORTED_VERSIONS, _ENCRYPTED_CLIENT_HELLO))


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
    reader = Reader(data)
    entries = Reader(reader.vector(2))
    kinds = []
    while entries:
        kind, name = entries.u8(), entries.vector(2)
        kinds.append(kind)
        if kind == _HOST_NAME and name:
            names.append(_printable(name[:_LONGEST_NAME]).lower().removesuffix("."))
        if kind == _HOST_NAME and not _HOST.fullmatch(name):
            raise Malformed(f"server_name {name[:64]!r} is not a host name")
    if kinds != [_HOST_NAME] or reader:
        raise Malformed("server_name is not one host_name")


def _version(body: bytes, known: dict[int, bytes]) -> int:
    """The highest of supported_versions that anybody knows (RFC 8446, 4.2.1); GREASE values are none of them. Without
    any, the one that stands in front of the hello."""
    data = known.get(_SUPPORTED_VERSIONS)
    offered = Reader(data).vector(1) if data is not None else b""
    if len(offered) % 2:
        raise Malformed("half a version")
    versions = [u16(offered, at) for at in range(0, len(offered), 2)]
    return max([version for version in versions if version in _VERSIONS], default=u16(body, 0))


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


def _classify(prefix: bytes) -> Answer:
    """A stream's first ClientHello."""
    if prefix[0] != _HANDSHAKE:
        if prefix[0] in _RECORD_TYPES and len(prefix) == 1:
            return NEED_MORE
        if prefix[0] in _RECORD_TYPES and prefix[1] == 3:  # the major version
            # Some servers overlook a stray record and read the hello behind it.
            return Classification("tls", flaw="no ClientHello first", length=len(prefix))
        return NO_MATCH
    return _hello(prefix)


def _second_hello(prefix: bytes) -> Answer:
    """What follows a HelloRetryRequest: change_cipher_spec, refused early data, then the second ClientHello
    (RFC 8446, 4.1.2 and D.4); or an alert."""
    if prefix[0] in (_CHANGE_CIPHER_SPEC, _APPLICATION_DATA, _ALERT):
        if len(prefix) < _RECORD_HEADER:
            return NEED_MORE
        return Step(_RECORD_HEADER, int.from_bytes(prefix[3:_RECORD_HEADER], "big"), _second_hello)
    hello = _hello(prefix)
    return hello if hello is not NO_MATCH else Classification("tls", flaw="no second ClientHello", length=len(prefix))


def _hello(prefix: bytes, begun: _Begun = _NOTHING) -> Classification | Glimpse | Pending:
    names: list[str] = []
    attributes: dict[str, str] = {}
    flaw = ""
    try:
        whole = _one_record(prefix, CLIENT_HELLO) if begun is _NOTHING else None
        framed = whole or _handshake(prefix, CLIENT_HELLO, begun, patient=True)  # a server reads whole records
        if isinstance(framed, Pending):
            return framed
        if isinstance(framed, _Begun):
            return Glimpse("tls", then=partial(_hello, begun=framed)) if framed.start else NEED_MORE
        body, behind, end = framed
        client_hello(body, names, attributes)
        if behind:
            flaw = "bytes behind the ClientHello in its record"  # RFC 8446, 5.1
    except Malformed as error:
        flaw = str(error)
    if flaw:
        return Classification("tls", tuple(names), attributes, flaw, len(prefix))
    return Classification("tls", tuple(names), attributes, veiled="ech" in attributes, length=end,
                          confirm=_server_hello, then=_second_hello)


def _server_hello(prefix: bytes) -> Reply | Pending:
    """Accepted: a ServerHello that is not a HelloRetryRequest (RFC 8446, 4.1.3 and 4.1.4)."""
    start = 0
    # A server may put change_cipher_spec between its HelloRetryRequest and its ServerHello (RFC 8446, D.4).
    while prefix[start : start + 1] == bytes((_CHANGE_CIPHER_SPEC,)):
        start += _RECORD_HEADER + int.from_bytes(prefix[start + 3 : start + _RECORD_HEADER], "big")
    try:
        framed = _handshake(prefix, _SERVER_HELLO, _Begun(start, b""), patient=False)
    except Malformed:
        return NEED_MORE  # never: the flow stays with us, and the client gets what the server says
    if not isinstance(framed, _Whole):
        return NEED_MORE
    body, _, end = framed
    if len(body) < 2 + _RANDOM:
        return NEED_MORE  # never, too
    return Reply(accepted=body[2 : 2 + _RANDOM] != _HELLO_RETRY_RANDOM, length=end)


classifier = Classifier(name="tls", protocol="tls", version="1", needs=_MOST_BYTES, classify=_classify)
