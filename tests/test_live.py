"""What is on record of a decided flow, and what a changed policy says of it."""

from __future__ import annotations

import socket

import pytest

from nfqdpi.config import Config
from nfqdpi.core.classifier import Classification
from nfqdpi.core.decision import Client, Judgement, Outcome
from nfqdpi.core.packet import FlowKey
from nfqdpi.core.verdict import MarkField, Reason, Verdict
from nfqdpi.daemon.events import Wording
from nfqdpi.daemon.limits import counted
from nfqdpi.daemon.live import Now, judged
from nfqdpi.daemon.record import Decided, Record
from nfqdpi.kernel import passage
from nfqdpi.kernel.clock import Moment
from nfqdpi.policy.model import Policy, Rule
from nfqdpi.policy.names import Pattern

CLIENT = Client(socket.inet_aton("192.0.2.2"), bytes.fromhex("020000000001"), 0)
ACCELERATE, BLOCK, SILENT = Verdict.ACCELERATE, Verdict.BLOCK, Verdict.BLOCK_SILENT
BAD = Policy((Rule("bad", BLOCK, (Pattern.parse("bad.example"),)),))
NIGHT = Policy((Rule("night", BLOCK),))
QUIC = Policy((Rule("quic", BLOCK, protocols=frozenset(("quic",))),))
TLS = Policy((Rule("tls", BLOCK, protocols=frozenset(("tls",))),))
PAUSE = Policy((Rule("by hand 1", ACCELERATE),), BLOCK)


def told(verdict: Verdict, names: tuple[str, ...] = ("a.example",), port: int = 40000) -> tuple[bytes, Record]:
    """A record that has heard of one flow, and the flow's key."""
    record = Record(most=2)
    key = hear(record, verdict, names, port)
    return key, record


def hear(record: Record, verdict: Verdict, names: tuple[str, ...], port: int, *, asks: bool = False) -> bytes:
    key = FlowKey(CLIENT.address, socket.inet_aton("198.51.100.2"), port, 443, 6)
    outcome = Outcome(verdict, Reason.RULE, "ads")
    judgement = Judgement(key, CLIENT, outcome, Classification("tls", names, asks=asks), 1, 0.0)
    row, _ = Wording(MarkField()).told(judgement, verdict, Moment(0.0, 0.0), line=False)
    record.add(b"\x91" + row)  # an array of one
    return passage.key(6, key.src, port, key.dst, 443)


@pytest.mark.parametrize("verdict", [ACCELERATE, Verdict.INSPECT, BLOCK, SILENT])
def test_an_event_puts_all_on_record_that_judging_takes(verdict: Verdict) -> None:
    """Every name, the client as the engine saw it, and which kind of a block it was."""
    key, record = told(verdict, ("a.example", "b.example"))
    assert record.get(key) == Decided(("a.example", "b.example"), "tls", CLIENT, verdict, Reason.RULE, "ads", verdict)
    assert passage.flow_key(key) == FlowKey(CLIENT.address, socket.inet_aton("198.51.100.2"), 40000, 443, 6)


def test_the_oldest_goes_first() -> None:
    """A flow that is decided again is a new one; what is no more on record cannot be changed."""
    first, record = told(ACCELERATE)
    second = hear(record, ACCELERATE, (), 40001)
    hear(record, BLOCK, (), 40000)
    hear(record, ACCELERATE, (), 40002)
    assert (len(record.flows()), record.get(second)) == (2, None)
    found = record.get(first)
    assert found is not None
    assert found.verdict is BLOCK
    record.put(second, found)
    assert record.get(second) is None


def test_long_names_take_no_more_memory() -> None:
    """However much a client has its flows be for; a flow that is decided again and again takes no more than once."""
    record = Record(most_bytes=40_000)
    for port in range(100):
        hear(record, BLOCK, tuple(f"{number}" * 500 for number in range(10)), port)
        assert sum(map(len, record.flows().values())) < 50_000
    last = hear(record, BLOCK, ("a.example",), 100)
    for _ in range(1000):
        hear(record, BLOCK, ("b.example",), 101)
    assert record.get(last) is not None


def test_a_question_is_no_flow() -> None:
    """What a flow of DNS asks for today says nothing of the flow: there is nothing to cut, and no room to take."""
    first, record = told(ACCELERATE)
    assert record.get(hear(record, ACCELERATE, (), 40001, asks=True)) is None
    hear(record, BLOCK, ("b.example",), 40000, asks=True)
    found = record.get(first)
    assert found is not None
    assert found.names == ("a.example",)


@pytest.mark.parametrize(("names", "verdict", "reason", "policy", "now"), [
    (("a.example",), ACCELERATE, Reason.DEFAULT, BAD, Now(ACCELERATE, None)),
    (("www.bad.example",), ACCELERATE, Reason.DEFAULT, BAD, Now(BLOCK, "bad")),
    (("a.example", "bad.example"), ACCELERATE, Reason.RULE, BAD, Now(BLOCK, "bad")),
    (("a.example",), BLOCK, Reason.RULE, BAD, Now(ACCELERATE, None)),
    ((), ACCELERATE, Reason.NO_NAME, NIGHT, Now(BLOCK, "night")),
    ((), ACCELERATE, Reason.UNKNOWN_PROTOCOL, BAD, Now(ACCELERATE, None)),
    ((), BLOCK, Reason.NO_NAME, PAUSE, Now(ACCELERATE, "by hand 1")),
    ((), ACCELERATE, Reason.MIDSTREAM, NIGHT, Now(BLOCK, "night")),
    ((), ACCELERATE, Reason.MIDSTREAM, Policy((), BLOCK), Now(ACCELERATE, None)),
    (("a.example",), BLOCK, Reason.MALFORMED, PAUSE, Now(BLOCK, None)),
    (("a.example",), BLOCK, Reason.RULE, TLS, Now(BLOCK, "tls")),
    (("a.example",), ACCELERATE, Reason.DEFAULT, QUIC, Now(ACCELERATE, None)),
])
def test_a_flow_is_judged_as_the_engine_would(names: tuple[str, ...], verdict: Verdict, reason: Reason, policy: Policy,
                                              now: Now) -> None:
    """Any blocked name blocks; of a nameless flow the exceptions say what no rule does; evidence is not forgiven."""
    decided = Decided(names, "tls", CLIENT, verdict, reason, None, verdict)
    policy.set_time(0.0)
    assert judged(decided, policy, Config().exceptions) == now


@pytest.mark.parametrize(("protocol", "rules"), [("tls", {"an hour"}), ("quic", set())])
def test_a_limit_counts_what_its_rule_is_for(protocol: str, rules: set[str]) -> None:
    """A rule for one protocol does not count the time of others."""
    policy = Policy((Rule("an hour", BLOCK, limit=3600.0, protocols=frozenset(("tls",))),))
    policy.set_time(0.0)
    decided = Decided(("a.example",), protocol, CLIENT, ACCELERATE, Reason.DEFAULT, None, ACCELERATE)
    assert counted(decided, policy) == rules
