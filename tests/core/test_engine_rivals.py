"""A flow that two readers may know: what begins in one protocol, and a server may take for another."""

from __future__ import annotations

import pytest

from nfqdpi.core.classifier import NEED_MORE, NO_MATCH, Answer, Classification, Classifier, Glimpse
from nfqdpi.core.verdict import Reason, Verdict
from nfqdpi.plugins import dns, http, ssh, tls
from nfqdpi.testing.dns import query
from nfqdpi.testing.tls import hello, server_hello
from tests.core.transcript import ALLOWED, BLOCKED, OPEN, OPENING, Talk, engine

USUAL = (http.classifier, ssh.classifier, tls.classifier)
BANNER = b"SSH-2.0-x"  # to some servers of HTTP a method


def talk(*classifiers: Classifier, port: int = 80, nameless: Verdict = Verdict.ACCELERATE) -> Talk:
    flow = Talk(engine(classifiers=classifiers, exceptions={**OPEN, Reason.NO_NAME: nameless}), dport=port)
    flow.opens()
    return flow


def host(name: str) -> bytes:
    return f"Host: {name}\r\n\r\n".encode()


def framed(message: bytes) -> bytes:
    return len(message).to_bytes(2, "big") + message


def short(prefix: bytes) -> Answer:
    """A protocol made for these tests, of two bytes that begin no request."""
    return Classification("short", length=2) if prefix[:2] == b"{G" else NO_MATCH


def named(prefix: bytes) -> Answer:
    """And one of a line, which is a name."""
    line, end, _ = prefix.partition(b"\n")
    return Classification("named", (line.decode().rpartition(" ")[2],), length=len(line)) if end else NEED_MORE


SHORT, NAMED = (Classifier(read.__name__, read.__name__, "1", 1000, read) for read in (short, named))


def test_what_only_one_knows() -> None:
    """It is let go once the server has answered, as ever."""
    flow = talk(*USUAL, port=22)
    assert [flow.client(BANNER + b" a comment\r\n"), flow.server(b"SSH-2.0-y\r\n")] == [
        "confirm no_name", "accelerate confirmed"]


@pytest.mark.parametrize("cut", range(11, 40))
def test_a_banner_that_is_a_request_line(cut: int) -> None:
    """Whoever hopes for a request reads on, and the server's word is not waited for."""
    text = BANNER + b" / HTTP/1.1\r\n" + host(BLOCKED)
    flow = talk(*USUAL)
    assert flow.client(text[:cut]) == OPENING
    flow.server(b"SSH-2.0-y\r\n")
    assert flow.client(text[cut:]) == "block rule"


def test_it_is_whole_at_once() -> None:
    """A reader that knows the unit does not keep others from knowing it, whoever is asked first."""
    for readers in (USUAL, USUAL[::-1]):
        assert talk(*readers).client(BANNER + b" / HTTP/1.1\r\n" + host(BLOCKED)) == "block rule"
        assert talk(*readers).client(BANNER + b" / HTTP/1.1\r\n" + host(BLOCKED)[:-2]) == "block rule"
    for pair in ((ssh.classifier, NAMED), (NAMED, ssh.classifier)):
        assert talk(*pair).client(BANNER + f" {BLOCKED}\n".encode()) == "block rule"


def test_two_have_a_glimpse_of_it() -> None:
    """The names of both count."""
    def glimpsing(name: str) -> Classifier:
        return Classifier(name, name, "1", 1000, lambda _: Glimpse(name, (name,)))

    for names in ((BLOCKED, ALLOWED), (ALLOWED, BLOCKED)):
        assert talk(*map(glimpsing, names)).client(b"x") == "block rule"
    assert talk(glimpsing(ALLOWED), glimpsing("another.example")).client(b"x") == OPENING


def test_an_allowed_request() -> None:
    """Where it is one after all, requests are read from there on."""
    flow = talk(*USUAL)
    assert flow.clients(BANNER + b" / HTTP/1.1\r\n", host(ALLOWED), b"GET / HTTP/1.1\r\n" + host(BLOCKED)) == [
        OPENING, "inspect default", "block rule"]


@pytest.mark.parametrize(("nameless", "said"), [
    (Verdict.ACCELERATE, "confirm no_name"), (Verdict.INSPECT, "inspect no_name"), (Verdict.BLOCK, "block no_name")])
def test_nobody_else_knows_it_in_the_end(nameless: Verdict, said: str) -> None:
    """Then it is what the first reader took it for. What that is blocked for is blocked at once."""
    flow = talk(*USUAL, nameless=nameless)
    assert flow.clients(BANNER + b" a SIP/2.0\r\n", b"\r\n") == [said if nameless is Verdict.BLOCK else OPENING, said]
    assert [judgement.outcome.verdict for judgement in flow.judgements] == [nameless]


def test_it_may_still_be_a_request() -> None:
    """What is most likely none is read on until the server has answered, behind a unit that is known, too."""
    for nameless in (Verdict.ACCELERATE, Verdict.INSPECT):
        flow = talk(http.classifier, SHORT, nameless=nameless)
        assert flow.clients(b"{GET", b" / HTTP/1.1\r\n" + host(BLOCKED)) == ["confirm no_name", "block rule"]
    flow = talk(http.classifier, SHORT)
    assert [flow.client(b"{GET"), flow.server(b"what?")] == ["confirm no_name", "accelerate confirmed"]


def test_the_servers_proof_ends_it() -> None:
    """A ServerHello says what the flow is, whatever others hope for."""
    lazy = Classifier("lazy", "lazy", "1", 1 << 16, lambda _: NEED_MORE)
    flow = talk(lazy, tls.classifier, port=443)
    assert [flow.client(hello(ALLOWED)), flow.server(server_hello())] == ["confirm default", "accelerate confirmed"]


# --- ports that are a plugin's own ---

LONG = 2 + 0x1603  # bytes of what begins like a record of TLS, as a message of DNS


def test_a_hello_before_a_query() -> None:
    """A resolver takes the hello for a message of that length, and answers the next."""
    before = hello(ALLOWED).ljust(LONG, b"\0")
    flow = talk(dns.over_tcp, *USUAL, port=53)
    assert flow.client(before) == "block malformed"
    assert flow.client(framed(query(BLOCKED))) == "block malformed"
    assert talk(dns.over_tcp, *USUAL, port=53).client(hello(BLOCKED)) == "block rule"


def test_a_request_before_a_query() -> None:
    """As with a hello: its body would never be read."""
    before = f"POST / HTTP/1.1\r\nContent-Length: 40000\r\n{host(ALLOWED).decode()}".encode()
    assert talk(dns.over_tcp, *USUAL, port=53).client(before) == "block malformed"
    assert talk(dns.over_tcp, *USUAL).client(before) == "inspect default"


def test_a_plugins_own_protocol() -> None:
    """What the others say never of is read as ever, message by message."""
    flow = talk(dns.over_tcp, *USUAL, port=53)
    assert flow.clients(*(framed(query(name)) for name in (ALLOWED, ALLOWED, BLOCKED))) == [
        "inspect default", "inspect default", "block rule"]


def test_fast_mode_believes_the_first() -> None:
    """Its clients do not lie."""
    judge = engine(classifiers=(dns.over_tcp, *USUAL), strict=False)
    assert Talk(judge, dport=53).client(hello(ALLOWED)) == "accelerate default"
