"""Our reader of Initial packets against aioquic: its clients and servers, and its packet protection.

The rule is that of TLS: whatever hello a server can have put together of a client's datagrams, we found its name, or
said that there is a flaw.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache

import pytest
from aioquic._crypto import CryptoError
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import QuicProtocolVersion, encode_quic_retry
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st

from nfqdpi.core.classifier import NEED_MORE, Answer, Classification, Glimpse
from nfqdpi.plugins.quic_packet import initial_keys, initials
from nfqdpi.testing.quic import DCID, V1, V2, crypto, initial, varint
from nfqdpi.testing.tls import hello
from tests.differential.tls_peers import aioquic
from tests.fuzz.quic import said

_ADDRESS = ("192.0.2.1", 443)
_V1, _V2 = QuicProtocolVersion.VERSION_1, QuicProtocolVersion.VERSION_2


def unit(answer: Answer) -> Classification:
    """A hello that is whole and well."""
    assert isinstance(answer, Classification)
    assert not answer.flaw
    return answer


def client(*versions: int, protocols: int = 1) -> QuicConnection:
    """One that begins in the last of its versions; with many protocols its hello takes several datagrams."""
    peer = QuicConnection(configuration=QuicConfiguration(
        is_client=True, server_name="a.example", alpn_protocols=[f"h3-{n:03}" for n in range(protocols)],
        supported_versions=list(versions), original_version=versions[-1], verify_mode=0))
    peer.connect(_ADDRESS, now=0.0)
    return peer


@cache
def certificate() -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """One that nobody checks."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a.example")])
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, datetime(2026, 1, 1, tzinfo=UTC),
                                   datetime(2036, 1, 1, tzinfo=UTC))
    return made.sign(key, SHA256()), key


def server(original: bytes, *versions: int) -> QuicConnection:
    """One that prefers the first of its versions."""
    configuration = QuicConfiguration(is_client=False, alpn_protocols=["h3-000"], supported_versions=list(versions))
    configuration.certificate, configuration.private_key = certificate()
    return QuicConnection(configuration=configuration, original_destination_connection_id=original)


def sent(peer: QuicConnection) -> list[bytes]:
    return [datagram for datagram, _ in peer.datagrams_to_send(now=0.0)]


def spoken(one: QuicConnection, other: QuicConnection) -> Iterator[bytes]:
    """What the client sends until neither has more to say."""
    for _ in range(9):
        datagrams = sent(one)
        yield from datagrams
        for datagram in datagrams:
            other.receive_datagram(datagram, _ADDRESS, now=0.0)
        for datagram in sent(other):
            one.receive_datagram(datagram, _ADDRESS, now=0.0)


@pytest.mark.parametrize("protocols", [1, 200])
@pytest.mark.parametrize("versions", [(_V1,), (_V2,), (_V2, _V1)], ids=["1", "2", "from 1 to 2"])
def test_a_whole_handshake(versions: tuple[int, ...], protocols: int) -> None:
    """Real peers: the name is there with the datagram that completes the hello, once, and nothing behind it is a flaw,
    also where the server goes on in another version (RFC 9369, 4.1)."""
    asking = client(*versions, protocols=protocols)
    answering = server(asking.original_destination_connection_id, *versions)
    datagrams = list(spoken(asking, answering))
    assert asking._handshake_complete
    answers = said(datagrams)
    assert len(answers) == len(datagrams) >= 2
    units = [answer for answer in answers if isinstance(answer, Classification)]
    assert [unit(answer).names for answer in units] == [("a.example",)]
    at = answers.index(units[0])
    assert at == (protocols > 100)
    assert all(isinstance(answer, Glimpse) for answer in answers[:at])
    assert set(answers[at + 1 :]) == {NEED_MORE}


def test_a_retry() -> None:
    """The client begins anew with the server's id and token; both times its hello is read."""
    asking = client(_V1, protocols=200)
    first = sent(asking)
    asking.receive_datagram(encode_quic_retry(
        version=_V1, source_cid=b"server's", destination_cid=asking.host_cid,
        original_destination_cid=asking.original_destination_connection_id, retry_token=b"token"), _ADDRESS, now=0.0)
    answers = said([*first, *sent(asking)])
    assert [unit(answer).names for answer in answers if isinstance(answer, Classification)] == [("a.example",)] * 2


