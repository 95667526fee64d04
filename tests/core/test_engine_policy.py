"""What a strict engine asks its policy, and what becomes of flows when that changes."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from nfqdpi.core.decision import Client, Outcome, Path
from nfqdpi.core.engine import Engine
from nfqdpi.core.verdict import Reason, Verdict
from nfqdpi.policy.clients import ClientGroup
from nfqdpi.policy.model import Policy, Rule
from nfqdpi.policy.names import Pattern
from nfqdpi.testing.http import request
from nfqdpi.testing.packets import ACK, CLIENT, SYN
from nfqdpi.testing.tls import extension, hello, server_hello
from tests.core.transcript import (
    ALLOWED,
    BLOCKED,
    CLASSIFIERS,
    CLOSED,
    HELLO,
    JUNK,
    NO,
    OPEN,
    OPENING,
    YES,
    Talk,
    Talks,
    engine,
)


def test_the_policy_hears_who_asks() -> None:
    """Address, hardware address and interface are those of the client's first packet, not of the server's SYN+ACK."""
    asked: list[Client] = []

    class Listening:
        revision = None

        def decide(self, name: str | None, client: Client, protocol: str = "") -> Outcome:
            asked.append(client)
            return Outcome(Verdict.ACCELERATE, Reason.DEFAULT)

    judge = Engine(CLASSIFIERS, Listening(), OPEN)
    talk = Talk(judge)
    judge.process(talk.packet(False, talk.server_isn, talk.isn + 1, b"", SYN | ACK), 0.0, Path(2, 1, b"server\0\0"))
    first = request(ALLOWED)
    for at, sender in ((0, b"client\0\0"), (9, b"other!\0\0")):
        packet = talk.packet(True, talk.isn + 1 + at, talk.server_isn + 1, first[at : at + 9 if at == 0 else None], ACK)
        judge.process(packet, 0.0, Path(1, 2, sender))
    assert asked == [Client(ip_address(CLIENT).packed, b"client", 1)]


def test_a_rule_without_names_decides_all(six: bool) -> None:
    """A rule for certain clients needs no name to decide, whatever the protocol."""
    kids = ClientGroup((ip_network("fd00::/64"), ip_network("10.0.0.0/24")))
    for data in (JUNK, hello(None), HELLO):
        judge = Engine(CLASSIFIERS, Policy([Rule("kids", Verdict.BLOCK, groups=(kids,))]), OPEN)
        flow = Talk(judge, six)
        assert [flow.opens(), flow.client(data)] == [OPENING, "block rule"]


def test_a_policy_that_changes_before_the_answer_counts() -> None:
    """A name that was allowed when it was asked for, and is not when the server answers, never gets its answer."""
    for name, blocked in ((ALLOWED, True), ("other.example", False)):
        judge = engine()
        talk = Talk(judge)
        assert [talk.opens(), talk.client(hello(name))] == ["inspect need_more", "confirm default"]
        judge.govern(Policy((Rule("new", Verdict.BLOCK, (Pattern.parse(ALLOWED),)),)), OPEN)
        assert talk.server(server_hello()) == ("block rule" if blocked else "accelerate confirmed")
        assert talk.judgements[-1].outcome.rule == ("new" if blocked else None)
    talk = Talk(engine())
    assert [talk.opens(), talk.client(HELLO)] == [OPENING, YES]
    talk.engine.govern(Policy((Rule("new", Verdict.INSPECT, (Pattern.parse(ALLOWED),)),)), OPEN)
    assert talk.server(server_hello()) == "inspect confirmed"


def test_a_nameless_flow_meets_the_new_policy_too() -> None:
    """Another protocol, let by until the policy's default has changed."""
    talk = Talk(engine())
    talk.opens()
    assert talk.client(b"\0\1\2\3") == "confirm unknown_protocol"
    talk.engine.govern(Policy((), Verdict.BLOCK), CLOSED)
    assert talk.server(b"x") == "block unknown_protocol"
    assert talk.judgements[-1].classification is None


def test_hellos_with_an_encrypted_one(talk: Talks) -> None:
    """They are judged by the outer name, unless the operator wants none of them; a blocked name stays the rule's."""
    outer = hello(ALLOWED, extension(0xFE0D, bytes(200)))
    flow = talk()
    assert [flow.opens(), flow.client(outer)] == [OPENING, YES]
    for name, answer in ((ALLOWED, "block ech"), (BLOCKED, NO)):
        strictly = talk(exceptions={**OPEN, Reason.ECH: Verdict.BLOCK})
        assert [strictly.opens(), strictly.client(hello(name, extension(0xFE0D, bytes(200))))] == [OPENING, answer]


def test_a_simulated_condition(talk: Talks) -> None:
    """Every flow is treated as if the condition were true of it."""
    judge = Engine(CLASSIFIERS, Policy(), CLOSED, simulate=Reason.MIDSTREAM)
    flow = Talk(judge)
    assert [flow.opens(), flow.client(HELLO)] == [OPENING, "block midstream"]
