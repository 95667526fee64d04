"""ClientHellos to their names."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfqdpi.core.classifier import NEED_MORE, NO_MATCH, Classification, Pending, Reply, Step
from nfqdpi.plugins.tls import classifier
from nfqdpi.testing.tls import (
    CHANGE_CIPHER_SPEC,
    GREASE,
    RETRY,
    alpn,
    extension,
    handshake,
    hello,
    hello_message,
    real_hello,
    record,
    records,
    server_hello,
    server_name,
    vector,
)
from tests.plugins import prefixes
from tests.plugins.prefixes import answer, settles, waits

classify = classifier.classify
unit = partial(prefixes.unit, classify)


def named(name: bytes) -> bytes:
    """A small ClientHello with this name, raw."""
    return record(hello_message(server_name(name)))


@pytest.mark.parametrize("make", [hello, real_hello, lambda name: hello(name, quantum=True),
                                  lambda name: named(name.encode())],
                         ids=["browser", "OpenSSL", "post-quantum", "one extension"])
def test_a_name(make: Callable[[str], bytes]) -> None:
    """The server name is found whatever else the hello says."""
    found = unit(make("a.example"))
    assert (found.names, found.flaw) == (("a.example",), "")


@pytest.mark.parametrize(("raw", "name"), [
    (b"A.Example", "a.example"), (b"a.example.", "a.example"), (b"xn--bcher-kva.example", "xn--bcher-kva.example"),
    (b"a_b.example", "a_b.example"), (b"localhost", "localhost"), (b"10.0.0.1", "10.0.0.1"), (b"fd00::1", "fd00::1"),
    (b"::ffff:10.0.0.1", "::ffff:10.0.0.1"),
    (b".".join([b"a" * 63] * 3 + [b"b" * 61]), ".".join(["a" * 63] * 3 + ["b" * 61])),
])
def test_names_are_canonical(raw: bytes, name: str) -> None:
    """Lower case, without the trailing dot; IP literals as they stand."""
    assert unit(named(raw)).names == (name,)


def test_no_name() -> None:
    """A hello without SNI, and one without extensions at all (RFC 5246, 7.4.1.2)."""
    assert unit(hello(None)).names == ()
    assert unit(record(hello_message())).names == ()


def test_attributes() -> None:
    """The highest version offered that anybody knows, and the protocols, in ASCII."""
    attributes = unit(hello("a.example")).attributes
    assert (attributes["version"], attributes["alpn"]) == ("TLS 1.3", "h2,http/1.1")
    assert attributes["ja4"].startswith("t13d0305h2_")
    assert "ech" not in attributes
    old = unit(record(hello_message(alpn(b"\xff,"), version=0x0301))).attributes
    assert (old["version"], old["alpn"], old["ja4"][:10]) == ("TLS 1.0", "\\xff,", "t11i0301fc"[:2] + "0i0301fc")
    assert unit(record(hello_message(version=0x0404))).attributes["version"] == "0x0404"


@pytest.mark.parametrize("order", [[*range(11)][::-1], [*range(5, 11), *range(5)]])
def test_a_client_is_known_however_it_shuffles(order: list[int]) -> None:
    """The order of extensions, GREASE and the name vary from flow to flow, and change nothing of what is told of a
    client; one more extension does."""
    def told(order: list[int], grease: int, *more: bytes) -> tuple[tuple[str, ...], Mapping[str, str]]:
        offered = vector(1, struct.pack("!3H", grease, 0x0304, 0x0303))
        extensions = [extension(grease), server_name(b"%x.example" % grease), alpn(b"h2"), extension(43, offered),
                      *(extension(kind) for kind in (35, 62, 0x44CD, 0xCA34, 0xFF01, 0x1234, 0xFFFF))]
        found = unit(record(hello_message(*(extensions[n] for n in order), *more)))
        return found.names, found.attributes

    names, attributes = told([*range(11)], GREASE)
    assert (names, attributes["ja4"][:11]) == (("a0a.example",), "t13d0310h2_")
    assert told(order, 0xFAFA) == (("fafa.example",), attributes)
    assert told(order, 0xFAFA, extension(0x1235))[1]["ja4"].startswith("t13d0311h2_")


def test_many_clients() -> None:
    """More clients than are remembered: each has a fingerprint of its own, and the same when it comes again."""
    hellos = [record(hello_message(server_name(b"a.example"), extension(100 + n))) for n in range(1200)]
    def fingerprints() -> list[str]:
        return [found.attributes["ja4"] for found in map(classify, hellos) if isinstance(found, Classification)]

    first = fingerprints()
    assert len(set(first)) == len(hellos)
    assert fingerprints() == first


def test_what_is_told_is_the_unit_s_own() -> None:
    """Who adds to a unit's attributes does not add to those of its client's other flows."""
    attributes = unit(hello("a.example")).attributes
    assert isinstance(attributes, dict)
    attributes["advice"] = "none"
    assert "advice" not in unit(hello("a.example")).attributes


def test_an_encrypted_hello_is_told() -> None:
    """The extension may be GREASE or the truth: the outer name is used, and the attribute says that it may not be all
    (RFC 9849)."""
    outer = unit(hello("a.example", extension(0xFE0D, bytes(200))))
    assert (outer.names, outer.attributes["ech"], outer.veiled) == (("a.example",), "outer", True)
    inner = unit(hello("a.example", extension(0xFE0D, b"\x01")))
    assert ("ech" in inner.attributes, inner.veiled) == (False, False)


@pytest.mark.parametrize("size", [1, 3, 4, 5, 64, 1000])
def test_over_records(size: int) -> None:
    """A message may span any number of records (RFC 8446, 5.1)."""
    assert unit(records(hello("a.example", quantum=size > 50)[5:], size)).names == ("a.example",)


def test_every_cut_over_two_records() -> None:
    """Wherever the message is cut in two records, the answer is the same."""
    message = hello("a.example")[5:]
    for cut in range(1, len(message)):
        data = record(message[:cut]) + record(message[cut:], version=0x0303)
        assert waits(classify(data[:-1]))
        found = classify(data)
        assert isinstance(found, Classification)
        assert (found.names, found.length) == (("a.example",), len(data))


MESSAGE = hello_message(server_name(b"a.example"))


@pytest.mark.parametrize("data", [
    pytest.param(record(b""), id="empty record"),
    pytest.param(record(MESSAGE[:9]) + record(b""), id="empty record inside"),
    pytest.param(b"\x16\x03\x01\x40\x01" + MESSAGE, id="record longer than 2^14"),
    pytest.param(record(MESSAGE[:9]) + record(b"\x01", kind=20), id="another record inside"),
    pytest.param(record(MESSAGE[:9]) + b"\x16\x02", id="another version inside"),
    pytest.param(record(b"\x01\x02\0\0" + MESSAGE), id="message over 128 KiB"),
    pytest.param(record(MESSAGE + b"\0"), id="bytes behind it in its record"),
    pytest.param(record(handshake(1, MESSAGE[4:-1])), id="extensions cut short"),
    pytest.param(record(handshake(1, MESSAGE[4:] + b"\0")), id="bytes behind the extensions"),
    pytest.param(record(handshake(1, b"\x03\x03")), id="nothing but a version"),
    pytest.param(record(hello_message(server_name(b"a"), server_name(b"a"))), id="the extension twice"),
    pytest.param(record(hello_message(server_name(b"a", b"b"))), id="two names"),
    pytest.param(record(hello_message(server_name(b"a", kind=1))), id="no host_name"),
    pytest.param(record(hello_message(server_name())), id="no entry"),
    pytest.param(record(hello_message(extension(0))), id="no list"),
    pytest.param(record(hello_message(extension(0, vector(2, b"\0" + vector(2, b"a")) + b"x"))),
                 id="bytes behind the list"),
    pytest.param(record(hello_message(extension(16, b"\0\x05\x02h2"))), id="ALPN cut short"),
    pytest.param(record(hello_message(extension(43, b"\x01\x03"))), id="half a version"),
    *(pytest.param(named(name), id=repr(name[:20])) for name in (
        b"", b"a\0b", b"a b", b"a\n", b"b\xfccher", b"-/-", b"a..b", b".a", b".", b"a" * 64, b"a." * 127 + b"a",
        b"*.example", b"a.example:443")),
    pytest.param(b"\x14\x03", id="change_cipher_spec first"),
    pytest.param(b"\x15\x03", id="alert first"),
    pytest.param(b"\x17\x03", id="application data first"),
])
def test_flaws(data: bytes) -> None:
    """What breaks the protocol's rules says so, and what stands behind it changes nothing."""
    found = settles(classify, data)
    assert isinstance(found, Classification)
    assert found.flaw
    tailed = classify(data + hello("a.example"))
    assert isinstance(tailed, Classification)
    assert tailed.flaw == found.flaw


