"""Initial packets to the names in them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfqdpi.core.classifier import NEED_MORE, Answer, Classification, Glimpse
from nfqdpi.plugins.quic import read
from nfqdpi.plugins.quic_packet import initials
from nfqdpi.testing.quic import ACK, CLOSE, DCID, DRAFT29, PING, V1, V2, crypto, flight, initial, long_packet
from nfqdpi.testing.tls import extension, hello, hello_message, server_name
from tests.fuzz.quic import said

DATA = Path(__file__).parents[1] / "data"
HELLO = hello("a.example")[5:]
QUANTUM = hello("a.example", quantum=True)[5:]  # as Chromium's: two datagrams
OTHER = hello("b.example")[5:]
CHOSEN = b"server's"  # an id that a server may choose
RETRIED = b"from a Retry"


def unit(answer: Answer) -> Classification:
    """A hello that is whole and well."""
    assert isinstance(answer, Classification)
    assert not answer.flaw
    return answer


def flaw(*datagrams: bytes) -> str:
    """What is wrong with the last of these; the others are well."""
    answers = said(datagrams)
    assert len(answers) == len(datagrams)
    assert isinstance(answers[-1], Classification)
    assert answers[-1].then is None
    assert all(not isinstance(answer, Classification) or not answer.flaw for answer in answers[:-1])
    return answers[-1].flaw


@pytest.mark.parametrize(("file", "version"), [("rfc9001", "1"), ("rfc9369", "2")])
def test_the_examples_of_the_standards(file: str, version: str) -> None:
    """The client Initials of RFC 9001, A.2 and RFC 9369, A.2."""
    found = unit(read(bytes.fromhex((DATA / f"{file}.hex").read_text())))
    assert (found.protocol, found.names) == ("quic", ("example.com",))
    assert found.attributes == {"quic": version, "version": "TLS 1.3", "alpn": "alpn",
                                "ja4": "q13d0211an_62ed6f6ca7ad_4d634acda6c0"}


@pytest.mark.parametrize(("version", "name"), [(V1, "1"), (V2, "2"), (DRAFT29, "draft-29")])
def test_versions(version: int, name: str) -> None:
    """Each has its own salt, labels and types of packets."""
    found = unit(read(initial(crypto(HELLO), version=version, token=b"token")))
    assert (found.names, found.attributes["quic"], found.veiled) == (("a.example",), name, False)


def test_an_encrypted_hello_is_told() -> None:
    """As in TLS."""
    found = unit(read(initial(crypto(hello("a.example", extension(0xFE0D, bytes(200)))[5:]))))
    assert (found.names, found.attributes["ech"], found.veiled) == (("a.example",), "outer", True)


def test_no_name() -> None:
    """A hello without SNI is a unit without names."""
    assert unit(read(initial(crypto(hello_message())))).names == ()


@given(st.lists(st.lists(st.tuples(st.integers(0, len(QUANTUM) - 1), st.integers(1, 400)), min_size=1, max_size=4),
                max_size=6), st.lists(st.integers(1, len(QUANTUM) - 1), max_size=5), st.sampled_from([V1, V2]))
def test_any_pieces_in_any_order(datagrams: list[list[tuple[int, int]]], cuts: list[int], version: int) -> None:
    """Frames may overlap, repeat and come in any order over any datagrams: the one that completes the hello has the
    name; before it are glimpses, behind it is nothing more to say."""
    bounds = [0, *sorted(set(cuts)), len(QUANTUM)]
    datagrams += [[(start, end - start)] for start, end in pairwise(bounds)]
    answers = said(initial(ACK, *(crypto(QUANTUM[at : at + size], at) + PING for at, size in pieces), bytes(3),
                           number=n, version=version) for n, pieces in enumerate(datagrams))
    got: set[int] = set()
    for pieces, answer in zip(datagrams, answers, strict=True):
        before = len(got)
        got |= {n for at, size in pieces for n in range(at, min(at + size, len(QUANTUM)))}
        if len(got) == before:
            assert answer is NEED_MORE
        elif len(got) < len(QUANTUM):
            assert isinstance(answer, Glimpse)
        else:
            assert unit(answer).names == ("a.example",)


def test_every_cut_over_two_datagrams() -> None:
    """Wherever the hello is cut, in either order; the parts may come again, before it is whole and behind."""
    for cut in range(1, len(HELLO), 7):
        one, two = flight(HELLO, [cut])
        for first, second in ((one, two), (two, one)):
            glimpse, again, whole, *later = said([first, first, second, first, second])
            assert isinstance(glimpse, Glimpse)
            assert again is NEED_MORE
            assert unit(whole).names == ("a.example",)
            assert later == [NEED_MORE, NEED_MORE]


def test_as_browsers_send_it() -> None:
    """Chromium cuts a post-quantum hello into many frames, in disorder and with padding between, over two datagrams."""
    pieces = [crypto(QUANTUM[n : n + 99], n) for n in range(0, len(QUANTUM), 99)]
    one, two = pieces[::2], pieces[1::2]
    glimpse, whole = said([initial(*one[::-1], PING, number=1, size=1),
                           initial(bytes(5), *two[3:], bytes(9), PING, *two[:3], number=2, size=1)])
    assert isinstance(glimpse, Glimpse)
    assert unit(whole).names == ("a.example",)


def test_coalesced_packets() -> None:
    """A datagram may hold several Initials, others of known length between them, and padding (RFC 9000, 12.2)."""
    one, two = (initial(crypto(part, start), number=start, pad=0)
                for part, start in ((HELLO[:50], 0), (HELLO[50:], 50)))
    early = long_packet(1, bytes(40))
    for datagram in (one + two, two + one, early + one + early + two + bytes(300), one + two + long_packet(3, b""),
                     one + long_packet(2, bytes(30)) + two, one + two + b"\x40" + bytes(30), one + two + b"\xc0"):
        assert unit(read(datagram)).names == ("a.example",)


@pytest.mark.parametrize("datagram", [
    pytest.param(b"", id="nothing"), pytest.param(b"\0", id="a byte"), pytest.param(bytes(1200), id="zeros"),
    pytest.param(b"\x40" + bytes(40), id="short header"), pytest.param(b"\xc0\0\0\0", id="half a version"),
    pytest.param(long_packet(1, bytes(1200)), id="0-RTT"), pytest.param(long_packet(2, bytes(1200)), id="Handshake"),
    pytest.param(long_packet(3, bytes(20)), id="Retry"),
    pytest.param(long_packet(3, bytes(20), version=V2), id="Retry of version 2"),
    pytest.param(long_packet(0, bytes(1200), version=0), id="Version Negotiation"),
    pytest.param(long_packet(0, bytes(1200), version=0x1A2A3A4A), id="a version that nobody may speak"),
    pytest.param(b"\x80\x60" + bytes(1300), id="RTP"),
    pytest.param(long_packet(0, bytes(300), version=0xBABABABB), id="DNSCrypt"),
    pytest.param(b"\xcc\xcc\1\0\0\1" + bytes(1300), id="DNS"),
])
def test_what_comes_first_decides_nothing(datagram: bytes) -> None:
    """A server ignores it, or keeps it until the Initial comes, which is read then."""
    first, second = said([datagram, initial(crypto(HELLO))])
    assert first is NEED_MORE
    assert unit(second).names == ("a.example",)


def test_a_retry() -> None:
    """The second Initial has another id, a token, and keys of its own: it is judged again."""
    first, second = said([initial(crypto(HELLO)), initial(crypto(HELLO), dcid=RETRIED, token=b"t" * 80, number=1)])
    assert unit(first).names == unit(second).names == ("a.example",)


def test_a_second_attempt_is_judged() -> None:
    """Another id is another handshake, whatever the first was."""
    answers = said([initial(crypto(HELLO)), initial(crypto(OTHER[:60]), dcid=RETRIED),
                    initial(crypto(OTHER[60:], 60), dcid=RETRIED, number=1)])
    assert unit(answers[0]).names == ("a.example",)
    assert isinstance(answers[1], Glimpse)
    assert unit(answers[2]).names == ("b.example",)
    both = unit(read(initial(crypto(HELLO), pad=0) + initial(PING, dcid=RETRIED)))
    assert both.names == ("a.example",)


def test_the_ids_of_units() -> None:
    """A server knows a hello by the id that its client chose, whatever id is in the packet; and what of it has come
    is told as long as it is not judged."""
    front, rest = flight(HELLO, [50])
    answers = said([front, initial(crypto(OTHER), dcid=RETRIED), rest, initial(crypto(HELLO[:3], len(HELLO)), number=2),
                    initial(crypto(OTHER[:9], len(OTHER) + 1), dcid=CHOSEN, under=RETRIED, number=1),
                    initial(crypto(OTHER), dcid=CHOSEN)])
    assert [answer.ids for answer in answers if isinstance(answer, Classification | Glimpse)] == [
        (DCID,), *[(DCID, RETRIED)] * 4, (DCID, RETRIED, CHOSEN)]
    assert [answer.more for answer in answers if isinstance(answer, Classification)] == [True, False, True]


def test_the_server_chooses_an_id() -> None:
    """The keys stay those of the client's first id, also where the server goes on in version 2 (RFC 9369, 4.1)."""
    first, *rest = flight(HELLO, [50])
    for version in (V1, V2):
        answers = said([first, initial(ACK, dcid=CHOSEN, under=DCID, version=version, number=1),
                        initial(crypto(HELLO[50:], 50), dcid=CHOSEN, under=DCID, version=version, number=2),
                        initial(CLOSE, dcid=CHOSEN, under=DCID, version=version, number=3), *rest])
        assert isinstance(answers[0], Glimpse)
        assert answers[1] is NEED_MORE
        assert unit(answers[2]).names == ("a.example",)
        assert answers[3:] == [NEED_MORE, NEED_MORE]


