"""QUIC: the server name of the ClientHello in a client's Initial packets, over any number of packets and datagrams.

A client is free to send what its server will never see, and a server that gets what it cannot use waits for the next
datagram. So, for what we see to be all that a server sees:

- The bytes of a handshake are kept and compared (E3), behind its end as well, for they may come again; and what follows
  a hello there is the second one, behind a HelloRetryRequest, judged as the first.
- An Initial that no key opens is a flaw. No server could open it either, unless it belongs to what began before us:
  then it may carry the rest of a hello whose front we have not seen. A client that is blocked falls back to TCP.
- What is forgotten could be sent anew with other contents, so nothing is; one attempt too many is a flaw.
- A packet that two keys open was made for two readers, which is not hard with AES-GCM where both are known.
- Servers must discard an Initial in a datagram of less than 1200 bytes (RFC 9000, 14.1). Not all do, so it counts.
- Nothing is NO_MATCH: whatever comes first, an Initial may follow it.

Attributes: those of TLS, and ``quic``, the version.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import partial
from typing import NamedTuple

from nfqdpi.core.classifier import NEED_MORE, Classification, DatagramClassifier, Glimpse, Pending
from nfqdpi.core.wire import Malformed, Reader
from nfqdpi.plugins.quic_packet import Initial, Keys, Version, initial_keys, initials
from nfqdpi.plugins.tls_hello import CLIENT_HELLO, ClientHello

# --- the protocol's constants (RFC 9000, 12.4 and 19: the frames that an Initial may have) ---
_IDLE = re.compile(rb"[\0\x01]*")  # PADDING and PING
_ACK, _ACK_ECN, _CRYPTO, _CLOSE = 2, 3, 6, 0x1C
_MESSAGE_HEADER = 4

# --- our limits ---
_MOST_BYTES = 1 << 14  # of a handshake; a server need take 4096 (RFC 9000, 7.5)
_MOST_FRAMES = 64  # of a packet, without padding; Chromium makes some ten
_MOST_PIECES = 64  # of a handshake, between gaps; Chromium makes some twenty of a hello, in disorder
_MOST_ATTEMPTS = 16  # connection ids that a client chooses on one flow; each is tried with what no other opens
_MOST_OPEN = 4  # of them, those whose hello is not whole

Piece = tuple[int, bytes]  # of a handshake: its offset and its bytes


class Attempt(NamedTuple):
    """What a client has sent under a connection id of its choice, which the server may replace by one of its own.

    The keys follow from the client's all the same, in whatever version it goes on (RFC 9369, 4.1). ``number``: of the
    first packet, None before it; ``read``: bytes of the handshake that were judged.
    """

    dcid: bytes
    version: Version
    keys: Keys
    number: int | None = None
    pieces: tuple[Piece, ...] = ()
    read: int = 0

    @property
    def half(self) -> bool:
        """True where the server may have got something that is not judged."""
        return self.pieces[1:] != () or any(start + len(data) > self.read for start, data in self.pieces)

    def keys_in(self, version: Version) -> tuple[Keys, ...]:
        """Those for a packet of this version; and the first one's, which aioquic goes on with after a change."""
        return (self.keys,) if version is self.version else (self.keys, initial_keys(version, self.dcid))


def read(payload: bytes) -> Classification | Glimpse | Pending:
    """A flow's first datagram."""
    return _read(payload, ())


def _read(payload: bytes, known: tuple[Attempt, ...]) -> Classification | Glimpse | Pending:
    names: list[str] = []
    attributes: dict[str, str] = {}
    attempts = {attempt.dcid: attempt for attempt in known}
    flaw = ""
    try:
        for initial in initials(payload):
            attempt, frames = _opened(initial, attempts)
            attempts[attempt.dcid] = _read_on(attempt, _crypto(frames), names, attributes)
    except Malformed as error:
        flaw = str(error)
    if flaw:
        return Classification("quic", tuple(names), attributes, flaw, len(payload))
    now = tuple(attempts.values())
    ids, then = tuple(attempts), partial(_read, known=now)
    if attributes:
        return Classification("quic", tuple(names), attributes, veiled="ech" in attributes, length=len(payload),
                              then=then, ids=ids, more=any(attempt.half for attempt in now))
    return NEED_MORE if now == known else Glimpse("quic", then=then, ids=ids)


