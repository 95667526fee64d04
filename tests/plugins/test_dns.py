"""DNS messages to names, to what is known of these, and to what becomes of the message."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import ValidationError, convert

from nfqdpi.core.classifier import Back, Classification, Known, Message, Onward
from nfqdpi.core.decision import Outcome
from nfqdpi.core.verdict import Reason, Verdict
from nfqdpi.plugins.dns import Settings, over_tcp, over_udp
from nfqdpi.plugins.dns_message import Wire, parse
from nfqdpi.testing.dns import (
    AAAA,
    ANSWER,
    ASKED,
    CNAME,
    ECH,
    HTTPS,
    IPV4_HINT,
    IPV6_HINT,
    SOA,
    TXT,
    A,
    answer,
    message,
    name,
    query,
    question,
    resource,
    service,
)
from nfqdpi.testing.tls import vector
from tests.fuzz.units import then
from tests.plugins.prefixes import answer as settled
from tests.plugins.prefixes import settles

V4, OTHER, V6 = bytes((192, 0, 2, 1)), bytes((192, 0, 2, 2)), bytes(range(16))


def ruled(verdict: Verdict, *redirect: bytes) -> Outcome:
    """What the policy says of a message."""
    return Outcome(verdict, Reason.RULE, redirect=redirect)


ALLOW, BLOCK, SILENT = map(ruled, (Verdict.ACCELERATE, Verdict.BLOCK, Verdict.BLOCK_SILENT))


def read(data: bytes, **settings: object) -> Message:
    """What is said of a datagram."""
    found = over_udp(convert(settings, Settings)).read(data)
    assert isinstance(found, Message)
    return found


def edited(data: bytes, ruling: Outcome, **settings: object) -> Onward | Back | None:
    """What becomes of a datagram."""
    edit = read(data, **settings).edit
    assert edit is not None
    return edit(ruling)


def given_back(data: bytes, ruling: Outcome, **settings: object) -> Wire:
    """The answer that a query gets at once."""
    instead = edited(data, ruling, **settings)
    assert isinstance(instead, Back)
    return parse(instead.payload)


def given_on(data: bytes, ruling: Outcome, **settings: object) -> Wire:
    """What a client gets in place of an answer."""
    instead = edited(data, ruling, **settings)
    assert isinstance(instead, Onward)
    return parse(instead.payload)


def addresses(wire: Wire) -> list[bytes]:
    """All addresses in an answer."""
    return [wire.data[record.data : record.end] for record in wire.answers if record.kind in (A, AAAA)]


@pytest.mark.parametrize("settings", [{"blocked": "refused"}, {"ttl": -1}, {"ttl": 1 << 31}, {"canry": True}])
def test_settings(settings: dict[str, object]) -> None:
    """What does not fit is refused; a TTL has 31 bits."""
    with pytest.raises(ValidationError):
        convert(settings, Settings)


# --- what is in it ---


def test_a_query() -> None:
    """Its one name, and what is asked of it."""
    found = read(query("A.Example", HTTPS))
    assert (found.names, found.attributes) == (("a.example",), {"type": "query", "rrtype": "HTTPS"})
    assert (found.flaw, found.asks, found.answers) == ("", True, ())
    assert read(query("a", 4711)).attributes["rrtype"] == "TYPE4711"


def test_an_answer() -> None:
    """The name that was asked for first, then all that lead from there to addresses."""
    found = read(answer("a.example", A, resource(ASKED, CNAME, name("B.example")), resource("b.example", A, V4)))
    assert (found.names, found.asks) == (("a.example", "b.example"), False)
    assert found.attributes == {"type": "answer", "rrtype": "A", "rcode": "NOERROR"}
    assert read(answer("a", A, flags=ANSWER | 3)).attributes["rcode"] == "NXDOMAIN"
    assert read(answer("a", A, flags=ANSWER | 15)).attributes["rcode"] == "15"


@pytest.mark.parametrize(("kind", "data"), [
    (CNAME, name("b.example")), (39, name("b.example")), (HTTPS, service(target="b.example", priority=0)),
    (64, service(target="b.example")),
])
def test_aliases(kind: int, data: bytes) -> None:
    """Whoever follows an alias wants what is there."""
    assert read(answer("a.example", A, resource(ASKED, kind, data))).names == ("a.example", "b.example")


def test_names_that_do_not_count() -> None:
    """Who serves a zone, or takes its mail, is not what was asked for; the root is no name."""
    found = read(message(question("a.example"), answers=(resource(ASKED, 15, b"\0\1" + name("mail.example")),),
                         authorities=(resource("example", 2, name("ns.example")),),
                         additionals=(resource("ns.example", A, V4),), flags=ANSWER))
    assert found.names == ("a.example",)
    assert read(query(".", 2)).names == ()


@pytest.mark.parametrize("data", [
    pytest.param(b"", id="empty"), pytest.param(b"\0", id="one byte"), pytest.param(query("a")[:-1], id="cut off"),
    pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="HTTP"), pytest.param(bytes(148), id="zeros"),
])
def test_what_is_no_message(data: bytes) -> None:
    """It is flawed and not another's protocol: it must not free the flow for what comes behind it."""
    assert (read(data).protocol, bool(read(data).flaw), read(data).edit) == ("dns", True, None)


