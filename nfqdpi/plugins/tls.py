"""TLS: the ClientHello that a stream begins with, over any number of segments and records (RFC 8446).

Frame first (``_handshake``: is the whole message here?), then parse strictly (``client_hello``).
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

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
from nfqdpi.core.wire import Malformed, u16
from nfqdpi.plugins.tls_hello import CLIENT_HELLO, client_hello

# --- the protocol's constants (RFC 8446, 4 and 5.1) ---
_CHANGE_CIPHER_SPEC, _ALERT, _HANDSHAKE, _APPLICATION_DATA = 20, 21, 22, 23
_RECORD_TYPES = (_CHANGE_CIPHER_SPEC, _ALERT, _HANDSHAKE, _APPLICATION_DATA)
_RECORD_HEADER, _MESSAGE_HEADER = 5, 4
_MAX_RECORD = 1 << 14
_SERVER_HELLO = 2
_RANDOM = 32
_HELLO_RETRY_RANDOM = bytes.fromhex(  # RFC 8446, 4.1.3: SHA-256 of "HelloRetryRequest"
    "cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c"
)

# --- our limit ---
# 2^24 is the message's own, and no server takes it: OpenSSL stops at 128 KiB, others before that.
_MOST_BYTES = 1 << 17


class _Begun(NamedTuple):
    """A handshake message of which ``message`` came in whole records, up to ``start``."""

    start: int
    message: bytes


class _Whole:
    """A handshake message: its body, what stands ``behind`` it in its last record, and where that record ends."""

    __slots__ = ("behind", "body", "end")

    def __init__(self, body: bytes, behind: bytes, end: int) -> None:
        self.body, self.behind, self.end = body, behind, end


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
        end = framed.end
        client_hello(framed.body, names, attributes)
        if framed.behind:
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
    if len(framed.body) < 2 + _RANDOM:
        return NEED_MORE  # never, too
    return Reply(accepted=framed.body[2 : 2 + _RANDOM] != _HELLO_RETRY_RANDOM, length=framed.end)


classifier = Classifier(name="tls", protocol="tls", version="1", needs=_MOST_BYTES, classify=_classify)