def _opened(initial: Initial, attempts: Mapping[bytes, Attempt]) -> tuple[Attempt, bytes]:
    """Whose packet it is, and its frames. The id in it is the client's, or one that the server has chosen."""
    tried = list(attempts.values())
    if initial.dcid not in attempts:
        tried.append(Attempt(initial.dcid, initial.version, initial_keys(initial.version, initial.dcid)))
    found = [(attempt, *opened) for attempt in tried for keys in attempt.keys_in(initial.version)
             if (opened := initial.opened(keys, attempt.number or 0)) is not None]
    if not found:
        raise Malformed("an Initial packet that no key opens")
    if len(found) > 1:
        raise Malformed("an Initial packet that two keys open")
    attempt, number, frames = found[0]
    if attempt.number is None:
        still_open = sum(attempt.half or not attempt.read for attempt in attempts.values())
        if len(attempts) == _MOST_ATTEMPTS or still_open == _MOST_OPEN:
            raise Malformed("too many connection ids on one flow")
        attempt = attempt._replace(number=number)
    return attempt, frames


def _crypto(frames: bytes) -> list[Piece]:
    """The CRYPTO frames among those of an Initial packet (RFC 9000, 19.6)."""
    if not frames:
        raise Malformed("a packet without frames")
    pieces: list[Piece] = []
    at = 0
    for _ in range(_MOST_FRAMES):
        at = _IDLE.match(frames, at).end()  # type: ignore[union-attr]  # it matches nothing, too
        if at == len(frames):
            return pieces
        kind, reader = frames[at], Reader(frames, at + 1)
        if kind == _CRYPTO:
            offset = reader.varint()
            if data := reader.take(reader.varint()):
                pieces.append((offset, data))
        elif kind in (_ACK, _ACK_ECN):
            _skip_ack(reader, 3 if kind == _ACK_ECN else 0)
        elif kind == _CLOSE:
            reader.varint(), reader.varint()  # the error, and the frame that it was in
            reader.take(reader.varint())
        else:
            raise Malformed(f"frame {kind:#04x} in an Initial packet")
        at = reader.at
    raise Malformed("too many frames in a packet")


def _skip_ack(reader: Reader, counts: int) -> None:
    """The rest of an ACK frame, with so many ECN counts (RFC 9000, 19.3)."""
    reader.varint(), reader.varint()  # the largest number, the delay
    ranges = reader.varint()
    if ranges > _MOST_FRAMES:
        raise Malformed("too many ranges in an ACK frame")
    for _ in range(1 + 2 * ranges + counts):
        reader.varint()


def _read_on(attempt: Attempt, pieces: list[Piece], names: list[str], attributes: dict[str, str]) -> Attempt:
    """The attempt with these pieces; names and attributes of a ClientHello that is whole now are added."""
    if not pieces:
        return attempt
    joined = _joined([*attempt.pieces, *pieces])
    start, stream = joined[0] if joined else (0, b"")
    at = attempt.read
    while start == 0 and at < len(stream):
        if stream[at] != CLIENT_HELLO:
            raise Malformed("no ClientHello")
        end = at + _MESSAGE_HEADER + int.from_bytes(stream[at + 1 : at + _MESSAGE_HEADER], "big")
        if end > _MOST_BYTES:
            raise Malformed(f"a handshake of {end} bytes")
        if len(stream) < max(end, at + _MESSAGE_HEADER):
            break
        if attributes:
            raise Malformed("two ClientHellos in a datagram")
        attributes["quic"] = attempt.version.name
        hello = ClientHello(stream, at + _MESSAGE_HEADER, end, "q")
        names += hello.names
        attributes |= hello.attributes
        if hello.flaw:
            raise Malformed(hello.flaw)
        at = end
    return attempt._replace(pieces=joined, read=at)


def _joined(pieces: Iterable[Piece]) -> tuple[Piece, ...]:
    """The same bytes in order, no two pieces touching. Raises Malformed where copies differ."""
    joined: list[tuple[int, bytearray]] = []
    for start, data in sorted(pieces):
        if start + len(data) > _MOST_BYTES:
            raise Malformed(f"a handshake of {start + len(data)} bytes")
        if not joined or start > joined[-1][0] + len(joined[-1][1]):
            joined.append((start, bytearray(data)))
            continue
        held, at = joined[-1][1], start - joined[-1][0]
        common = min(len(held) - at, len(data))
        if held[at : at + common] != data[:common]:
            raise Malformed("CRYPTO frames differ where they overlap")
        held += data[common:]
    if len(joined) > _MOST_PIECES:
        raise Malformed("CRYPTO frames with too many gaps")
    return tuple((start, bytes(data)) for start, data in joined)


classifier = DatagramClassifier(name="quic", protocol="quic", version="1", read=read, ports=(443,), joined=True)