@given(st.binary(min_size=0, max_size=20), st.sampled_from([V1, V2]), st.binary(min_size=4, max_size=300),
       st.integers(0, 2**31), st.integers(1, 4), st.none() | st.tuples(st.integers(0, 1199), st.integers(1, 255)))
def test_packet_protection(dcid: bytes, version: int, frames: bytes, number: int, size: int,
                           patch: tuple[int, int] | None) -> None:
    """Whatever packet aioquic opens, we open to the same frames and number; and no other, however it is changed."""
    packet = bytearray(initial(frames, number=number, size=size, dcid=dcid, version=version))
    at = packet.index(b"client") + 6 + 1 + 2  # behind the token's length, none, and the packet's
    if patch is not None and (patch[0] == 0 or patch[0] >= at):
        packet[patch[0]] ^= patch[1] & (0x0F if patch[0] == 0 else 0xFF)
    pair = CryptoPair()
    pair.setup_initial(cid=dcid, is_client=False, version=version)
    try:
        _, theirs, opened_as = pair.decrypt_packet(bytes(packet), at, number)
        wanted = opened_as, theirs
    except CryptoError:
        wanted = None
    (ours,) = initials(bytes(packet))
    assert ours.opened(initial_keys(ours.version, dcid), number) == wanted
    assert patch is not None or wanted


A, B = hello("a.example")[5:], hello("b.example")[5:]
_IDS = (DCID, b"another one", b"server's")


@st.composite
def packets(draw: st.DrawFn) -> tuple[bytes, int, bytes]:
    """A packet with a piece of one hello or the other, the id that its keys are of, and the piece as a frame."""
    at = draw(st.sampled_from([0, 0, 40, 60, 100]))
    frame = crypto(draw(st.sampled_from([A, A, B]))[at : draw(st.sampled_from([41, 61, 101, 999]))], at)
    under = draw(st.integers(0, 1))
    dcid = _IDS[draw(st.sampled_from([under, under, 2]))]
    number = draw(st.integers(0, 30))
    return initial(frame, number=number, size=1, dcid=dcid, under=_IDS[under], pad=0), under, frame


def names_at_a_server(seen: list[tuple[int, bytes]], *, last: bool) -> set[bytes]:
    """The names in the hellos that a server puts together, who keeps the first or the last copy of a byte."""
    names = set()
    held: tuple[dict[int, int], dict[int, int]] = ({}, {})
    for under, frame in seen:
        stream = held[under]
        at = frame[1] if frame[1] < 64 else int.from_bytes(frame[1:3], "big") & 0x3FFF
        data = frame[1 + len(varint(at)) :]
        data = data[1:] if data[0] < 64 else data[2:]
        for n, byte in enumerate(data, at):
            if last or n not in stream:
                stream[n] = byte
        whole = bytes(stream[n] for n in range(len(A)) if n in stream)
        if len(whole) == len(A) and (name := aioquic(whole).name) is not None:
            names.add(name)
    return names


@given(st.lists(packets(), min_size=1, max_size=8), st.lists(st.booleans(), min_size=8, max_size=8), st.booleans())
def test_no_server_knows_more(sent: list[tuple[bytes, int, bytes]], arrives: list[bool], last: bool) -> None:
    """Whichever of the datagrams that we let pass come to the server, whatever copy it believes: there is no name that
    it reads and we have not (E3). The datagram that is flawed does not pass, nor does any behind it."""
    answers = said([datagram for datagram, _, _ in sent])
    known = {name.encode() for answer in answers if isinstance(answer, Classification) for name in answer.names}
    flawed = isinstance(answers[-1], Classification) and bool(answers[-1].flaw)
    passed = [(under, frame) for (_, under, frame), arrived in zip(sent[: len(answers) - flawed], arrives, strict=False)
              if arrived]
    assert names_at_a_server(passed, last=last) <= known
