"""TLS: the server name of a ClientHello, over any number of segments and records (RFC 8446, RFC 6066).

Frame first (``_handshake``: is the whole message here?), then parse strictly (``_client_hello``).
"""

from __future__ import annotations

import re

from nfqdpi.core.classifier import NEED_MORE, NO_MATCH, Classification, Classifier, Pending, Reply, Step
from nfqdpi.core.wire import Malformed, Reader

# --- the protocol's constants (RFC 8446, 4 and 5.1; RFC 8701 for GREASE) ---
_CHANGE_CIPHER_SPEC, _ALERT, _HANDSHAKE, _APPLICATION_DATA = 20, 21, 22, 23
_RECORD_TYPES = (_CHANGE_CIPHER_SPEC, _ALERT, _HANDSHAKE, _APPLICATION_DATA)
_RECORD_HEADER, _MESSAGE_HEADER = 5, 4
_MAX_RECORD = 1 << 14
_CLIENT_HELLO, _SERVER_HELLO = 1, 2
_SERVER_NAME, _ALPN, _SUPPORTED_VERSIONS = 0, 16, 43
_HOST_NAME = 0
_RANDOM = 32
_HELLO_RETRY_RANDOM = bytes.fromhex(  # RFC 8446, 4.1.3: SHA-256 of "HelloRetryRequest"
    "cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c"
)
_VERSIONS = {0x0300: "SSL 3.0", 0x0301: "TLS 1.0", 0x0302: "TLS 1.1", 0x0303: "TLS 1.2", 0x0304: "TLS 1.3"}

# A host name in A-labels, or an IP literal (RFC 6066, 3 forbids those, clients send them all the same).
_HOST = re.compile(rb"(?=.{1,253}\.?\Z)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*")

# --- our limit ---
# 2^24 is the message's own, and no server takes it: OpenSSL stops at 128 KiB, others before that.
_MOST_BYTES = 1 << 17
_LONGEST_NAME = 253  # bytes of a name that are kept (RFC 1035, 2.3.4, as text)


def _handshake(prefix: bytes, first: int, start: int = 0) -> tuple[bytes, bytes, int] | Pending:
    """The body of the handshake message of type ``first``, what stands behind it in its last record, and where that
    record ends. A message may span records, a record must not be empty (RFC 8446, 5.1)."""
    message = bytearray()
    wanted = _MESSAGE_HEADER
    while len(message) < wanted:
        header = prefix[start : start + _RECORD_HEADER]
        if header and (header[0] != _HANDSHAKE or (len(header) > 1 and header[1] != 3)):  # the major version
            if message:
                raise Malformed("a handshake message is broken off by another record")
            return NO_MATCH
        if len(header) < _RECORD_HEADER:
            return NEED_MORE
        length = int.from_bytes(header[3:], "big")
        if not 0 < length <= _MAX_RECORD:
            raise Malformed(f"a handshake record of {length} bytes")
        start += _RECORD_HEADER
        message += prefix[start : start + length]
        if message and message[0] != first:
            return NO_MATCH
        if len(message) >= _MESSAGE_HEADER:
            wanted = _MESSAGE_HEADER + int.from_bytes(message[1:_MESSAGE_HEADER], "big")
            if wanted > _MOST_BYTES:
                raise Malformed(f"a handshake message of {wanted} bytes")
        if start + length > len(prefix) and len(message) < wanted:
            return NEED_MORE
        start += length
    return bytes(message[_MESSAGE_HEADER:wanted]), bytes(message[wanted:]), start