def test_a_second_hello_is_judged() -> None:
    """Behind a HelloRetryRequest the handshake goes on with another hello (RFC 8446, 4.1.2), which may have another
    name; what was said before stays."""
    end = len(HELLO)
    answers = said([initial(crypto(HELLO)), initial(crypto(OTHER[:9], end), dcid=CHOSEN, under=DCID, number=1),
                    initial(crypto(OTHER[9:], end + 9), dcid=CHOSEN, under=DCID, number=2)])
    assert isinstance(answers[1], Glimpse)
    assert unit(answers[2]).names == ("b.example",)
    assert flaw(initial(crypto(HELLO)), initial(crypto(b"\x02", end))) == "no ClientHello"
    assert flaw(initial(crypto(HELLO + OTHER))) == "two ClientHellos in a datagram"


def test_frames_that_differ() -> None:
    """Copies are compared, on whatever way they come, before the hello is whole and behind (E3)."""
    other = HELLO.replace(b"a.example", b"b.example")
    reason = "CRYPTO frames differ where they overlap"
    front, rest = flight(HELLO, [100])
    for decoy in (initial(crypto(other), number=9), initial(crypto(other), dcid=CHOSEN, under=DCID, number=9),
                  initial(crypto(other), version=V2, number=9), initial(crypto(other), pad=0, number=9)):
        assert flaw(initial(crypto(HELLO)), decoy) == reason
        assert flaw(front, rest, decoy) == reason
    assert flaw(initial(crypto(HELLO), crypto(other))) == reason
    assert flaw(initial(crypto(b"\x01\0"), crypto(b"\x02", 1))) == reason


