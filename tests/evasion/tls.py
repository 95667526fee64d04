"""The matrix, TLS: how a ClientHello is framed, and what stands in it."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable
from functools import partial

from nfqdpi.testing.tls import CHANGE_CIPHER_SPEC, GREASE, extension, handshake, hello_message, record, records, vector
from tests.evasion import hellos
from tests.evasion.case import (
    ALLOWED,
    BLOCKED,
    DECOY,
    Attempt,
    Fate,
    Handshake,
    Play,
    Server,
    Trick,
    server_hello,
    shake,
    whole,
)
from tests.evasion.hellos import SIGNATURES, USUAL, message, names, small
from tests.evasion.packets import DIES, How, pieces
from tests.evasion.stream import RawStream

_ALERT = record(b"\x01\x00", kind=21)  # close_notify, a warning
_DATA = record(b"data", kind=23, version=0x0303)
_EMPTY = record(b"")


def row(what: str, text: Callable[[str], bytes], allowed: Fate = "works", *, play: Play = whole,
        only: tuple[str, ...] = (BLOCKED, ALLOWED)) -> Trick:
    """A hello made by hand: OpenSSL's ServerHello is the answer."""
    return Trick(what, Server.TLS, lambda name: [Attempt(text(name), text(DECOY), server_hello, play)], allowed,
                 names=only)


# --- framing ---


def reframed(frame: Callable[[bytes], bytes]) -> Callable[[str], list[Attempt]]:
    """OpenSSL's own hello in other records: the handshake goes on, it knows nothing of records."""

    def attempts(name: str) -> list[Attempt]:
        client, decoy = Handshake(name), Handshake(DECOY)
        return [Attempt(frame(client.hello[5:]), frame(decoy.hello[5:]), client.talk, whole)]

    return attempts


def cut_records(name: str) -> Iterable[Attempt]:
    """Two records, cut at each byte of the message; a flow each."""
    hello = message(names(name))
    for at in range(1, len(hello)):
        yield Attempt(record(hello[:at]) + record(hello[at:]), b"", server_hello, whole)


