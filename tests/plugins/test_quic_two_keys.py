"""AES-GCM does not bind a packet to its key: who knows two keys can seal one packet that both open, to different texts.

A client knows the keys of all Initials. It might have us open with the one what its server opens with the other.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import ECB

from nfqdpi.core.classifier import Classification
from nfqdpi.plugins.quic_packet import Initial, Keys, initial_keys, initials
from nfqdpi.testing.quic import DCID, crypto, initial, long_packet
from nfqdpi.testing.tls import hello
from tests.fuzz.quic import said

_CHOSEN = b"server's"
_BLOCKS = 2  # of ciphertext; the second is what is reckoned


def _block(key: bytes, data: bytes) -> int:
    return int.from_bytes(Cipher(AES128(key), ECB()).encryptor().update(data), "big")  # noqa: S305


def _times(one: int, other: int) -> int:
    """In GCM's field of 2^128 elements (NIST SP 800-38D, 6.3)."""
    product = 0
    for bit in range(127, -1, -1):
        if other >> bit & 1:
            product ^= one
        one = one >> 1 ^ (0xE1 << 120 if one & 1 else 0)
    return product


def _inverse(value: int) -> int:
    result = square = value
    for _ in range(126):
        square = _times(square, square)
        result = _times(result, square)
    return _times(result, result)


def _tag(keys: Keys, mask: int, head: bytes, sealed: bytes) -> int:
    """The tag of a packet (NIST SP 800-38D, 7.1) whose first byte and number come out of the mask."""
    number = mask >> 88 & 0xFFFFFFFF
    clear = bytes((head[0] ^ mask >> 120 & 0x0F,)) + head[1:-4] + number.to_bytes(4, "big")
    factor, total = _block(keys.packet, bytes(16)), 0
    lengths = (8 * len(clear)).to_bytes(8, "big") + (8 * len(sealed)).to_bytes(8, "big")
    text = clear + bytes(-len(clear) % 16) + sealed + lengths
    for at in range(0, len(text), 16):
        total = _times(total ^ int.from_bytes(text[at : at + 16], "big"), factor)
    return total ^ _block(keys.packet, (keys.iv ^ number).to_bytes(12, "big") + b"\0\0\0\1")


def for_two(one: Keys, other: Keys) -> bytes:
    """An Initial for the id that a server has chosen, which both keys open. Its packet number is sent as zeros."""
    packet = bytearray(long_packet(0, bytes(4 + 16 * _BLOCKS + 16), dcid=_CHOSEN, token=b""))
    at = len(packet) - 16 * (_BLOCKS + 1)
    for sample in range(256):  # until both masks say the same of the packet number's length
        front = sample.to_bytes(16, "big")
        masks = [_block(keys.header, front) for keys in (one, other)]
        if (masks[0] ^ masks[1]) >> 120 & 3 == 0:
            break
    packet[0] |= masks[0] >> 120 & 3 ^ 3
    head = bytes(packet[:at])
    differ = 0
    for keys, mask in zip((one, other), masks, strict=True):
        differ ^= _tag(keys, mask, head, front + bytes(16))
    factor = _block(one.packet, bytes(16)) ^ _block(other.packet, bytes(16))  # what is squared bit by bit adds up so
    sealed = front + _times(differ, _inverse(_times(factor, factor))).to_bytes(16, "big")
    return head + sealed + _tag(one, masks[0], head, sealed).to_bytes(16, "big")


def test_a_packet_that_two_keys_open() -> None:
    """There is such a packet, and it blocks."""
    (first,) = initials(initial(crypto(hello("a.example")[5:])))
    keys = [initial_keys(first.version, dcid) for dcid in (DCID, _CHOSEN)]
    datagram = for_two(*keys)
    (packet,) = initials(datagram)
    assert isinstance(packet, Initial)
    opened = [packet.opened(each, 0) for each in keys]
    assert opened[0] is not None
    assert opened[1] is not None
    assert opened[0] != opened[1]
    _, answer = said([first.data, datagram])
    assert isinstance(answer, Classification)
    assert answer.flaw == "an Initial packet that two keys open"