def test_a_flawed_hello_keeps_its_names() -> None:
    """The event shows what was asked for."""
    found = read(initial(crypto(hello_message(server_name(b"a", b"b")))))
    assert isinstance(found, Classification)
    assert (found.names, found.flaw, found.attributes) == (
        ("a", "b"), "server_name is not one host_name", {"quic": "1"})


GOOD = initial(crypto(HELLO))


@pytest.mark.parametrize(("datagram", "reason"), [
    (GOOD[:-1] + b"\0", "no key opens"), (initial(crypto(HELLO), under=b"other id"), "no key opens"),
    (long_packet(0, bytes(1200), version=0xFF000018), "QUIC version 0xff000018 is unknown"),
    (long_packet(0, b"\0" * 19, token=b""), "too short"), (long_packet(0, b"", token=b""), "too short"),
    (GOOD[:400], "wanted"), (GOOD[:8], "wanted"), (b"\xc0\0\0\0\x01\x04abcd", "wanted"),
    (GOOD + b"\xc0\0\0\0\x01\x08", "wanted"),
    (initial(crypto(HELLO), dcid=bytes(21)), "a connection id of more than 20 bytes"),
    (initial(size=4, pad=0)[:7], "wanted"),
    (initial(b"\x1d\0\0"), "frame 0x1d"), (initial(b"\x08\0x"), "frame 0x08"), (initial(b"\x40\x06\0\0"), "frame 0x40"),
    (initial(b"\x06\0\x80\0\xff\xff"), "wanted"), (initial(b"\x02\0\0\1\0\xc0", pad=0), "wanted"),
    (initial(bytes(1100), b"\x06", pad=0), "wanted"),
    (initial(crypto(b"x", 1 << 14)), "a handshake of 16385 bytes"),
    (initial(crypto(b"x", (1 << 62) - 1)), "a handshake of"),
    (initial(crypto(b"\x01\0\x40\0")), "a handshake of 16388 bytes"),
    (initial(crypto(b"\x01\xff\xff\xff")), "a handshake of"),
    (initial(*(crypto(b"x", 2 * n) for n in range(1, 60))) + initial(*(crypto(b"x", 2 * n) for n in range(60, 70))),
     "CRYPTO frames with too many gaps"),
    (initial(*[crypto(b"\x01")] * 65), "too many frames"), (initial(b"\2\0\0\x40\x41", bytes(131)), "too many ranges"),
    (initial(crypto(b"\x16\x03\x01")), "no ClientHello"),
    (initial(crypto(hello_message(server_name(b"a b")))), "server_name"),
    (b"".join(initial(PING, pad=0, number=n) for n in range(9)), "too many Initial packets"),
])
def test_flaws(datagram: bytes, reason: str) -> None:
    """What no server takes, or what we could not follow, is not waited with."""
    assert reason in flaw(datagram)
    assert reason in flaw(initial(PING, dcid=RETRIED, number=3), datagram)