def test_flawed_messages_have_names() -> None:
    """What was read before the flaw is judged, too: who lets flawed messages pass still blocks names."""
    found = read(message(question("a.example"), question("b.example")))
    assert (found.flaw, found.names, found.edit) == ("2 questions", ("a.example", "b.example"), None)


def test_too_many_names() -> None:
    """No resolver follows a chain so long."""
    def chain(length: int) -> Message:
        return read(answer("0", A, *(resource(str(n), CNAME, name(str(n + 1))) for n in range(length))))

    assert (chain(63).flaw, chain(64).flaw) == ("", "65 names")


def test_other_opcodes() -> None:
    """They are judged by their names, and pass or not: an UPDATE's answer is nobody's to invent."""
    found = read(message(question("a.example", SOA), flags=5 << 11))
    assert (found.names, found.flaw, found.edit) == (("a.example",), "", None)


@given(st.binary(max_size=80), st.sampled_from([b"", struct.pack("!6H", 1, ANSWER, 1, 2, 0, 0) + question("a")]))
def test_any_bytes(data: bytes, head: bytes) -> None:
    """Every datagram has an answer, and every ruling one of the three outcomes."""
    found = read(head + data, strip_ech=True)
    for ruling in (ALLOW, BLOCK, SILENT, ruled(Verdict.ACCELERATE, V4, V6)):
        assert found.edit is None or isinstance(found.edit(ruling), Onward | Back | None)


# --- what becomes of it ---


@pytest.mark.parametrize("kind", [A, AAAA, HTTPS, TXT])
def test_a_blocked_query_is_answered(kind: int) -> None:
    """At once: the name does not exist."""
    found = given_back(query("a.example", kind), BLOCK, ttl=7)
    assert (found.rcode, found.answers, found.sections[1][0].ttl) == (3, (), 7)
    assert given_back(query("a.example", kind), BLOCK).sections[1][0].ttl == 60


@pytest.mark.parametrize(("kind", "null"), [(A, [bytes(4)]), (AAAA, [bytes(16)]), (HTTPS, []), (TXT, [])])
def test_the_null_address(kind: int, null: list[bytes]) -> None:
    """Or it has one that leads nowhere, and nothing else."""
    found = given_back(query("a.example", kind), BLOCK, blocked="zero")
    assert (found.rcode, addresses(found), len(found.sections[1])) == (0, null, not null)


