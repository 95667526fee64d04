"""DNS messages to their questions and records."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfqdpi.plugins.dns_message import parse
from nfqdpi.testing.dns import (
    AAAA,
    ALPN,
    ANSWER,
    ASKED,
    CNAME,
    HTTPS,
    MANDATORY,
    MX,
    NS,
    QUERY,
    SOA,
    TRUNCATED,
    A,
    answer,
    edns,
    message,
    name,
    query,
    question,
    resource,
    service,
)
from nfqdpi.testing.tls import vector

LONG = ".".join(["a" * 63] * 3 + ["b" * 61])  # 255 bytes on the wire


def names(data: bytes) -> tuple[str, ...]:
    """The names in a message without a flaw: what is asked, and who owns the records."""
    wire = parse(data)
    assert wire.flaw == ""
    owners = [record.name for section in wire.sections for record in section]
    return (*(each.name for each in wire.questions), *owners)


def labels(*of: bytes) -> bytes:
    """A name of these labels."""
    return b"".join(vector(1, label) for label in of) + b"\0"


@pytest.mark.parametrize(("of", "text"), [
    (name("A.Example"), "a.example"), (name("_dns._UDP.a.example"), "_dns._udp.a.example"), (b"\0", ""),
    (name("*.a.example"), "*.a.example"), (name("0/25.2.0.192.in-addr.arpa"), "0/25.2.0.192.in-addr.arpa"),
    (name(LONG), LONG), (labels(b"a.blocked", b"example"), "a\\046blocked.example"),
    (labels(b"fd00::1"), "fd00\\058\\0581"), (labels(b"a\\", b"b"), "a\\092.b"),
    (labels(b"a\0\x7f\xff b"), "a\\000\\127\\255\\032b"),
])
def test_a_name(of: bytes, text: str) -> None:
    """Lower case, without the trailing dot; what a label may not show is a number (RFC 1035, 5.1), so that none passes
    for two, nor for an address."""
    assert names(message(question(of))) == (text,)


@pytest.mark.parametrize("of", [
    pytest.param(name(LONG[:-1] + "bb"), id="256 bytes"),
    pytest.param(b"\x40" + bytes(64) + b"\0", id="a label of 64 bytes"),
    pytest.param(b"\x80a\0", id="a label of the third type"),
    pytest.param(b"\x01a" + ASKED, id="a pointer to itself"),
    pytest.param(b"\xc0\x00", id="a pointer into the header"),
    pytest.param(b"\xc0\x10", id="a pointer forward"),
    pytest.param(b"\xc0", id="half a pointer"),
    pytest.param(b"\x05abc", id="cut off"),
    pytest.param(b"", id="none"),
])
def test_no_name(of: bytes) -> None:
    """Labels have at most 63 bytes and names 255, and a pointer points back (RFC 1035, 4.1.4)."""
    assert parse(struct.pack("!6H", 1, QUERY, 1, 0, 0, 0) + of).flaw


def test_pointers() -> None:
    """A name goes on anywhere before, also in the middle of another or at another pointer; its length counts whole."""
    owners = (ASKED, b"\x01b\xc0\x0e", b"\xc0" + bytes((12 + 15,)))
    data = message(question("a.example"), answers=tuple(resource(owner, A, bytes(4)) for owner in owners), flags=ANSWER)
    assert names(data) == ("a.example", "a.example", "b.example", "a.example")
    assert parse(data).pointers == (27, 45, 61)
    assert not parse(answer(LONG, A, resource(ASKED, A, bytes(4)))).flaw
    assert parse(answer(LONG, A, resource(b"\1x" + ASKED, A, bytes(4)))).flaw == "a name longer than 255 bytes"


def test_a_pointer_into_the_name_it_ends() -> None:
    """What is pointed to must have ended before: bytes of a record that would be read as a label over the pointer are
    no name."""
    wire = parse(answer("a", A, resource(b"\1b\xc0\x0c", A, b"\x3f\0\0\0"), resource(b"\xc0\x21", A, bytes(4))))
    assert wire.flaw == "a name that runs into itself"


def test_records() -> None:
    """All sections, and the names in RDATA, compressed or not."""
    soa = name("ns.example") + ASKED + bytes(20)
    data = message(question("a.example", HTTPS), answers=(
        resource(ASKED, CNAME, name("B.example")),
        resource("b.example", HTTPS, service((ALPN, b"\2h2"), target="c.example")),
    ), authorities=(resource("example", SOA, soa), resource("example", NS, ASKED)), additionals=(
        resource("example", MX, b"\0\1" + ASKED, ttl=1 << 31), resource("ns", AAAA, bytes(16)), edns()), flags=ANSWER)
    wire = parse(data)
    assert not wire.flaw
    assert [[record.names for record in section] for section in wire.sections] == [
        [("b.example",), ("c.example",)], [("ns.example", "a.example"), ("a.example",)], [("a.example",), (), ()]]
    assert [record.ttl for record in wire.sections[2][:2]] == [0, 300]  # RFC 2181, 8
    assert wire.end == len(data)
    assert parse(data + b"tail") == replace(wire, data=data + b"tail")


@pytest.mark.parametrize("record", [
    pytest.param(resource(ASKED, A, bytes(5)), id="A of 5 bytes"),
    pytest.param(resource(ASKED, AAAA, bytes(4)), id="AAAA of 4 bytes"),
    pytest.param(resource(ASKED, CNAME, name("b") + b"\0"), id="bytes behind a name"),
    pytest.param(resource(ASKED, CNAME, b"\1") + b"b\0", id="a name longer than its RDATA"),
    pytest.param(resource(ASKED, SOA, name("b") + bytes(20)), id="SOA with one name"),
    pytest.param(resource(ASKED, HTTPS, b"\0\1" + ASKED), id="compressed target"),
    pytest.param(resource(ASKED, HTTPS, b"\0\1") + b"\0", id="service without a target"),
    pytest.param(resource(ASKED, HTTPS, service((ALPN, b""), (MANDATORY, b""))), id="parameters out of order"),
    pytest.param(resource(ASKED, HTTPS, service((ALPN, b"")) + b"\0\2\0\1"), id="parameter cut off"),
    pytest.param(resource(ASKED, HTTPS, service() + b"\0\1\0"), id="parameter without length"),
    pytest.param(resource("x", 41, b""), id="OPT with a name"),
    pytest.param(edns() + edns(), id="two OPT"),
    pytest.param(resource(ASKED, A, bytes(4))[:-1], id="RDATA cut off"),
    pytest.param(ASKED + b"\0\1\0\1", id="header cut off"),
    pytest.param(b"", id="missing"),
])
def test_malformed_records(record: bytes) -> None:
    """What no resolver sends is a flaw; what stood before it counts."""
    count = 2 if record == edns() * 2 else 1
    wire = parse(struct.pack("!6H", 1, ANSWER, 1, 0, 0, count) + question("a.example") + record)
    assert wire.flaw
    assert wire.questions[0].name == "a.example"


def test_a_message_has_one_question() -> None:
    """One or none (RFC 9619; RFC 7873, 5.4); other opcodes than QUERY are free."""
    both = question("a.example") + question("b.example")
    wire = parse(struct.pack("!6H", 1, QUERY, 2, 0, 0, 0) + both)
    assert (wire.flaw, [each.name for each in wire.questions]) == ("2 questions", ["a.example", "b.example"])
    assert not parse(struct.pack("!6H", 1, QUERY | 4 << 11, 2, 0, 0, 0) + both).flaw
    assert not parse(message(additionals=(edns(),))).flaw
    assert parse(message()).flaw == "nothing is asked"
    assert not parse(message(flags=ANSWER | 1)).flaw  # by who could not read the question


def test_an_update() -> None:
    """What is to be deleted has no RDATA (RFC 2136, 2.5)."""
    deleted = tuple(resource(ASKED, kind, b"", group=group, ttl=0) for kind in (A, CNAME) for group in (254, 255))
    assert not parse(message(question("example", SOA), authorities=deleted, flags=5 << 11)).flaw


@pytest.mark.parametrize("flags", [ANSWER | TRUNCATED, ANSWER, QUERY | TRUNCATED])
def test_truncated_answers(flags: int) -> None:
    """An answer that says so may end anywhere behind its question; its whole records count. Nothing else may."""
    data = answer("a.example", A, resource(ASKED, A, bytes(4)), resource(ASKED, CNAME, name("b")), flags=flags)
    first = len(answer("a.example", A, resource(ASKED, A, bytes(4))))
    for length in range(len(data)):
        wire = parse(data[:length])
        assert bool(wire.flaw) == (flags != ANSWER | TRUNCATED or length < 27)
        assert len(wire.sections[0]) == (length >= first)


@pytest.mark.parametrize("data", [query("a.example", HTTPS, edns()), answer(
    "a.example", HTTPS, resource(ASKED, CNAME, name("b")), resource("b", HTTPS, service((ALPN, b"\2h2"))),
    additionals=(resource(ASKED, MX, b"\0\1" + ASKED), edns((10, bytes(8)))))])
def test_every_cut(data: bytes) -> None:
    """A message that ends early is flawed, wherever it ends."""
    assert not parse(data).flaw
    assert all(parse(data[:length]).flaw for length in range(len(data)))


@given(st.binary(max_size=80), st.integers(0, 2))
def test_any_bytes(data: bytes, counts: int) -> None:
    """Any bytes are a message or flawed; what is read lies within them, in order."""
    for each in (data, struct.pack("!6H", 1, ANSWER, counts, counts, counts, counts) + data):
        wire = parse(each)
        at = wire.body
        for record in (record for section in wire.sections for record in section):
            assert at == record.start < record.data <= record.rest <= record.end <= len(each)
            at = record.end
        assert at == wire.end
