"""A ClientHello, as TLS and QUIC carry it: its server name and what it tells of its client (RFC 8446, RFC 6066).

Attributes: ``version`` (the highest offered), ``alpn`` (comma-separated), ``ja4`` (the client's fingerprint), and
``ech`` = "outer" where the hello carries an encrypted one (RFC 9849): its server name need not be the truth then, but
browsers send the extension as GREASE (RFC 8701) as well, and nobody on the path can tell the two apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nfqdpi.core.wire import Malformed, Reader, u16
from nfqdpi.plugins.ja4 import is_grease, ja4
from nfqdpi.plugins.tls_server_name import printable, read_server_name

if TYPE_CHECKING:
    from mypy_extensions import i64  # an int; machine code need not ask at each step whether it has become a long one

# --- the protocol's constants (RFC 8446, 4) ---
CLIENT_HELLO: Final = 1  # the message's type
_SERVER_NAME: Final = 0
_SIGNATURE_ALGORITHMS: Final = 13
_ALPN: Final = 16
_SUPPORTED_VERSIONS: Final = 43
_ALPS: Final = 0x44CD  # draft-vvv-tls-alps
_TRUST_ANCHORS: Final = 0xCA34  # draft-ietf-tls-trust-anchor-ids
_ENCRYPTED_CLIENT_HELLO: Final = 0xFE0D
_RENEGOTIATION_INFO: Final = 0xFF01
_ECH_OUTER: Final = 0  # RFC 9849, 5
_SESSION_ID: Final = 2 + 32  # where it stands in a hello, behind version and random
_VERSIONS = {0x0300: "SSL 3.0", 0x0301: "TLS 1.0", 0x0302: "TLS 1.1", 0x0303: "TLS 1.2", 0x0304: "TLS 1.3"}
_EXTENSION: Final = 4  # bytes of type and length

# The common extensions, each of which is a bit of an int that is small enough for machine code.
_LOW: Final = 58  # all types below are
_HIGH: Final = (_ALPS, _TRUST_ANCHORS, _RENEGOTIATION_INFO, _ENCRYPTED_CLIENT_HELLO)
_READ: Final = 1 << _SERVER_NAME | 1 << _SIGNATURE_ALGORITHMS | 1 << _ALPN | 1 << _SUPPORTED_VERSIONS | 1 << 61

# --- our limits ---
_USUAL: Final = 4096  # bytes of a hello whose client is remembered
_REMEMBERED: Final = 1024  # different clients; 20 MB if all are as long, of protocols that are shown as "\\xff"

# What the attributes follow from: JA4's letter for what carries the hello, the version in front, those offered,
# cipher_suites, the common extensions, the others, ALPN, signature_algorithms. All hellos of a client have that in
# common: the order of extensions and GREASE, which browsers draw anew for each flow, are no part of it.
_Client = tuple[str, int, bytes, bytes, int, bytes, bytes | None, bytes]
_known: Final[dict[_Client, dict[str, str]]] = {}


class ClientHello:
    """What the body of a ClientHello, ``data[start:stop]``, says: ``names`` and ``attributes``; up to its ``flaw``, if
    it has one, and without attributes then. ``veiled``: it carries an encrypted one. ``transport``: JA4's letter for
    what carries it."""

    __slots__ = ("_alpn", "_common", "_others", "_signatures", "_versions", "attributes", "flaw", "names", "veiled")

    def __init__(self, data: bytes, start: int, stop: int, transport: str = "t") -> None:
        self.names: list[str] = []
        self.attributes: dict[str, str] = {}
        self.flaw = ""
        self.veiled = False
        self._common = 0
        self._others = b""
        self._versions: bytes | None = None
        self._alpn: bytes | None = None
        self._signatures = b""
        try:
            self._read(data, start, stop, transport)
        except Malformed as error:
            self.flaw = str(error)

    def _read(self, data: bytes, start: int, stop: int, transport: str) -> None:
        """RFC 8446, 4.1.2."""
        ciphers = _behind(data, start + _SESSION_ID, 1, stop)
        compression = _behind(data, ciphers, 2, stop)
        at, end = _behind(data, compression, 1, stop), stop
        if at < stop:
            end = _behind(data, at, 2, stop)
            at += 2
        self._extensions(data, at, end)
        if end < stop:
            raise Malformed("bytes behind the extensions")
        offered, suites = _offered(self._versions), _without_grease(data[ciphers + 2 : compression])
        client = (transport, u16(data, start), offered, suites, self._common, self._others, self._alpn,
                  self._signatures)
        attributes = _known.get(client)
        if attributes is None:
            attributes = _attributes(client)
            if stop - start <= _USUAL:
                if len(_known) == _REMEMBERED:
                    _known.clear()
                _known[client] = attributes
        self.attributes = attributes.copy()
        if self.veiled:
            self.attributes["ech"] = "outer"

    def _extensions(self, data: bytes, at: i64, stop: i64) -> None:
        """Go through the extensions, each of which stands once (RFC 8446, 4.2)."""
        common = greased = 0
        others: list[int] = []
        twice = False
        while at < stop:
            start = at + _EXTENSION
            if start > stop:
                raise Malformed("an extension is cut off")
            kind = data[at] << 8 | data[at + 1]
            at = start + (data[at + 2] << 8 | data[at + 3])
            if at > stop:
                raise Malformed(f"extension {kind} is cut off")
            if kind >= _LOW and is_grease(kind):
                bit = 1 << (kind >> 12)
                twice = twice or greased & bit != 0
                greased |= bit
            elif bit := _bit(kind):
                twice = twice or common & bit != 0
                common |= bit
                if bit & _READ:
                    self._content(kind, data, start, at)
            else:
                others.append(kind)
        if others:
            twice = twice or len(set(others)) < len(others)
            self._others = b"".join([kind.to_bytes(2, "big") for kind in sorted(others)])
        if twice:
            raise Malformed("an extension stands twice")
        self._common = common

    def _content(self, kind: int, data: bytes, start: int, stop: int) -> None:
        if kind == _SERVER_NAME:
            read_server_name(data, start, stop, self.names)
        elif kind == _ALPN:
            self._alpn = data[start:stop]
        elif kind == _SUPPORTED_VERSIONS:
            self._versions = data[start:stop]
        elif kind == _SIGNATURE_ALGORITHMS:
            self._signatures = data[start:stop]
        else:
            self.veiled = start < stop and data[start] == _ECH_OUTER


def _behind(data: bytes, at: int, length_size: int, stop: int) -> int:
    """Where what follows a variable-length vector (RFC 8446, 3.4) begins."""
    start = at + length_size
    if start > stop:
        raise Malformed("the hello is cut off")
    end = start + (data[at] if length_size == 1 else u16(data, at))
    if end > stop:
        raise Malformed("the hello is cut off")
    return end


def _bit(kind: int) -> int:
    """The bit of a common extension; 0: it is none."""
    if kind < _LOW:
        return 1 << kind
    if kind == _ALPS:
        return 1 << 58
    if kind == _TRUST_ANCHORS:
        return 1 << 59
    if kind == _RENEGOTIATION_INFO:
        return 1 << 60
    return 1 << 61 if kind == _ENCRYPTED_CLIENT_HELLO else 0


def _offered(versions: bytes | None) -> bytes:
    """The list in supported_versions (RFC 8446, 4.2.1)."""
    if versions is None:
        return b""
    size = len(versions) - 1
    offered = versions[1:] if size >= 0 and versions[0] == size else Reader(versions).vector(1)
    if len(offered) % 2:
        raise Malformed("half a version")
    return _without_grease(offered)


def _without_grease(numbers: bytes) -> bytes:
    """A list of 16-bit numbers without GREASE in front, where browsers put it."""
    return numbers[2:] if len(numbers) >= 2 and is_grease(u16(numbers, 0)) else numbers


def _attributes(client: _Client) -> dict[str, str]:
    """The attributes that follow from what all hellos of a client have in common. The version is the highest offered
    that anybody knows, which GREASE values are not; the one in front of the hello where there is none."""
    transport, legacy, offered, ciphers, common, others, alpn, signatures = client
    version = max([version for version in _numbers(offered) if version in _VERSIONS], default=legacy)
    protocols = _protocols(alpn)
    attributes = {"version": _VERSIONS.get(version, f"{version:#06x}")}
    if protocols:
        attributes["alpn"] = ",".join(map(printable, protocols))
    kinds = [kind for kind in (*range(_LOW), *_HIGH) if common & _bit(kind)]
    attributes["ja4"] = ja4(version, ciphers, [*kinds, *_numbers(others)], protocols, signatures, transport)
    return attributes


def _numbers(data: bytes) -> list[int]:
    return [u16(data, at) for at in range(0, len(data), 2)]


def _protocols(alpn: bytes | None) -> list[bytes]:
    """ProtocolNameList (RFC 7301, 3.1)."""
    if alpn is None:
        return []
    names = []
    reader = Reader(Reader(alpn).vector(2))
    while reader:
        names.append(reader.vector(1))
    return names
