"""ClientHellos by hand that OpenSSL answers: its own cannot be pulled apart, since it remembers what it sent."""

from __future__ import annotations

import struct

from nfqdpi.testing.tls import extension, hello_message, record, server_name, vector

# A share of X25519 that every server can use: the base point (RFC 7748, 4.1).
_SHARE = struct.pack("!H", 29) + vector(2, b"\x09" + bytes(31))
GROUPS = extension(10, vector(2, struct.pack("!3H", 0x001D, 0x0017, 0x0018)))
SIGNATURES = extension(13, vector(2, struct.pack("!4H", 0x0403, 0x0804, 0x0503, 0x0401)))
VERSIONS = extension(43, vector(1, b"\x03\x04"))
SHARE = extension(51, vector(2, _SHARE))
USUAL = (GROUPS, SIGNATURES, VERSIONS, SHARE)


def names(*names: bytes | str, kind: int = 0) -> bytes:
    return server_name(*(name.encode() if isinstance(name, str) else name for name in names), kind=kind)


def message(*extensions: bytes) -> bytes:
    """A ClientHello message for TLS 1.3 with these extensions beside the usual ones."""
    return hello_message(*extensions, *USUAL)


def small(name: str | bytes) -> bytes:
    """The smallest ClientHello there is, in one record."""
    return record(message(names(name)))


def padded(name: str, size: int) -> bytes:
    """A message of about ``size`` bytes, by the padding extension (RFC 7685); the name comes last."""
    return message(extension(21, bytes(size)), names(name))




def quantum(name: str) -> bytes:
    """A message with a share of X25519MLKEM768 (draft-ietf-tls-ecdhe-mlkem) in front of the usual one: two segments."""
    shares = extension(51, vector(2, struct.pack("!H", 0x11EC) + vector(2, bytes(1216)) + _SHARE))
    groups = extension(10, vector(2, struct.pack("!2H", 0x11EC, 0x001D)))
    return hello_message(shares, groups, SIGNATURES, VERSIONS, names(name))