def test_a_packet_without_frames() -> None:
    """Must not be (RFC 9000, 12.4); there is one only where the packet number is as long as can be."""
    assert flaw(initial(pad=0)) == "a packet without frames"


def test_nothing_is_forgotten() -> None:
    """Who could make us forget what was sent could send it anew with other contents: one id too many is a flaw, and so
    is what belongs to an attempt that began before us."""
    attempts = [initial(PING, dcid=b"attempt%d" % n) for n in range(5)]
    assert flaw(*attempts) == "too many connection ids on one flow"
    assert flaw(initial(crypto(HELLO)), initial(ACK, dcid=CHOSEN, under=RETRIED)) == (
        "an Initial packet that no key opens")


def test_connections_one_after_the_other() -> None:
    """What is judged whole leaves room for the next on its flow, up to a bound; what is not counts on."""
    whole = [initial(crypto(HELLO), dcid=b"attempt %02d" % n) for n in range(17)]
    assert [unit(answer).names for answer in said(whole[:16])] == [("a.example",)] * 16
    assert flaw(*whole) == "too many connection ids on one flow"
    halves = [initial(crypto(HELLO[:60]), dcid=b"half %d" % n) for n in range(5)]
    assert flaw(*whole[:5], *halves) == "too many connection ids on one flow"


def test_packet_numbers() -> None:
    """They may begin anywhere, as Firefox's do, and be cut once the server has acknowledged some (RFC 9000, A.2)."""
    for start, size in ((0, 1), (1023, 1), (250, 1), (70_000, 2), (2**31 - 9, 1), (2**31 - 9, 2)):
        answers = said([initial(crypto(HELLO[:50]), number=start), initial(crypto(HELLO[50:], 50), number=start + 8,
                                                                          size=size)])
        assert unit(answers[1]).names == ("a.example",)
    assert "no key opens" in flaw(initial(PING, number=5), initial(crypto(HELLO), number=300, size=1))


def test_the_initials_of_a_datagram() -> None:
    """Each with its id and its own bytes."""
    one, two = initial(PING, pad=0), initial(PING, dcid=b"", version=V2, pad=0)
    assert [(packet.dcid, packet.data) for packet in initials(one + long_packet(2, b"x") + two + b"\0")] == [
        (DCID, one), (b"", two)]


@given(st.lists(st.binary(max_size=200) | st.binary(max_size=80).map(lambda data: initial(data, pad=0))
                | st.binary(max_size=99).map(lambda data: b"\xc0\0\0\0\x01" + data)
                | st.tuples(st.integers(0, 1199), st.binary(min_size=1, max_size=3)).map(
                    lambda patch: GOOD[: patch[0]] + patch[1] + GOOD[patch[0] + len(patch[1]) :]), max_size=4))
def test_any_bytes_have_an_answer(datagrams: list[bytes]) -> None:
    """Whatever a client sends: never an exception."""
    for answer in said(datagrams):
        assert answer is NEED_MORE or isinstance(answer, Classification | Glimpse)


@pytest.mark.parametrize("first", [
    b"\x40" + bytes(1199), bytes(1200), b"\xc0\x1a\x2a\x3a\x4a\x08" + bytes(1194), b"\xf0\0\0\0\1" + bytes(1195),
    long_packet(2, bytes(2000), dcid=bytes(8)), bytes(301),
])
def test_a_packet_may_not_begin_within_another(first: bytes) -> None:
    """Datagrams that are sent together come apart where nobody tells: what is opaque to us must not hide a hello."""
    whole = first[:-300] + b"".join(flight(HELLO))
    found = read(whole)
    assert isinstance(found, Classification)
    assert found.flaw