def test_a_flawed_hello_keeps_its_names() -> None:
    """The event shows what was asked for."""
    found = classify(record(hello_message(server_name(b"a", b"b"), extension(GREASE))))
    assert isinstance(found, Classification)
    assert found.names == ("a", "b")


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n", b"\x80", b"\x16\x02", b"\x17\x02", b"\x16\x03\x01\0\x04\x02",
                                  b"\0"])
def test_other_protocols(data: bytes) -> None:
    """Another protocol, an SSLv2 hello, or a server's side of TLS."""
    assert settles(classify, data) is NO_MATCH


def test_replies() -> None:
    """A ServerHello accepts, a HelloRetryRequest does not, each once it is whole, whatever follows in its record."""
    confirm = unit(hello("a.example")).confirm
    assert confirm is not None
    for data, accepted in ((server_hello(), True), (server_hello(RETRY), False),
                           (CHANGE_CIPHER_SPEC + server_hello(), True),
                           (CHANGE_CIPHER_SPEC * 2 + server_hello(RETRY), False)):
        assert {confirm(data[:n]) for n in range(len(data))} == {NEED_MORE}
        for tail in (b"", CHANGE_CIPHER_SPEC, bytes(99)):
            assert confirm(data + tail) == Reply(accepted, len(data))
    assert confirm(server_hello(padding=9000)[:200]) == Reply(True, len(server_hello(padding=9000)))


