"""JA4, the fingerprint of a TLS client, after its published description (github.com/FoxIO-LLC/ja4)."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from struct import iter_unpack

_SERVER_NAME, _ALPN = 0, 16
_VERSIONS = {0x0300: "s3", 0x0301: "10", 0x0302: "11", 0x0303: "12", 0x0304: "13"}
_MOST = 99  # two digits


def is_grease(number: int) -> bool:
    """True of a value that stands for none, to keep servers from choking on new ones (RFC 8701)."""
    return number & 0x0F0F == 0x0A0A and number >> 8 == number & 0xFF


def ja4(version: int, ciphers: bytes, extensions: Sequence[int], protocols: Sequence[bytes],  # noqa: PLR0913, PLR0917  a hello's parts
        signatures: bytes, transport: str = "t") -> str:
    """E.g. "t13d1516h2_8daaf6152771_e5627efa2ab1".

    ``ciphers``: the cipher_suites, ``extensions``: their types in the hello's order, ``signatures``: the contents of
    the signature_algorithms extension or b"". ``transport``: "t" for TCP, "q" for QUIC.
    """
    kinds = [kind for kind in extensions if not is_grease(kind)]
    count = min(len(_numbers(ciphers)), _MOST)
    head = (f"{transport}{_VERSIONS.get(version, '00')}{'d' if _SERVER_NAME in kinds else 'i'}{count:02}"
            f"{min(len(kinds), _MOST):02}{_ends(protocols[0] if protocols else b'')}")
    return f"{head}_{_ciphers(ciphers)}_{_extensions(sorted(kinds), signatures)}"


def _ends(protocol: bytes) -> str:
    """First and last character of the first protocol; of their hexadecimal form where they are not alphanumeric."""
    if not protocol:
        return "00"
    ends = protocol[:1] + protocol[-1:]
    return ends.decode() if ends.isalnum() else ends.hex()[0] + ends.hex()[-1]


def _numbers(data: bytes) -> list[int]:
    """16-bit numbers without GREASE; half a one at the end does not count."""
    return [number for (number,) in iter_unpack("!H", data[: len(data) & ~1]) if not is_grease(number)]


def _ciphers(data: bytes) -> str:
    return _hash(",".join(sorted(f"{number:04x}" for number in _numbers(data))))


def _extensions(kinds: list[int], signatures: bytes) -> str:
    shown = ",".join(f"{kind:04x}" for kind in kinds if kind not in (_SERVER_NAME, _ALPN))
    signed = ",".join(f"{number:04x}" for number in _numbers(signatures[2:]))  # behind the list's length
    return _hash(f"{shown}_{signed}" if signed else shown)


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:12] if text else "0" * 12