@pytest.mark.parametrize("blocked", ["nxdomain", "zero"])
def test_an_answer_with_a_blocked_name_is_replaced(blocked: str) -> None:
    """The real address is nowhere in what the client gets, and what it asked for is."""
    data = answer("A.example", A, resource(ASKED, CNAME, name("b.example")), resource("b.example", A, V4))
    found = given_on(data, BLOCK, blocked=blocked)
    assert (found.questions[0].name, found.is_answer) == ("a.example", True)
    assert V4 not in found.data
    assert b"\1A\7example" in found.data


def test_a_silent_block() -> None:
    """Nobody is answered."""
    assert edited(query("a.example"), SILENT) is None
    assert edited(query("use-application-dns.net"), SILENT) is None


@pytest.mark.parametrize(("kind", "expected"), [(A, [OTHER]), (AAAA, [V6]), (HTTPS, []), (TXT, [])])
def test_a_redirect(kind: int, expected: list[bytes]) -> None:
    """Addresses of the family asked for; hints and other records would lead past them."""
    ruling = ruled(Verdict.ACCELERATE, OTHER, V6)
    assert addresses(given_back(query("a.example", kind), ruling)) == expected
    hints = service((IPV4_HINT, V4), (IPV6_HINT, V6[::-1]))
    replaced = given_on(answer("a.example", kind, resource(ASKED, A, V4), resource(ASKED, HTTPS, hints)), ruling, ttl=5)
    assert addresses(replaced) == expected
    assert all(record.ttl == 5 for section in replaced.sections for record in section)
    assert V4 not in replaced.data
    assert V6[::-1] not in replaced.data


def test_a_redirect_to_the_other_family() -> None:
    """A name with no address of that family exists all the same."""
    found = given_back(query("a.example", AAAA), ruled(Verdict.ACCELERATE, OTHER))
    assert (found.rcode, found.answers, found.sections[1][0].kind) == (0, (), SOA)


def test_a_block_counts_more_than_a_redirect() -> None:
    """Whatever the rule has beside."""
    assert given_back(query("a.example"), ruled(Verdict.BLOCK, OTHER)).rcode == 3


def test_what_is_allowed_passes_as_it_is() -> None:
    """Queries and answers, byte by byte."""
    assert edited(query("a.example"), ALLOW) is None
    assert edited(answer("a.example", A, resource(ASKED, A, V4)), ALLOW) is None


HIDDEN = answer("a.example", HTTPS, resource(ASKED, HTTPS, service((IPV4_HINT, V4), (ECH, b"keys"))))


def test_ech() -> None:
    """Its keys pass unless they are to be stripped."""
    assert edited(HIDDEN, ALLOW) is None
    stripped = given_on(HIDDEN, ALLOW, strip_ech=True)
    assert stripped.data == answer("a.example", HTTPS, resource(ASKED, HTTPS, service((IPV4_HINT, V4))))
    assert edited(stripped.data, ALLOW, strip_ech=True) is None
    assert edited(query("a.example", HTTPS), ALLOW, strip_ech=True) is None


def test_ech_that_can_not_be_stripped() -> None:
    """There is no such record then: who asks for one does without."""
    signature = b"\0\x41\x0d\1" + bytes(14) + name("example") + bytes(8)
    hidden = resource("b.example", HTTPS, service((ECH, b"keys")))
    first = answer("a", HTTPS, hidden)
    data = answer("a", HTTPS, hidden, resource("b.example", 46, signature),
                  resource(b"\xc0" + bytes((len(first),)), HTTPS, service((ECH, b"keys"))))
    found = given_on(data, ALLOW, strip_ech=True)
    assert (found.rcode, found.answers, b"keys" in found.data) == (0, (), False)


def test_the_canary() -> None:
    """Firefox asks this resolver and not its own where this name does not exist, whatever its policy is."""
    canary = "use-application-dns.net"
    assert given_back(query(canary), ALLOW, blocked="zero").rcode == 3
    assert given_on(answer(canary, A, resource(ASKED, A, V4)), ALLOW).rcode == 3
    assert edited(query(canary), ALLOW, canary=False) is None
    assert edited(query("a." + canary), ALLOW) is None


# --- what an answer says of names ---


