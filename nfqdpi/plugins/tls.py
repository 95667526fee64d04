"""TLS: the ClientHello that a stream begins with, over any number of segments and records (RFC 8446).

Frame first (``_handshake``: is the whole message here?), then parse strictly (``ClientHello``).
"""

from __future__ import annotations

from functools import partial
from typing import Final

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
from nfqdpi.plugins.tls_hello import CLIENT_HELLO, ClientHello

# --- the protocol's constants (RFC 8446, 4 and 5.1) ---
_CHANGE_CIPHER_SPEC: Final = 20
_ALERT: Final = 21
_HANDSHAKE: Final = 22
_APPLICATION_DATA: Final = 23
_RECORD_TYPES = (_CHANGE_CIPHER_SPEC, _ALERT, _HANDSHAKE, _APPLICATION_DATA)
_RECORD_HEADER: Final = 5
_MESSAGE_HEADER: Final = 4
_BODY: Final = _RECORD_HEADER + _MESSAGE_HEADER
_MAX_RECORD: Final = 1 << 14
_SERVER_HELLO: Final = 2
_RANDOM: Final = 32
_HELLO_RETRY_RANDOM = bytes.fromhex(  # RFC 8446, 4.1.3: SHA-256 of "HelloRetryRequest"
    "cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c"
)

# --- our limit ---
# 2^24 is the message's own, and no server takes it: OpenSSL stops at 128 KiB, others before that.
_MOST_BYTES: Final = 1 << 17


class _Begun:
    """A handshake message of which ``message`` came in whole records, up to ``start``."""

    __slots__ = ("message", "start")

    def __init__(self, start: int, message: bytes) -> None:
        self.start, self.message = start, message


class _Whole:
    """A handshake message: its body, ``data[start:stop]``, how many bytes stand ``behind`` it in its last record, and
    where that record ends."""

    __slots__ = ("behind", "data", "end", "start", "stop")

    def __init__(self, data: bytes, start: int, stop: int, behind: int, end: int) -> None:
        self.data, self.start, self.stop, self.behind, self.end = data, start, stop, behind, end


_NOTHING: Final = _Begun(0, b"")


def _handshake(prefix: bytes, first: int, begun: _Begun, *, patient: bool) -> _Whole | _Begun | Pending:
    """Read a handshake message of type ``first`` on from what has begun; ``patient``: to the end of its last record.
    A message may span records, a record must not be empty (RFC 8446, 5.1)."""
    if not begun.message and (end := _end_alone(prefix, begun.start, first)):
        return _Whole(prefix, begun.start + _BODY, end, 0, end) if end <= len(prefix) else begun
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
    return _Whole(bytes(message), _MESSAGE_HEADER, wanted, len(message) - wanted, start)


def _wanted(message: bytearray) -> int:
    """The length of the message that begins so; of its header, where that is not whole yet."""
    if len(message) < _MESSAGE_HEADER:
        return _MESSAGE_HEADER
    if (wanted := _MESSAGE_HEADER + int.from_bytes(message[1:_MESSAGE_HEADER], "big")) > _MOST_BYTES:
        raise Malformed(f"a handshake message of {wanted} bytes")
    return wanted


def _end_alone(prefix: bytes, start: int, first: int) -> int:
    """Where the record at ``start`` ends, if a message of type ``first`` fills it, as nearly always; the rest of it may
    still be missing. 0: look closer."""
    if (len(prefix) < start + _BODY or prefix[start] != _HANDSHAKE or prefix[start + 1] != 3
            or prefix[start + _RECORD_HEADER] != first):
        return 0
    length = u16(prefix, start + 3)
    message = _MESSAGE_HEADER + (prefix[start + 6] << 16 | u16(prefix, start + 7))
    return start + _RECORD_HEADER + length if message == length <= _MAX_RECORD else 0


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
    try:
        framed = _handshake(prefix, CLIENT_HELLO, begun, patient=True)  # a server reads whole records
    except Malformed as error:
        return Classification("tls", flaw=str(error), length=len(prefix))
    if isinstance(framed, Pending):
        return framed
    if isinstance(framed, _Begun):
        return Glimpse("tls", then=partial(_hello, begun=framed)) if framed.start else NEED_MORE
    hello = ClientHello(framed.data, framed.start, framed.stop)
    flaw = hello.flaw or ("bytes behind the ClientHello in its record" if framed.behind else "")  # RFC 8446, 5.1
    if flaw:
        return Classification("tls", tuple(hello.names), hello.attributes, flaw, len(prefix))
    return Classification("tls", tuple(hello.names), hello.attributes, veiled=hello.veiled, length=framed.end,
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
    random = framed.start + 2
    if framed.stop < random + _RANDOM:
        return NEED_MORE  # never, too
    return Reply(accepted=framed.data[random : random + _RANDOM] != _HELLO_RETRY_RANDOM, length=framed.end)


classifier = Classifier(name="tls", protocol="tls", version="1", needs=_MOST_BYTES, classify=_classify)
