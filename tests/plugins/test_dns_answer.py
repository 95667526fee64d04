"""Answers in a resolver's place."""

from __future__ import annotations

import struct

import pytest

from nfqdpi.core.wire import Malformed
from nfqdpi.plugins.dns_answer import BLOCKED, FORGED, addresses, denial, without_ech
from nfqdpi.plugins.dns_message import parse
from nfqdpi.testing.dns import (
    AAAA,
    ALPN,
    ANSWER,
    ANY,
    ASKED,
    CNAME,
    ECH,
    HTTPS,
    IPV6_HINT,
    MANDATORY,
    MX,
    NS,
    RRSIG,
    SOA,
    TXT,
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

START = resource(ASKED, SOA, b"\0\0" + struct.pack("!5I", 1, 60, 60, 60, 60), ttl=60)
V4, V6 = bytes((192, 0, 2, 1)), bytes(range(16))
FAILED = edns((15, b"\0\x0f"))


def test_a_denial() -> None:
    """The id, the question as it was spelled, and an SOA that lets the denial be kept (RFC 2308, 5)."""
    expected = message(question("A.eXample"), authorities=(START,), flags=ANSWER | 3)
    assert denial(parse(query("A.eXample")), 60, BLOCKED) == expected


def test_what_is_copied_of_the_flags() -> None:
    """Opcode, RD and CD are the query's, AD and the rest are not (RFC 1035, 4.1.1; RFC 4035, 3.2.2)."""
    assert denial(parse(message(flags=0x0000)), 60, BLOCKED) == message(flags=0x8083)
    assert denial(parse(message(flags=0x7FFF)), 60, BLOCKED) == message(flags=0xF993)


@pytest.mark.parametrize("kind", [A, AAAA, HTTPS, TXT, ANY])
def test_addresses(kind: int) -> None:
    """Those of the type asked for; nothing of another type, and no type without addresses has any."""
    chosen = {A: (V4, bytes(4)), AAAA: (V6,)}.get(kind, ())
    records = tuple(resource(ASKED, kind, address, ttl=60) for address in chosen)
    expected = message(question("a", kind), answers=records, authorities=() if chosen else (START,), flags=ANSWER)
    assert addresses(parse(query("a", kind)), (V4, V6, bytes(4)), 60, FORGED) == expected
    assert parse(addresses(parse(query("a", kind)), (), 60, FORGED)).answers == ()


def test_addresses_are_of_the_internet() -> None:
    """No other class has them."""
    found = parse(addresses(parse(message(question("a", A, group=3))), (V4,), 60, FORGED))
    assert (found.answers, found.sections[1][0].group) == ((), 3)


def test_edns() -> None:
    """An OPT where there was one, with why (RFC 8914) and whether DNSSEC is welcome, which is copied (RFC 3225)."""
    assert denial(parse(query("a", A, edns())), 60, BLOCKED) == message(
        question("a"), authorities=(START,), additionals=(FAILED,), flags=ANSWER | 3)
    secure = parse(denial(parse(query("a", A, edns(flags=0xFFFF8000))), 60, BLOCKED))
    assert secure.opt is not None
    assert secure.opt.ttl == 0x8000


@pytest.mark.parametrize(("options", "back"), [
    (((3, b"x"), (10, bytes(24))), bytes(24)), (((10, bytes(16)), (10, bytes(20))), bytes(16)),
    (((10, bytes(8)),), None),
])
def test_cookies(options: tuple[tuple[int, bytes], ...], back: bytes | None) -> None:
    """The whole cookie comes back, for its client looks for its own half; half of one is none (RFC 7873, 5)."""
    found = denial(parse(query("a", A, edns(*options))), 60, BLOCKED)
    assert found.endswith(edns((15, b"\0\x0f"), *(() if back is None else ((10, back),))))


def test_an_option_that_is_cut_off() -> None:
    """It is none."""
    broken = resource(b"\0", 41, b"\0\x0a\0\x10" + bytes(15))
    assert denial(parse(query("a", A, broken)), 60, BLOCKED).endswith(FAILED)


SECRET = (ECH, vector(2, b"\xfe\x0d\0\0"))
SIGNATURE = resource(ASKED, RRSIG, struct.pack("!HBBIIIH", HTTPS, 13, 1, 300, 9, 1, 1) + name("a.example") + bytes(9))


@pytest.mark.parametrize(("before", "after"), [
    pytest.param((SECRET,), (), id="alone"),
    pytest.param(((ALPN, b"\2h2"), SECRET, (IPV6_HINT, V6)), ((ALPN, b"\2h2"), (IPV6_HINT, V6)), id="between"),
    pytest.param(((MANDATORY, b"\0\1\0\5"), (ALPN, b"\2h2"), SECRET), ((MANDATORY, b"\0\1"), (ALPN, b"\2h2")),
                 id="mandatory among others"),
    pytest.param(((MANDATORY, b"\0\5"), SECRET), (), id="mandatory alone"),
])
def test_without_ech(before: tuple[tuple[int, bytes], ...], after: tuple[tuple[int, bytes], ...]) -> None:
    """The parameter goes, and names behind it are found where they now are."""
    def whole(*parameters: tuple[int, bytes]) -> bytes:
        first = answer("a.example", HTTPS, resource(ASKED, HTTPS, service(*parameters)))
        second = b"\xc0" + bytes((len(first),))
        return answer("a.example", HTTPS, resource(ASKED, HTTPS, service(*parameters)), resource("b.example", A, V4),
                      resource(second, MX, b"\0\1" + second), flags=ANSWER)

    assert without_ech(parse(whole(*before))) == whole(*after)
    assert without_ech(parse(whole(*after))) is None


def test_signatures_over_what_changes() -> None:
    """They go, in every section, and the answer is not called authentic; others stay."""
    kept = SIGNATURE.replace(struct.pack("!H", HTTPS) + b"\x0d", struct.pack("!H", A) + b"\x0d")
    stranger = resource("b", RRSIG, SIGNATURE[12:])
    hidden = resource(ASKED, HTTPS, service(SECRET))
    found = without_ech(parse(answer("a.example", HTTPS, SIGNATURE, hidden, kept, stranger, additionals=(
        SIGNATURE, edns()), flags=ANSWER | 0x20)))
    assert found == answer("a.example", HTTPS, resource(ASKED, HTTPS, service()), kept, stranger, additionals=(edns(),))


def test_a_name_that_points_into_what_goes() -> None:
    """It cannot be mended, and the answer is not passed on."""
    hidden = resource("b.example", HTTPS, service(SECRET))
    signature = resource("b.example", RRSIG, SIGNATURE[12:])
    at = len(answer("a", HTTPS, hidden))
    data = answer("a", HTTPS, hidden, signature, resource(b"\xc0" + bytes((at,)), CNAME, name("c")))
    assert parse(data).flaw == ""
    with pytest.raises(Malformed, match="points into"):
        without_ech(parse(data))


def test_what_stands_behind_a_message_is_left_out() -> None:
    """Neither a record that was cut off nor bytes without meaning go on."""
    hidden, plain = resource(ASKED, HTTPS, service(SECRET)), resource(ASKED, HTTPS, service())
    data = answer("a", HTTPS, hidden, resource(ASKED, NS, ASKED), flags=ANSWER | 0x200)
    assert without_ech(parse(data[:-1])) == answer("a", HTTPS, plain, flags=ANSWER | 0x200)
    assert without_ech(parse(answer("a", HTTPS, hidden) + b"tail")) == answer("a", HTTPS, plain)
