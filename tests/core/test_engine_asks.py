"""Streams that ask where names are: DNS over TCP."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from nfqdpi.core.classifier import NEED_MORE, Answer, Classification, Classifier, Known
from nfqdpi.core.engine import Engine
from nfqdpi.core.verdict import Reason, Verdict
from nfqdpi.policy.model import Policy, Rule
from nfqdpi.policy.names import Pattern
from nfqdpi.testing.packets import CLIENT, SERVER
from tests.core.test_datagrams import Names
from tests.core.transcript import CLOSED, OPEN, RULES, Talk

REDIRECT = Rule("elsewhere", Verdict.ACCELERATE, (Pattern.parse("elsewhere.example"),), redirect=(bytes(4),))


def ask(prefix: bytes) -> Answer:
    """A protocol made for these tests: names, each on its line."""
    line, end, _ = prefix.partition(b"\n")
    if not end:
        return NEED_MORE
    names = (line.decode(),) if line else ()
    return Classification("ask", names, length=len(line) + 1, then=ask, asks=True)


@pytest.fixture(params=[True, False], ids=["strict", "fast"])
def flow(request: pytest.FixtureRequest) -> Talk:
    """A flow to a server that is asked."""
    judge = Engine((Classifier("ask", "ask", "1", 1000, ask),), Policy((*RULES, REDIRECT)), OPEN, strict=request.param)
    opened = Talk(judge)
    if request.param:
        opened.opens()
    return opened


def test_every_question_is_judged(flow: Talk) -> None:
    """In both modes, however many came before it, and however they are cut."""
    assert flow.clients(b"allowed.example\n", b"allowed.example\nallowed.ex", b"ample\n", b"blocked.example\n") == [
        "inspect default", "inspect default", "inspect default", "block rule"]


def test_a_redirect_blocks(flow: Talk) -> None:
    """No byte of a stream can become another."""
    assert flow.clients(b"allowed.example\n", b"elsewhere.example\n") == ["inspect default", "block rule"]


def test_who_asks_for_nothing_passes(flow: Talk) -> None:
    """The root is no name, and no flow without one."""
    flow.engine.govern(flow.engine.judge.policy, CLOSED)
    assert flow.client(b"\n") == "inspect default"


def test_a_resolver_is_not_what_it_is_asked_for() -> None:
    """It has a name by an answer of its own, which is no mismatch with those that it is asked for."""
    known = Names()
    known.learn(ip_address(CLIENT).packed, Known("resolver.example", ip_address(SERVER).packed, 60), 0.0)
    suspicious = {**OPEN, Reason.SNI_MISMATCH: Verdict.BLOCK}
    judge = Engine((Classifier("ask", "ask", "1", 1000, ask),), Policy(RULES), suspicious, known=known)
    asked = Talk(judge)
    asked.opens()
    assert asked.client(b"allowed.example\n") == "inspect default"
