"""Our reader of ClientHellos against OpenSSL, in two versions, and aioquic.

The rule: whatever hello a server understands, we found its name, or we said that the hello is flawed (which is blocked,
fail.malformed). Never may we see less than the server does: no other protocol, no "not yet", no other name.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nfqdpi.core.classifier import Classification
from nfqdpi.plugins.tls import classifier
from nfqdpi.testing.tls import (
    CHANGE_CIPHER_SPEC,
    GREASE,
    alpn,
    extension,
    handshake,
    hello,
    hello_message,
    real_hello,
    record,
    records,
    server_name,
    vector,
)
from tests.differential.tls_peers import Saw, aioquic, new_openssl, system_openssl

OPENSSLS = pytest.mark.parametrize("peer", [system_openssl, new_openssl])

# What makes OpenSSL understand a hello: 1.2 needs the first two, 1.3 all.
_SIGNATURES = extension(13, vector(2, struct.pack("!4H", 0x0403, 0x0804, 0x0401, 0x0503)))
_GROUPS = extension(10, vector(2, struct.pack("!2H", 29, 23)))
_VERSIONS = extension(43, vector(1, b"\x03\x04\x03\x03"))
_SHARE = extension(51, vector(2, struct.pack("!H", 29) + vector(2, bytes(range(32)))))

# --- samples, whole and broken ---

_names = st.sampled_from([b"a.example", b"A.Example.", b"a\0b", b"a b", b"b\xff", b"", b"x" * 64, b"x" * 253,
                          b"x" * 256, b"10.0.0.1", b"::1", b"*.a", b"a..b", b".a", b"-a"])
_junk: st.SearchStrategy[bytes] = st.binary(max_size=6)
_extras = st.one_of(
    st.builds(server_name, _names),
    st.builds(lambda name, kind: server_name(name, kind=kind), _names, st.integers(0, 2)),
    st.just(server_name(b"a", b"b")),
    st.builds(extension, st.sampled_from([0, 1, 10, 16, 21, 23, 35, 41, 42, 43, 45, 49, 51, 0xFE0D, 0xFF01]), _junk),
    st.sampled_from([alpn(b"h2"), extension(GREASE), _VERSIONS, _SHARE, extension(43, vector(1, b"\x03\x03"))]),
)


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """A ClientHello that OpenSSL understands, more or less."""
    parts = [server_name(draw(_names))] if draw(st.integers(0, 5)) else []
    parts += draw(st.sampled_from([[], [_SIGNATURES, _GROUPS], [_SIGNATURES, _GROUPS, _VERSIONS, _SHARE]]))
    parts = draw(st.permutations(parts + draw(st.lists(_extras, max_size=2))))
    version = draw(st.sampled_from([0x0303] * 6 + [0x0300, 0x0301, 0x0302, 0x0304, 0x0200]))
    session = bytes(draw(st.sampled_from([0, 32, 16, 33])))
    message = bytearray(hello_message(*parts, version=version, session=session))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 1, 2]))):
        at = draw(st.integers(0, len(message) - 1))
        how = draw(st.integers(0, 3))
        if how == 0:
            message[at] = draw(st.integers(0, 255))
        elif how == 1:
            message[at] = (message[at] + draw(st.sampled_from([1, -1]))) % 256
        else:
            message[at : at + (how == 3)] = draw(_junk)
    tail: bytes = draw(st.one_of(*[st.just(b"")] * 5, _junk))
    return bytes(message) + tail


_strangers = st.sampled_from([record(b""), record(b"\x01\x00", kind=21), CHANGE_CIPHER_SPEC, record(b"x", kind=23),
                              record(b"", kind=20), record(b"\x02\x28", kind=21), record(b"", kind=21)])


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """A message in records: one, many, with others between, and sometimes a wrong byte in front."""
    message = draw(messages())
    if draw(st.integers(0, 2)):
        data = record(message, version=draw(st.sampled_from([0x0301, 0x0303, 0x0300, 0x0304, 0x03FF])))
    else:
        pieces = []
        while message:
            size = draw(st.sampled_from([1, 2, 5, 40, 1000]))
            pieces.append(record(message[:size], version=draw(st.sampled_from([0x0301, 0x0303]))))
            message = message[size:]
            if len(pieces) < 4 and not draw(st.integers(0, 9)):
                pieces.append(draw(_strangers))
        data = b"".join(pieces)
    if not draw(st.integers(0, 7)):
        data = draw(_strangers) + data
    if not draw(st.integers(0, 7)):
        at = draw(st.integers(0, min(len(data), 12) - 1))
        data = data[:at] + draw(_junk) + data[at + 1 :]
    return data


# --- the differences, by name ---

# Hellos that we call flawed and OpenSSL takes. The front of our flaw, and why it stays one.
WE_REFUSE = {
    "server_name b": "OpenSSL takes any bytes but NUL for a name; no client asks for what is no host name, and no "
                     "policy could match it (RFC 6066, 3)",
    "a handshake record of 0 bytes": "forbidden (RFC 8446, 5.1); OpenSSL overlooks 32 of them, others none",
    "a handshake message is broken off": "forbidden (RFC 8446, 5.1); OpenSSL overlooks empty records inside",
    "bytes behind the ClientHello": "a message must end with its record where the keys change (RFC 8446, 5.1)",
    "an extension stands twice": "forbidden (RFC 8446, 4.2); OpenSSL checks that of those only that it knows",
    "no ClientHello first": "OpenSSL overlooks an empty change_cipher_spec record in front, no other record",
    "bytes behind the extensions": "OpenSSL 3.0 skips what follows them in a TLS 1.2 hello",
}

# Hellos that we read and OpenSSL refuses: its words. A server that breaks off has served nothing, so it does no harm to
# have looked for a name in them.
THEY_REFUSE = {
    "bad extension", "bad key share", "bad legacy version", "bad psk", "bad psk identity", "bad record type",
    "clienthello tlsext", "decode error", "error in received cipher list", "extension not received",
    "inappropriate fallback", "inconsistent early data sni", "length mismatch", "length too long", "length too short",
    "missing psk kex modes extension", "missing supported groups extension", "no ciphers specified",
    "no compression specified", "no shared cipher", "no suitable key share", "no suitable signature algorithm",
    "packet length too long", "required compression algorithm missing", "unexpected message", "unsupported protocol",
    "version too low", "wrong version number",
}


def ours(data: bytes) -> Classification | None:
    """What we say of a stream; None where it is no hello, or not yet."""
    found = classifier.classify(data)
    return found if isinstance(found, Classification) else None


def as_name(raw: bytes) -> str:
    """A name from the wire as a Classification has it."""
    return raw.decode("ascii", "backslashreplace").lower().removesuffix(".")


def compare(data: bytes, saw: Saw, reasons: set[str]) -> None:
    """The rule, and that each difference is one of those named above."""
    found = ours(data)
    if not saw.asked:
        if found is not None and not found.flaw:
            assert saw.error.replace("_", " ").lower() in reasons, f"refused for a new reason: {saw.error}"
        return
    assert found is not None, "a hello that we do not see"
    if found.flaw:
        assert any(found.flaw.startswith(front) for front in WE_REFUSE), f"refused for a new reason: {found.flaw}"
    else:
        assert found.names == (() if saw.name is None else (as_name(saw.name),))


@OPENSSLS
@given(streams())
@settings(max_examples=400)
def test_openssl_sees_no_more_than_we(peer: Callable[[bytes], Saw], data: bytes) -> None:
    """Whatever hello OpenSSL understands, we saw its name or its flaw."""
    compare(data, peer(data), THEY_REFUSE)


@OPENSSLS
@pytest.mark.parametrize("size", [1, 2, 3, 5, 50, 16384])
@pytest.mark.parametrize("make", [real_hello, hello, lambda name: hello(name, quantum=True)])
def test_good_hellos_are_understood_by_all(peer: Callable[[bytes], Saw], make: Callable[[str | None], bytes],
                                           size: int) -> None:
    """The comparison means something: hellos as browsers send them, in any records, have one name for everybody."""
    for name in ("a.example", "xn--bcher-kva.example", None):
        data = records(make(name)[5:], size)
        found = ours(data)
        assert found is not None
        assert not found.flaw
        wanted = None if name is None else name.encode()
        assert found.names == (() if name is None else (name,))
        assert peer(data) == Saw(True, wanted, peer(data).error)
        assert aioquic(make(name)[5:]).name == wanted


@OPENSSLS
def test_openssl_waits_as_long_as_we_do(peer: Callable[[bytes], Saw]) -> None:
    """The byte that completes the hello for us completes it for OpenSSL: its segment is what is withheld (E5)."""
    for data in (real_hello("a.example"), records(real_hello("a.example")[5:], 40)):
        assert not peer(data[:-1]).asked
        assert ours(data[:-1]) is None
        assert peer(data).asked
        assert ours(data) is not None


@OPENSSLS
def test_the_differences_exist(peer: Callable[[bytes], Saw]) -> None:
    """OpenSSL takes what we call flawed, for the reasons above: should that change, the list gets shorter."""
    whole = hello_message(server_name(b"a.example"), _SIGNATURES, _GROUPS)
    for flawed, flaw in (
        (record(hello_message(server_name(b"a b"), _SIGNATURES)), "server_name b"),
        (record(b"") + record(whole), "a handshake record of 0 bytes"),
        (record(whole + b"\0"), "bytes behind the ClientHello"),
        (record(hello_message(extension(GREASE), extension(GREASE), _SIGNATURES)), "an extension stands twice"),
        (record(b"", kind=20) + record(whole), "no ClientHello first"),
    ):
        found = ours(flawed)
        assert found is not None
        assert found.flaw.startswith(flaw)
        assert peer(flawed).asked, flaw


# aioquic reads TLS 1.3 for QUIC. It overlooks what stands behind the hello and extensions that stand twice; it believes
# the lengths inside an extension and not the extension's own, and so can lose what follows it.
_ONLY_QUIC = "aioquic believes an extension's inner length"


@given(messages())
@settings(max_examples=400)
def test_aioquic_sees_no_more_than_we(message: bytes) -> None:
    """A strict reader, written by somebody else from the same RFC."""
    saw, found = aioquic(message), ours(record(message))
    if saw.asked and not (found is not None and found.flaw):
        assert found is not None
        if saw.name is not None:
            assert found.names == (as_name(saw.name),)


def test_aioquic_loses_a_name() -> None:
    """Why the comparison above is in one direction only."""
    lost = handshake(1, hello_message(extension(51), server_name(b"a.example"))[4:])
    assert ours(record(lost)) is not None
    assert ours(record(lost)).names == ("a.example",)  # type: ignore[union-attr]
    assert aioquic(lost).name is None, _ONLY_QUIC