def mixed_versions(hello: bytes) -> bytes:
    versions = (0x0301, 0x0303, 0x0302, 0x0300)
    return b"".join(record(piece, version=versions[at // 50 % 4]) for at, piece in pieces(hello, 50))


def with_empty(hello: bytes) -> bytes:
    """An empty record in the middle."""
    return record(hello[:50]) + _EMPTY + record(hello[50:])


def interrupted(by: bytes, hello: bytes) -> bytes:
    return record(hello[:50]) + by + record(hello[50:])


# --- names ---

_LONG = "a." * 130  # with what follows more than 255 bytes

NAMES: tuple[tuple[str, Callable[[str], bytes], Fate], ...] = (
    ("upper case", lambda name: name.upper().encode(), "works"),
    ("mixed case", lambda name: name.title().encode(), "works"),
    ("a trailing dot", lambda name: f"{name}.".encode(), "works"),
    ("two trailing dots", lambda name: f"{name}..".encode(), "closed"),
    ("a leading dot", lambda name: f".{name}".encode(), "closed"),
    ("a NUL behind the name", lambda name: f"{name}\0".encode(), "closed"),
    ("a NUL and another name behind", lambda name: f"{name}\0.{DECOY}".encode(), "closed"),
    ("another name and a NUL in front", lambda name: f"{DECOY}\0.{name}".encode(), "closed"),
    ("a control character", lambda name: f"\x01{name}".encode(), "closed"),
    ("a space in front", lambda name: f" {name}".encode(), "closed"),
    ("a space behind", lambda name: f"{name} ".encode(), "closed"),
    ("an exclamation mark", lambda name: f"x!.{name}".encode(), "closed"),
    ("UTF-8", lambda name: f"\u00e9.{name}".encode(), "closed"),
    ("a port", lambda name: f"{name}:443".encode(), "closed"),
    ("over 255 bytes", lambda name: f"{_LONG}{name}".encode(), "closed"),
)


def several(*parts: Callable[[str], bytes]) -> Callable[[str], bytes]:
    """A hello of these extensions beside the usual ones."""
    return lambda name: record(message(*(part(name) for part in parts)))


def _name(name: str) -> bytes:
    return names(name)


def _other(_: str) -> bytes:
    return names(DECOY)


def greased(name: str) -> bytes:
    return record(message(extension(GREASE), names(name), extension(GREASE + 0x1010, b"\0")))


def reversed_segments(s: RawStream, text: bytes, _: bytes) -> None:
    half = len(text) // 2
    s.open().send(text[half:], at=half)
    s.send(text[:half], at=0)


def ech(name: str) -> bytes:
    """Encrypted client hello, as GREASE (RFC 9849, 6.2): the outer name is all there is."""
    outer = b"\0" + b"\0\1\0\1" + b"\x2a" + vector(2, bytes(32)) + vector(2, bytes(208))
    return record(message(names(name), extension(0xFE0D, outer)))


def sslv2(_: str) -> bytes:
    """A hello of SSL 2 that offers TLS 1.2 (RFC 5246, E.2): it has no room for a name."""
    body = b"\x01\x03\x03" + bytes((0, 3, 0, 0, 0, 16)) + b"\x00\xc0\x2f" + bytes(16)
    return bytes((0x80, len(body))) + body


# --- a second hello ---


def second_hello(name: str) -> bytes:
    """What answers a HelloRetryRequest for P-384, by hand."""
    point = bytes.fromhex(  # the base point (SEC 2, 2.5.1)
        "04aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a385502f25dbf55296c3a545e3872760ab7"
        "3617de4a96262c6f5d9e98bf9292dc29f8f41dbd289a147ce9da3113b5f0b8c00a60b1ce1d7e819d7a431d7c90ea0e5f")
    share = extension(51, vector(2, b"\x00\x18" + vector(2, point)))
    usual = (hellos.GROUPS, SIGNATURES, hellos.VERSIONS, share)
    return CHANGE_CIPHER_SPEC + record(hello_message(*([names(name)] if name else []), *usual), version=0x0303)


def retried(first: str, play: Callable[[bytes, RawStream, bytes, bytes], None], allowed: Fate, what: str) -> Trick:
    """A first hello for the name ``first``, and a second one for the name in question."""
    before = small(first) if first else record(hello_message(*USUAL))

    def attempts(name: str) -> list[Attempt]:
        return [Attempt(before + second_hello(name), before + second_hello(DECOY), _took_second, partial(play, before))]

    return Trick(what, Server.RETRY, attempts, allowed)


def _took_second(stream: RawStream) -> bool:
    """A ServerHello behind the HelloRetryRequest: two of that kind, or the encrypted rest."""
    return stream.got.count(b"\x16\x03\x03") > 1 or b"\x17\x03\x03" in stream.got


def after_request(before: bytes, s: RawStream, text: bytes, _: bytes) -> None:
    s.open().send(before)
    s.await_answer()
    s.send(text[len(before) :])


def at_once(_before: bytes, s: RawStream, text: bytes, _: bytes) -> None:
    s.open().send(text)


def behind_a_fake(before: bytes, s: RawStream, text: bytes, decoy: bytes) -> None:
    s.open().send(before)
    s.await_answer()
    s.send(decoy[len(before) :], at=len(before), how=How(ttl=DIES))
    s.wait(lambda: False, 0.05)
    s.send(text[len(before) :])


def on(server: Server, what: str, attempts: Callable[[str], Iterable[Attempt]], allowed: Fate = "works") -> Trick:
    return Trick(what, server, attempts, allowed)


TRICKS = [
    on(Server.TLS, "two records, cut at every byte", cut_records),
    on(Server.TLS, "records of a byte", reframed(lambda hello: records(hello, 1))),
    on(Server.TLS, "records of seven bytes", reframed(lambda hello: records(hello, 7))),
    on(Server.TLS, "records of mixed versions", reframed(mixed_versions)),
    on(Server.TLS, "a record of version 3.4", reframed(lambda hello: record(hello, version=0x0304))),
    on(Server.TLS, "an empty record first", reframed(lambda hello: _EMPTY + record(hello)), "closed"),
    on(Server.TLS, "an empty record in the middle", reframed(with_empty), "closed"),
    *(on(Server.TLS, f"{what} first", reframed(lambda hello, first=first: first + record(hello)), "closed")  # type: ignore[misc]
      for what, first in (("an alert", _ALERT), ("change_cipher_spec", CHANGE_CIPHER_SPEC), ("data", _DATA))),
    *(on(Server.TLS, f"{what} in the middle", reframed(partial(interrupted, by)), "closed")
      for what, by in (("an alert", _ALERT), ("change_cipher_spec", CHANGE_CIPHER_SPEC), ("data", _DATA))),
    row("another message behind the hello in its record", lambda name: record(message(names(name)) + handshake(0, b"")),
        "closed"),
    row("two hellos, the other first", lambda name: small(DECOY) + small(name), "closed"),
    row("two hellos, the other second", lambda name: small(name) + small(DECOY), "closed"),
    row("a hello of 20 KiB", lambda name: records(hellos.padded(name, 20_000), 16384)),
    row("a hello of 60 KiB", lambda name: records(hellos.padded(name, 60_000), 16384)),
    row("a hello of more than 64 KiB", lambda name: records(hellos.padded(name, 65_350), 16384), "closed"),
    row("a post-quantum hello", lambda name: record(hellos.quantum(name))),
    row("a post-quantum hello, its segments reversed", lambda name: record(hellos.quantum(name)),
        play=reversed_segments),
    row("GREASE", greased),
    row("the name first of the extensions", several(_name)),
    row("the name last of the extensions", lambda name: record(hello_message(*USUAL, names(name)))),
    row("GREASE ECH", ech),
    row("two server_name extensions, the other first", several(_other, _name), "closed"),
    row("two server_name extensions, the other second", several(_name, _other), "closed"),
    row("two names, the other first", several(lambda name: names(DECOY, name)), "closed"),
    row("two names, the other second", several(lambda name: names(name, DECOY)), "closed"),
    row("a name of type 1", several(lambda name: names(name, kind=1)), "closed"),
    row("an empty name", several(lambda _: names("")), "closed", only=(ALLOWED,)),
    row("an empty list of names", several(lambda _: names()), "closed", only=(ALLOWED,)),
    row("no server_name at all", several(lambda _: extension(GREASE)), only=(ALLOWED,)),
    row("an IPv4 address for a name", several(lambda _: names("198.51.100.2")), only=(ALLOWED,)),
    *(row(f"the name: {what}", lambda name, change=change: small(change(name)), allowed)  # type: ignore[misc]
      for what, change, allowed in NAMES),
    row("a hello of SSL 2", sslv2, "closed", only=(ALLOWED,)),
    on(Server.TLS, "TLS 1.2", shake(whole, version=ssl.TLSVersion.TLSv1_2)),
    on(Server.TLS_ON_80, "TLS on port 80", shake(whole)),
    on(Server.RETRY, "HelloRetryRequest and an honest second hello", shake(whole)),
    retried(DECOY, after_request, "works", "HelloRetryRequest, then another name"),
    retried("", after_request, "works", "HelloRetryRequest, then a name where there was none"),
    retried(DECOY, at_once, "closed", "both hellos at once"),
    retried(DECOY, behind_a_fake, "closed", "HelloRetryRequest, a fake second hello that dies, then another name"),
]
