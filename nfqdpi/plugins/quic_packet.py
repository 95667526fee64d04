"""QUIC's Initial packets: where they stand in a datagram, and what protects them.

Versions 1 (RFC 9000 and 9001), 2 (RFC 9369) and draft-29. The keys of an Initial follow from a connection id that
stands in clear beside it (RFC 9001, 5.2): they keep accidents out, not readers.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import ECB

from nfqdpi.core.wire import Malformed, Reader

# --- the protocol's constants (RFC 9000, 17.2; RFC 9001, 5) ---
_LONG, _FIXED = 0x80, 0x40
_INVARIANT = 6  # bytes that a long header has in every version: flags, version, an id's length (RFC 8999, 5.1)
_SHORTEST_ID, _LONGEST_ID = 8, 20  # of the id that a client chooses (RFC 9000, 7.2); of any
_SAMPLE_AT, _SAMPLE = 4, 16  # behind the start of the packet number
_SHORTEST = 1200  # bytes of a datagram with an Initial (RFC 9000, 14.1)
_RESERVED = 0x0A0A0A0A  # versions that nobody may speak, in every low half byte (RFC 9000, 15)

# --- our limits ---
_MOST_PACKETS = 8  # Initials in a datagram; clients send one or two, and each is tried with several keys


class Version(NamedTuple):
    """What differs between versions: the salt, HKDF's labels for key, IV and header protection, types of packets."""

    name: str
    salt: bytes
    labels: tuple[bytes, bytes, bytes]
    initial: int
    retry: int


def _label(text: str, length: int) -> bytes:
    """What HKDF-Expand-Label(secret, text, "", length) hashes for its one block (RFC 8446, 7.1; RFC 5869, 2.3)."""
    label = b"tls13 " + text.encode()
    return length.to_bytes(2, "big") + bytes((len(label),)) + label + b"\0\x01"


def _version(name: str, salt: str, prefix: str, initial: int, retry: int) -> Version:
    labels = (_label(f"{prefix} key", 16), _label(f"{prefix} iv", 12), _label(f"{prefix} hp", 16))
    return Version(name, bytes.fromhex(salt), labels, initial, retry)


_VERSIONS = {
    0x00000001: _version("1", "38762cf7f55934b34d179ae6a4c80cadccbb7f0a", "quic", 0, 3),
    0x6B3343CF: _version("2", "0dede3def700a6db819381be6e269dcbf9bd2ed9", "quicv2", 1, 0),
    0xFF00001D: _version("draft-29", "afbfec289993d24c9e9786f19c6111e04390a899", "quic", 0, 3),
}
_WIRE_VERSIONS = [number.to_bytes(4, "big") for number in _VERSIONS]
_CLIENT_IN = _label("client in", 32)


class Keys(NamedTuple):
    """A client's: for the AEAD, its IV as a number, and for the header."""

    packet: bytes
    iv: int
    header: bytes


def initial_keys(version: Version, dcid: bytes) -> Keys:
    """The keys of the Initials that a client sends (RFC 9001, 5.2)."""
    client = hmac.digest(hmac.digest(version.salt, dcid, "sha256"), _CLIENT_IN, "sha256")
    key, iv, header = (hmac.digest(client, label, "sha256") for label in version.labels)
    return Keys(key[:16], int.from_bytes(iv[:12], "big"), header[:16])


class Initial(NamedTuple):
    """An Initial packet as it came; ``number_at``: where its packet number begins."""

    version: Version
    dcid: bytes
    data: bytes
    number_at: int

    def opened(self, keys: Keys, near: int) -> tuple[int, bytes] | None:
        """Its packet number and its frames; None: it was not sealed with these keys. ``near``: another packet number of
        the same client's, 0 for its first. (No second number opens a packet: the tags would differ, RFC 9001, 5.3.)"""
        data, at = self.data, self.number_at
        sample = data[at + _SAMPLE_AT : at + _SAMPLE_AT + _SAMPLE]
        if len(sample) < _SAMPLE:
            raise Malformed("an Initial packet too short to be one")
        mask = Cipher(AES128(keys.header), ECB()).encryptor().update(sample)  # noqa: S305  one block (RFC 9001, 5.4.3)
        first = data[0] ^ mask[0] & 0x0F
        size = (first & 3) + 1
        sent = int.from_bytes(data[at : at + size], "big") ^ int.from_bytes(mask[1 : 1 + size], "big")
        window = 1 << 8 * size  # of what is sent, the high bits are cut (RFC 9000, A.3)
        number = max(sent, sent + (near - sent + window // 2) // window * window)
        header = bytes((first,)) + data[1:at] + sent.to_bytes(size, "big")
        nonce = (keys.iv ^ number).to_bytes(12, "big")
        try:
            return number, AESGCM(keys.packet).decrypt(nonce, data[at + size :], header)
        except InvalidTag:
            return None


def initials(datagram: bytes) -> Iterator[Initial]:
    """The Initial packets of a client's datagram (RFC 9000, 12.2). Raises Malformed.

    A short header has no length: the rest of the datagram is its own, as is padding. So it is with a Retry and a
    Version Negotiation, which servers ignore, and with a version that is made to be refused. Other versions cannot be
    read, but there may be a server that can: Malformed, where it would take this for a client's first datagram, which
    is long (RFC 9000, 14.1), has a long id and the fixed bit (RFC 9443). DNS and RTP, on the same port, look like it
    else.

    What looks like one datagram may be several that are on their way together (UDP_SEGMENT, GRO), and come apart behind
    us at places that nobody tells: Malformed, where a packet might begin that is none of these.
    """
    beginnings = set(_beginnings(datagram))
    for start, initial in _packets(datagram):
        beginnings.discard(start)
        if initial is not None:
            yield initial
    if beginnings:
        raise Malformed("a packet may begin within another")


def _beginnings(datagram: bytes) -> Iterator[int]:
    """Where a long header might stand."""
    for version in _WIRE_VERSIONS:
        at = datagram.find(version, 1)
        while at >= 0:
            if datagram[at - 1] & _LONG:
                yield at - 1
            at = datagram.find(version, at + 1)


def _packets(datagram: bytes) -> Iterator[tuple[int, Initial | None]]:
    """Where each packet of a version that we know begins, and what it is if it is an Initial."""
    reader = Reader(datagram)
    count = 0
    while reader:
        start, first = reader.at, reader.u8()
        if not first & _LONG or len(datagram) < start + _INVARIANT:
            return
        number = reader.uint(4)
        version = _VERSIONS.get(number)
        if version is None:
            if len(datagram) >= _SHORTEST and first & _FIXED and datagram[reader.at] >= _SHORTEST_ID and _real(number):
                raise Malformed(f"QUIC version {number:#010x} is unknown")
            return
        dcid, scid = reader.vector(1), reader.vector(1)
        if max(len(dcid), len(scid)) > _LONGEST_ID:
            raise Malformed("a connection id of more than 20 bytes")
        kind = first >> 4 & 3
        if kind == version.retry:
            yield start, None
            return
        if kind == version.initial:
            reader.take(reader.varint())  # the token
        length = reader.varint()
        number_at = reader.at
        reader.take(length)
        if kind != version.initial:
            yield start, None
            continue
        if (count := count + 1) > _MOST_PACKETS:
            raise Malformed("too many Initial packets in a datagram")
        yield start, Initial(version, dcid, datagram[start : reader.at], number_at - start)


def _real(version: int) -> bool:
    """Neither Version Negotiation nor one that nobody may speak."""
    return version != 0 and version & 0x0F0F0F0F != _RESERVED
