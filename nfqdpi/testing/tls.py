"""What a client of TLS says first, and a server's answer, put together by hand so that no reader checks itself."""

from __future__ import annotations

import ssl
import struct

GREASE = 0x0A0A  # RFC 8701
RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")  # RFC 8446, 4.1.3


def vector(size: int, body: bytes) -> bytes:
    """A body behind its length in ``size`` bytes (RFC 8446, 3.4)."""
    return len(body).to_bytes(size, "big") + body


def record(body: bytes, kind: int = 22, version: int = 0x0301) -> bytes:
    """A TLS record (RFC 8446, 5.1)."""
    return struct.pack("!BH", kind, version) + vector(2, body)


def records(message: bytes, size: int) -> bytes:
    """A message in records of at most ``size`` bytes."""
    return b"".join(record(message[n : n + size]) for n in range(0, len(message), size))


def handshake(kind: int, body: bytes) -> bytes:
    """A handshake message (RFC 8446, 4)."""
    return bytes((kind,)) + vector(3, body)


def extension(kind: int, data: bytes = b"") -> bytes:
    """An extension of a hello (RFC 8446, 4.2)."""
    return struct.pack("!H", kind) + vector(2, data)


def server_name(*names: bytes, kind: int = 0) -> bytes:
    """A server_name extension (RFC 6066, 3)."""
    return extension(0, vector(2, b"".join(bytes((kind,)) + vector(2, name) for name in names)))


def alpn(*names: bytes) -> bytes:
    """An application_layer_protocol_negotiation extension (RFC 7301, 3.1)."""
    return extension(16, vector(2, b"".join(vector(1, name) for name in names)))


def hello_message(*extensions: bytes, version: int = 0x0303, session: bytes = bytes(32)) -> bytes:
    """A ClientHello message with these extensions; without any, the field is left out (RFC 5246, 7.4.1.2)."""
    body = (struct.pack("!H", version) + bytes(range(32)) + vector(1, session)
            + vector(2, struct.pack("!4H", GREASE, 0x1301, 0x1302, 0xC02F)) + vector(1, b"\0"))
    return handshake(1, body + vector(2, b"".join(extensions)) if extensions else body)


def hello(name: str | None, *extra: bytes, quantum: bool = False) -> bytes:
    """A browser's ClientHello in one record: GREASE, ALPN, TLS 1.3 and the name. ``quantum``: X25519MLKEM768 too,
    1.9 kB in all."""
    groups = struct.pack("!3H", GREASE, 0x11EC, 0x001D)
    share = struct.pack("!H", 0x11EC) + vector(2, bytes(1216)) if quantum else b""
    share += struct.pack("!H", 0x001D) + vector(2, bytes(32))
    return record(hello_message(
        extension(GREASE),
        *(() if name is None else (server_name(name.encode()),)),
        extension(10, vector(2, groups)),
        alpn(b"h2", b"http/1.1"),
        extension(43, vector(1, struct.pack("!3H", GREASE, 0x0304, 0x0303))),
        extension(51, vector(2, share)),
        *((extension(0xFE0D, bytes(470)),) if quantum else ()),  # encrypted_client_hello, as GREASE
        *extra,
        extension(GREASE + 0x1010, b"\0"),
    ))


def real_hello(name: str | None) -> bytes:
    """What the local OpenSSL sends first."""
    settings = ssl.create_default_context()
    settings.check_hostname = False
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        settings.wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a handshake without a server")


def server_hello(random: bytes = bytes(32), *, padding: int = 0) -> bytes:
    """A ServerHello's record; ``random`` RETRY: a HelloRetryRequest (RFC 8446, 4.1.3); ``padding`` bytes of another
    message follow in the record."""
    body = b"\x03\x03" + random + vector(1, b"") + b"\x13\x01" + b"\0" + vector(2, extension(43, b"\x03\x04"))
    return record(handshake(2, body) + bytes(padding), version=0x0303)


CHANGE_CIPHER_SPEC = record(b"\x01", kind=20, version=0x0303)