@pytest.mark.parametrize("data", [b"HTTP/1.1 400 Bad Request\r\n\r\n", record(b"\x02\x28", kind=21), record(b""),
                                  record(handshake(2, bytes(33))), record(handshake(1, bytes(40)))])
def test_no_replies(data: bytes) -> None:
    """Whatever else a server says settles nothing, ever."""
    confirm = unit(hello("a.example")).confirm
    assert confirm is not None
    assert confirm(data) is NEED_MORE


def test_after_a_retry() -> None:
    """Change_cipher_spec, early data and alerts are stepped over; the second hello is read as the first
    (RFC 8446, 4.1.2 and D.4)."""
    reader = unit(hello("a.example")).then
    assert reader is not None
    for kind in (20, 21, 23):
        step = answer(reader, record(bytes(300), kind=kind)[:5])
        assert isinstance(step, Step)
        assert (step.length, step.skip, step.then) == (5, 300, reader)
    second = answer(reader, hello("b.example"))
    assert isinstance(second, Classification)
    assert (second.names, second.then) == (("b.example",), reader)
    for data in (b"GET / HTTP/1.1", record(b"\x10", kind=22)):
        other = settles(reader, data)
        assert isinstance(other, Classification)
        assert other.flaw


@given(st.binary(min_size=1, max_size=300) | st.binary(max_size=200).map(lambda body: record(handshake(1, body)))
       | st.binary(max_size=200).map(lambda data: record(hello_message(extension(0, data))))
       | st.tuples(st.integers(0, 2000), st.binary(min_size=1, max_size=3)).map(
           lambda patch: (data := hello("a.example", quantum=True))[: patch[0]] + patch[1]
           + data[patch[0] + len(patch[1]) :]))
def test_any_bytes_have_an_answer(data: bytes) -> None:
    """Whatever a client or a server sends: never an exception, and never more taken than there is."""
    template = classify(hello("a.example"))
    assert isinstance(template, Classification)
    assert template.confirm is not None
    assert template.then is not None
    assert isinstance(template.confirm(data), Reply | Pending)
    for read in (classify, template.then):
        found = read(data)
        if isinstance(found, Classification | Step):
            assert 0 < found.length <= len(data)