def _client_hello(body: bytes, names: list[str], attributes: dict[str, str]) -> None:
    """Add the server names and the attributes of a ClientHello's body (RFC 8446, 4.1.2); up to its flaw, if it has one.
    """
    reader = Reader(body)
    version = reader.u16()
    reader.take(_RANDOM)
    reader.vector(1)  # legacy_session_id
    reader.vector(2)  # cipher_suites
    reader.vector(1)  # legacy_compression_methods
    seen = set()
    extensions = Reader(reader.vector(2) if reader else b"")
    while extensions:
        kind, data = extensions.u16(), extensions.vector(2)
        if kind in seen:
            raise Malformed(f"extension {kind} twice")  # RFC 8446, 4.2
        seen.add(kind)
        if kind == _SERVER_NAME:
            _server_name(data, names)
        elif kind == _ALPN:
            attributes["alpn"] = ",".join(_printable(name) for name in _alpn(data))
        elif kind == _SUPPORTED_VERSIONS:
            offered = Reader(Reader(data).vector(1))
            while offered:
                if (one := offered.u16()) in _VERSIONS:  # GREASE values are in no table
                    version = max(version, one)
    if reader:
        raise Malformed("bytes behind the extensions")
    attributes["version"] = _VERSIONS.get(version, f"{version:#06x}")


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


def _alpn(data: bytes) -> list[bytes]:
    """ProtocolNameList (RFC 7301, 3.1)."""
    names = []
    reader = Reader(Reader(data).vector(2))
    while reader:
        names.append(reader.vector(1))
    return names


def _printable(name: bytes) -> str:
    return name.decode("ascii", "backslashreplace")


def _classify(prefix: bytes) -> Classification | Step | Pending:
    """A stream's first ClientHello."""
    if prefix[0] != _HANDSHAKE:
        if prefix[0] in _RECORD_TYPES and len(prefix) == 1:
            return NEED_MORE
        if prefix[0] in _RECORD_TYPES and prefix[1] == 3:  # the major version
            # Some servers overlook a stray record and read the hello behind it.
            return Classification("tls", flaw="no ClientHello first", length=len(prefix))
        return NO_MATCH
    return _hello(prefix)


def _second_hello(prefix: bytes) -> Classification | Step | Pending:
    """What follows a HelloRetryRequest: change_cipher_spec, refused early data, then the second ClientHello
    (RFC 8446, 4.1.2 and D.4); or an alert."""
    if prefix[0] in (_CHANGE_CIPHER_SPEC, _APPLICATION_DATA, _ALERT):
        if len(prefix) < _RECORD_HEADER:
            return NEED_MORE
        return Step(_RECORD_HEADER, int.from_bytes(prefix[3:_RECORD_HEADER], "big"), _second_hello)
    hello = _hello(prefix)
    return hello if hello is not NO_MATCH else Classification("tls", flaw="no second ClientHello", length=len(prefix))


def _hello(prefix: bytes) -> Classification | Pending:
    names: list[str] = []
    attributes: dict[str, str] = {}
    flaw = ""
    try:
        framed = _handshake(prefix, _CLIENT_HELLO)
        if isinstance(framed, Pending):
            return framed
        body, behind, end = framed
        if end > len(prefix):
            return NEED_MORE  # a server reads whole records
        _client_hello(body, names, attributes)
        if behind:
            flaw = "bytes behind the ClientHello in its record"  # RFC 8446, 5.1
    except Malformed as error:
        flaw = str(error)
    if flaw:
        return Classification("tls", tuple(names), attributes, flaw, len(prefix))
    return Classification("tls", tuple(names), attributes, length=end, confirm=_server_hello, then=_second_hello)


def _server_hello(prefix: bytes) -> Reply | Pending:
    """Accepted: a ServerHello that is not a HelloRetryRequest (RFC 8446, 4.1.3 and 4.1.4)."""
    start = 0
    # A server may put change_cipher_spec between its HelloRetryRequest and its ServerHello (RFC 8446, D.4).
    while prefix[start : start + 1] == bytes((_CHANGE_CIPHER_SPEC,)):
        start += _RECORD_HEADER + int.from_bytes(prefix[start + 3 : start + _RECORD_HEADER], "big")
    try:
        framed = _handshake(prefix, _SERVER_HELLO, start)
    except Malformed:
        return NEED_MORE  # never: the flow stays with us, and the client gets what the server says
    if isinstance(framed, Pending):
        return NEED_MORE
    body, _, end = framed
    if len(body) < 2 + _RANDOM:
        return NEED_MORE  # never, too
    return Reply(accepted=body[2 : 2 + _RANDOM] != _HELLO_RETRY_RANDOM, length=end)


classifier = Classifier(name="tls", protocol="tls", version="1", needs=_MOST_BYTES, classify=_classify)
