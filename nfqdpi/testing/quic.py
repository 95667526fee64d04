"""QUIC datagrams of a client, sealed by hand so that no reader checks itself."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import ECB
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from nfqdpi.testing.tls import alpn, extension, hello_message, server_name, vector

V1, V2, DRAFT29 = 1, 0x6B3343CF, 0xFF00001D
DCID = bytes.fromhex("8394c8f03e515708")  # the one of the RFCs' examples
PING, CLOSE = b"\x01", b"\x1c\0\0\0"
ACK = b"\x02\x05\0\x01\x01\0\0"  # packets 5, 4 and 2 (RFC 9000, 19.3)

_SALTS = {V1: "38762cf7f55934b34d179ae6a4c80cadccbb7f0a", V2: "0dede3def700a6db819381be6e269dcbf9bd2ed9",
          DRAFT29: "afbfec289993d24c9e9786f19c6111e04390a899"}
_SMALLEST = 1200  # bytes of a datagram (RFC 9000, 14.1)


def varint(value: int, size: int = 0) -> bytes:
    """A variable-length integer in as few bytes as can be, or in ``size`` (RFC 9000, 16)."""
    size = size or next(size for size in (1, 2, 4, 8) if value < 1 << 8 * size - 2)
    return (value | (size.bit_length() - 1) << 8 * size - 2).to_bytes(size, "big")


def crypto(data: bytes, offset: int = 0) -> bytes:
    """A CRYPTO frame (RFC 9000, 19.6)."""
    return b"\x06" + varint(offset) + varint(len(data)) + data


def long_packet(kind: int, body: bytes, *, dcid: bytes = DCID, version: int = V1, token: bytes | None = None) -> bytes:
    """A packet with a long header; ``kind`` as in version 1 (RFC 9000, 17.2; RFC 9369, 3.2)."""
    first = 0xC0 | ((kind + (version == V2)) & 3) << 4
    head = bytes((first,)) + version.to_bytes(4, "big") + vector(1, dcid) + vector(1, b"client")
    head += b"" if token is None else varint(len(token)) + token
    return head + varint(len(body), 2 if len(body) < 1 << 14 else 4) + body


def _expanded(secret: bytes, text: str, length: int) -> bytes:
    label = length.to_bytes(2, "big") + vector(1, b"tls13 " + text.encode()) + b"\0"
    return HKDFExpand(SHA256(), length, label).derive(secret)


def initial(*frames: bytes, number: int = 0, size: int = 4, dcid: bytes = DCID, version: int = V1,
            under: bytes | None = None, token: bytes = b"", pad: int = _SMALLEST) -> bytes:
    """An Initial packet (RFC 9001, 5) of ``pad`` bytes at least, for a connection whose keys are of the id ``under``.
    Its packet number is sent in ``size`` bytes."""
    secret = _expanded(HKDF.extract(SHA256(), bytes.fromhex(_SALTS[version]), under or dcid), "client in", 32)
    prefix = "quicv2" if version == V2 else "quic"
    key, iv, header = (_expanded(secret, f"{prefix} {text}", length) for text, length in (
        ("key", 16), ("iv", 12), ("hp", 16)))
    plain = b"".join(frames)
    sent = (number % (1 << 8 * size)).to_bytes(size, "big")
    around = len(long_packet(0, bytes(size + 16), dcid=dcid, version=version, token=token))
    plain += bytes(max(0, pad - around - len(plain), 20 - size - 16 - len(plain)))
    packet = bytearray(long_packet(0, sent + bytes(len(plain) + 16), dcid=dcid, version=version, token=token))
    at = len(packet) - len(plain) - 16
    packet[0] |= size - 1
    nonce = (int.from_bytes(iv, "big") ^ number).to_bytes(12, "big")
    packet[at:] = AESGCM(key).encrypt(nonce, plain, bytes(packet[:at]))
    mask = Cipher(AES128(header), ECB()).encryptor().update(bytes(packet[at - size + 4 : at - size + 20]))  # noqa: S305
    packet[0] ^= mask[0] & 0x0F
    for n in range(size):
        packet[at - size + n] ^= mask[1 + n]
    return bytes(packet)


def flight(message: bytes, cuts: Iterable[int] = (), **how: bytes | int) -> list[bytes]:
    """A handshake message in a datagram for each part of it between ``cuts``."""
    bounds = [0, *sorted(cuts), len(message)]
    return [initial(crypto(message[start:end], start), number=number, **how)  # type: ignore[arg-type]
            for number, (start, end) in enumerate(pairwise(bounds))]


def quic_initial(name: str | None, **how: bytes | int) -> bytes:
    """A client's first datagram: an Initial with the whole ClientHello of HTTP/3."""
    names = () if name is None else (server_name(name.encode()),)
    hello = hello_message(*names, alpn(b"h3"), extension(43, b"\x02\x03\x04"), extension(57), session=b"")
    return initial(crypto(hello), **how)  # type: ignore[arg-type]
