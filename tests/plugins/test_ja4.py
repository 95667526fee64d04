"""JA4 fingerprints against published ones and in the corners of their description."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfqdpi.plugins.ja4 import ja4


def numbers(text: str) -> bytes:
    return bytes.fromhex(text.replace(",", ""))


CHROME_CIPHERS = numbers("0a0a,1301,1302,1303,c02b,c02f,c02c,c030,cca9,cca8,c013,c014,009c,009d,002f,0035")
CHROME_EXTENSIONS = [0x1A1A, 0x001B, 0x0000, 0x0033, 0x0010, 0x4469, 0x0017, 0x002D, 0x000D, 0x0005, 0x0023, 0x0012,
                     0x002B, 0xFF01, 0x000B, 0x000A, 0x0015, 0x2A2A]
CHROME_SIGNATURES = b"\x00\x10" + numbers("0403,0804,0401,0503,0805,0501,0806,0601")


def test_the_published_example() -> None:
    """Chrome's fingerprint, as its description derives it."""
    assert ja4(0x0304, CHROME_CIPHERS, CHROME_EXTENSIONS, [b"h2", b"http/1.1"], CHROME_SIGNATURES) == (
        "t13d1516h2_8daaf6152771_e5627efa2ab1")


def test_order_and_grease_do_not_count() -> None:
    """Browsers shuffle their extensions and sprinkle GREASE; the fingerprint stays."""
    shuffled = [0x3A3A, *sorted(CHROME_EXTENSIONS, reverse=True)]
    assert ja4(0x0304, CHROME_CIPHERS[2:], shuffled, [b"h2"], CHROME_SIGNATURES) == (
        "t13d1516h2_8daaf6152771_e5627efa2ab1")


@pytest.mark.parametrize(("protocol", "ends"), [
    (b"", "00"), (b"h2", "h2"), (b"http/1.1", "h1"), (b"x", "xx"), (b"\xab\xcd", "ad"), (b"\x30\xab", "3b"),
])
def test_the_ends_of_the_first_protocol(protocol: bytes, ends: str) -> None:
    """Its first and last character, or those of its hexadecimal form."""
    assert ja4(0x0303, b"", [], [protocol] if protocol else [], b"") == f"t12i0000{ends}_000000000000_000000000000"


def test_counts_have_two_digits() -> None:
    """A hundred and more are ninety-nine."""
    many = struct.pack("!200H", *range(200))
    assert ja4(0x7F1C, many, list(range(300)), [], b"").startswith("t00d999900_")


@given(st.integers(0, 65535), st.binary(max_size=9), st.lists(st.integers(0, 65535), max_size=9),
       st.lists(st.binary(max_size=3), max_size=2), st.binary(max_size=9))
def test_any_hello_has_one(version: int, ciphers: bytes, kinds: list[int], protocols: list[bytes],
                           signatures: bytes) -> None:
    """Whatever a client sends gives a fingerprint of the same form."""
    assert len(ja4(version, ciphers, kinds, protocols, signatures)) == 36
