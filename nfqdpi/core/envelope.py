"""The headers around a UDP payload that is not the one that came: in its place, or back to its sender."""

from __future__ import annotations

from struct import Struct

from nfqdpi.core.packet import UDP, FlowKey

_HOP_LIMIT = 64  # RFC 1700's default TTL
_IPV4_WORDS, _IPV4_LENGTH, _UDP_LENGTH = 5, 20, 8  # headers without options (RFC 791, 3.1; RFC 768)
_IPV4 = Struct("!BBHHHBBH4s4s")
_IPV6 = Struct("!IHBB16s16s")
_UDP = Struct("!HHHH")
_PSEUDO = Struct("!II")  # RFC 8200, 8.1; the same sum as that of RFC 768
_ZERO = b"\xff\xff"  # a checksum that comes out as 0 (RFC 768: 0 means that there is none)


def datagram(key: FlowKey, payload: bytes) -> bytes:
    """An IP packet with a UDP datagram from the key's source to its destination, checksums and all. ``payload``: at
    most what 65,535 bytes leave room for."""
    length = _UDP_LENGTH + len(payload)
    body = _UDP.pack(key.sport, key.dport, length, 0) + payload
    total = checksum(key.src + key.dst + _PSEUDO.pack(length, UDP) + body)
    body = body[:6] + (_ZERO if total == b"\0\0" else total) + payload
    if len(key.src) == 16:
        return _IPV6.pack(6 << 28, length, UDP, _HOP_LIMIT, key.src, key.dst) + body
    header = _IPV4.pack(4 << 4 | _IPV4_WORDS, 0, _IPV4_LENGTH + length, 0, 0, _HOP_LIMIT, UDP, 0, key.src, key.dst)
    return header[:10] + checksum(header) + header[12:] + body


def checksum(data: bytes) -> bytes:
    """RFC 1071; an odd byte at the end counts as if a zero followed."""
    if len(data) % 2:
        data += b"\0"
    total = sum(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
    total = (total >> 16) + (total & 0xFFFF)
    return (~(total + (total >> 16)) & 0xFFFF).to_bytes(2, "big")