def test_addresses_of_a_name() -> None:
    """They are those of the name that was asked, for as long as the chain to them holds."""
    found = read(answer("a.example", A, resource("c.example", A, V4, ttl=20), resource("c.example", A, OTHER, ttl=99),
                        resource("b.example", CNAME, name("c.example"), ttl=50),
                        resource(ASKED, CNAME, name("b.example"), ttl=70), resource("stranger.example", A, bytes(4))))
    assert found.answers == (Known("a.example", V4, 20), Known("a.example", OTHER, 50))


def test_addresses_in_hints() -> None:
    """A client may take them for the name's own (RFC 9460, 7.3)."""
    hints = service((1, b"\2h2"), (IPV4_HINT, V4 + OTHER), (IPV6_HINT, V6 + b"half"))
    found = read(answer("a.example", HTTPS, resource(ASKED, HTTPS, hints, ttl=9)))
    assert found.answers == tuple(Known("a.example", address, 9) for address in (V4, OTHER, V6))


@pytest.mark.parametrize("data", [
    pytest.param(query("a.example"), id="query"),
    pytest.param(answer("a.example", A, resource(ASKED, A, V4), flags=ANSWER | 3), id="NXDOMAIN"),
    pytest.param(answer("a.example", A, resource(ASKED, A, V4), flags=ANSWER | 4 << 11), id="NOTIFY"),
    pytest.param(message(answers=(resource("a.example", A, V4),), flags=ANSWER), id="no question"),
    pytest.param(answer("a.example", A, resource(ASKED, A, V4, group=3)), id="CHAOS"),
    pytest.param(answer("a.example", A, resource(ASKED, A, V4), resource(ASKED, A, bytes(5))), id="flaw"),
])
def test_what_says_nothing_of_addresses(data: bytes) -> None:
    """Only a whole, positive answer to a query does."""
    assert read(data).answers == ()


def test_a_ring_of_aliases() -> None:
    """It ends where it began."""
    found = read(answer("a", A, resource(ASKED, CNAME, name("b")), resource("b", CNAME, ASKED), resource("b", A, V4)))
    assert found.answers == (Known("a", V4, 300),)


def test_known_addresses_are_bounded() -> None:
    """An answer is remembered for its first ones."""
    records = [resource(ASKED, A, n.to_bytes(4, "big")) for n in range(100)]
    assert len(read(answer("a", A, *records)).answers) == 64


# --- over TCP ---


def tcp(*messages: bytes) -> bytes:
    """Messages behind their lengths (RFC 7766, 8)."""
    return b"".join(vector(2, each) for each in messages)


def test_a_query_over_tcp() -> None:
    """It is judged when it is whole, as over UDP."""
    data = tcp(query("A.Example"))
    found = settled(over_tcp.classify, data)
    assert isinstance(found, Classification)
    assert (found.names, found.flaw, found.length) == (("a.example",), "", len(data))
    assert found.attributes == read(query("A.Example")).attributes


def test_every_query_over_tcp() -> None:
    """What follows a query is the next."""
    names: list[str] = []
    data = tcp(query("a"), query("b"), query("c"))
    reader = over_tcp.classify
    while data:
        found = reader(data)
        assert isinstance(found, Classification)
        names += found.names
        data, reader = data[found.length :], then(found)
    assert names == ["a", "b", "c"]


@pytest.mark.parametrize("data", [b"\0\0", tcp(b"x"), tcp(query("a")[:-1]), tcp(message(question("a"), question("b")))])
def test_what_is_no_message_over_tcp(data: bytes) -> None:
    """It is flawed, and not another's protocol."""
    found = settles(over_tcp.classify, data)
    assert isinstance(found, Classification)
    assert found.flaw


def test_the_longest_message() -> None:
    """All that TCP can frame is read."""
    assert isinstance(over_tcp.bounded(b"\xff\xff" + bytes(0xFFFF)), Classification)
    assert over_tcp.needs == 2 + 0xFFFF
