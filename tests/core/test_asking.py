"""Slow advisers: units that wait for them, and units that pass meanwhile."""

from __future__ import annotations

import gc

import pytest

from nfqdpi.build import compiled
from nfqdpi.core.asking import MOST, Asked, Question
from nfqdpi.core.classifier import NEED_MORE, NO_MATCH, Answer, Classification, Classifier, DatagramClassifier
from nfqdpi.core.engine import Engine
from nfqdpi.core.flow import Flow
from nfqdpi.core.plugin import Advice, Adviser, Slow
from nfqdpi.core.verdict import Reason, Verdict
from nfqdpi.policy.model import Policy, Rule
from nfqdpi.policy.names import Pattern
from nfqdpi.testing.packets import ip, udp
from nfqdpi.testing.tls import server_hello
from tests.core.transcript import ALLOWED, BLOCKED, CLASSIFIERS, CLOSED, HELLO, OPEN, Talk, engine, line

BLOCK, NOTHING = Advice(Verdict.BLOCK, "so"), None
GET = f"GET / HTTP/1.1\r\nHost: {ALLOWED}\r\n\r\n".encode()


def slow(*, waits: bool, name: str = "slow", patience: float = 2.0) -> Adviser:
    def advise(found: Classification, client: bytes, server: bytes) -> Advice:
        raise AssertionError("no engine asks it")

    return Adviser(name, "1", advise, Slow(patience, waits=waits))


def judging(*advisers: Adviser, **settings: object) -> Engine:
    return engine(classifiers=(*CLASSIFIERS, *advisers), **settings)  # type: ignore[arg-type]


def question(judge: Engine) -> Question:
    """The one that has come up."""
    (found,) = judge.judge.asking.questions
    judge.judge.asking.questions.clear()
    return found


def answer(judge: Engine, asked: Question, advice: Advice | None, name: str = "slow") -> Asked | None:
    return judge.judge.asking.answer(asked.number, name, advice)


def opened(judge: Engine, sport: int = 40000) -> Talk:
    flow = Talk(judge, sport=sport)
    assert flow.opens() == "inspect need_more"
    return flow


@pytest.mark.parametrize(("advice", "verdict"), [
    (NOTHING, "confirm default"), (Advice(Verdict.INSPECT, "so"), "confirm advice"), (BLOCK, "block advice")])
def test_a_unit_that_waits(advice: Advice | None, verdict: str) -> None:
    """The packet is kept until the answer, and neither a copy nor what follows it passes; then it is judged, and told
    of once, as if it had come alone."""
    judge = judging(slow(waits=True))
    flow = opened(judge)
    assert flow.client(HELLO) == "hold need_more"
    assert [flow.client(HELLO, at=0), flow.client(b"behind")] == ["drop need_more", "drop need_more"]
    assert flow.judgements == []
    asked = question(judge)
    assert (asked.unit.names, asked.until) == ((ALLOWED,), {"slow": flow.now + 2})
    assert answer(judge, asked, advice) is not None
    assert flow.client(HELLO, at=0) == verdict
    assert len(judge.judge.asking) == 0
    (told,) = flow.judgements
    assert (told.packets, judge.judge.asking.questions) == (1, [])
    if verdict == "confirm default":
        assert flow.client(HELLO, at=0) == "confirm need_more"
        assert flow.server(server_hello()) == "accelerate confirmed"


def test_what_the_policy_blocks_is_not_asked_about() -> None:
    """Nor is what it blocks by the time of the answer let on."""
    judge = judging(slow(waits=True))
    flow = opened(judge)
    assert flow.client(b"GET / HTTP/1.1\r\nHost: " + BLOCKED.encode() + b"\r\n\r\n") == "block rule"
    flow = opened(judge, 2)
    assert flow.client(GET) == "hold need_more"
    judge.govern(Policy((Rule("new", Verdict.BLOCK, (Pattern.parse(ALLOWED),)),)), OPEN)
    assert answer(judge, question(judge), NOTHING) is not None
    assert flow.client(GET, at=0) == "block rule"


def test_each_unit_is_asked_about() -> None:
    """Requests in one packet, one after the other; the packet passes with the last answer."""
    judge = judging(slow(waits=True), max_bytes=3 * len(GET))
    flow = opened(judge)
    for _ in range(3):
        assert flow.client(GET * 3, at=0) == "hold need_more"
        assert answer(judge, question(judge), NOTHING) is not None
    assert flow.client(GET * 3, at=0) == "inspect need_more"
    assert [told.outcome.reason for told in flow.judgements] == [Reason.DEFAULT] * 3


@pytest.mark.parametrize("strict", [True, False])
def test_a_unit_that_passes(strict: bool) -> None:
    """It goes on, and its flow is not accelerated before the answer, whatever the server says meanwhile."""
    judge = judging(slow(waits=False), strict=strict)
    flow = Talk(judge)
    if strict:
        flow.opens()
    assert flow.client(HELLO) == ("confirm advice" if strict else "inspect advice")
    if strict:
        assert flow.server(server_hello()) == "inspect confirmed"
    assert flow.client(b"more") == "inspect need_more"
    asked = answer(judge, question(judge), NOTHING)
    assert asked is not None
    decision = judge.late(asked, flow.now)
    assert decision is not None
    assert line(decision) == "accelerate default"
    assert [(told.outcome.verdict, told.outcome.reason) for told in (*flow.judgements, *decision.judgements)] == [
        (Verdict.INSPECT, Reason.ADVICE), (Verdict.ACCELERATE, Reason.DEFAULT)]
    assert flow.client(b"and more") == "accelerate default"
    assert judge.late(asked, flow.now) is None


def test_an_answer_is_no_reply() -> None:
    """E6: with all advice heard the server has still to show that it got the unit."""
    judge = judging(slow(waits=False))
    flow = opened(judge)
    assert flow.client(HELLO) == "confirm advice"
    asked = answer(judge, question(judge), NOTHING)
    assert asked is not None
    decision = judge.late(asked, flow.now)
    assert decision is not None
    assert line(decision) == "confirm default"
    assert flow.server(server_hello()) == "accelerate confirmed"


def test_a_flow_that_has_passed_is_cut() -> None:
    """By a block, at once; and watched on by one who wants to see what follows."""
    judge = judging(slow(waits=False))
    for advice, verdict in ((BLOCK, "block advice"), (Advice(Verdict.INSPECT, "so"), None)):
        flow = opened(judge)
        assert flow.client(HELLO) == "confirm advice"
        asked = answer(judge, question(judge), advice)
        assert asked is not None
        decision = judge.late(asked, flow.now)
        assert (decision and line(decision)) == verdict
        assert flow.server(server_hello()) == (verdict or "inspect confirmed")


def test_a_policy_that_changes_meanwhile() -> None:
    """Whoever is stricter counts: the policy by the time of the answer, or advice that was heard before."""
    anew = Policy((Rule("new", Verdict.BLOCK, (Pattern.parse(BLOCKED),)),))
    against = Policy((Rule("new", Verdict.BLOCK, (Pattern.parse(ALLOWED),)),))
    for policy, verdict in ((anew, "confirm default"), (against, "block rule")):
        judge = judging(slow(waits=False))
        flow = opened(judge)
        assert flow.client(HELLO) == "confirm advice"
        judge.govern(policy, OPEN)
        asked = answer(judge, question(judge), NOTHING)
        assert asked is not None
        decision = judge.late(asked, flow.now)
        assert decision is not None
        assert line(decision) == verdict
    judge = judging(slow(waits=True))
    flow = opened(judge)
    assert flow.client(HELLO) == "hold need_more"
    assert answer(judge, question(judge), Advice(Verdict.INSPECT, "so")) is not None
    assert flow.client(HELLO, at=0) == "confirm advice"
    judge.govern(anew, OPEN)
    assert flow.server(server_hello()) == "inspect confirmed"


def first(prefix: bytes) -> Answer:
    """A protocol that knows its unit by two bytes."""
    return Classification("first", length=2)


def second(prefix: bytes) -> Answer:
    """And one that does not know before the third whether it is its own."""
    if len(prefix) <= 2:
        return NEED_MORE
    return Classification("second", length=3) if prefix[2:3] == b"2" else NO_MATCH


READERS = tuple(Classifier(read.__name__, read.__name__, "1", 9, read) for read in (first, second))


def both(judge: Engine) -> Talk:
    """A flow that may be either; the first one's word waits for the other's."""
    flow = opened(judge)
    assert flow.client(b"xx") == "inspect need_more"
    return flow


def test_what_may_be_two_protocols() -> None:
    """Each reading is asked about, and told of when it counts."""
    for third, verdict in ((b"2", "confirm advice"), (b"1", "confirm no_name")):
        judge = engine(classifiers=(*READERS, slow(waits=False)))
        flow = both(judge)
        found = question(judge)
        assert found.unit.protocol == "first"
        asked = answer(judge, found, NOTHING)
        assert asked is not None
        assert judge.late(asked, flow.now) is None
        assert flow.client(third) == verdict
        assert [told.unit.protocol for told in judge.judge.asking.questions] == ["second"] * (third == b"2")
    judge = engine(classifiers=(*READERS, slow(waits=False)))
    flow = both(judge)
    asked = answer(judge, question(judge), BLOCK)
    assert asked is not None
    decision = judge.late(asked, flow.now)
    assert decision is not None
    assert line(decision) == "block advice"
    judge = engine(classifiers=READERS)
    flow = both(judge)
    judge.use((*READERS, slow(waits=True)))
    assert flow.client(b"1") == "confirm no_name"


@pytest.mark.parametrize(("exceptions", "waits", "verdicts"), [
    (OPEN, True, ["confirm plugin_error"]), (CLOSED, True, ["block plugin_error"]),
    (OPEN, False, ["confirm advice", "confirm plugin_error"]),
    (CLOSED, False, ["confirm advice", "block plugin_error"])])
def test_no_answer(exceptions: dict[Reason, Verdict], waits: bool, verdicts: list[str]) -> None:
    """Once the patience is over, plugin_error speaks in its place: it may block, but it never overrules anybody."""
    judge = judging(slow(waits=waits), exceptions=exceptions)
    flow = opened(judge)
    found = [flow.client(HELLO)]
    question(judge)
    asking = judge.judge.asking
    assert list(asking.overdue(flow.now + 1.9)) == []
    ((number, name),) = asking.overdue(flow.now + 2)
    asked = asking.fail(number, name)
    assert asked is not None
    if waits:
        found = [flow.client(HELLO, at=0)]
    else:
        decision = judge.late(asked, flow.now)
        assert decision is not None
        found.append(line(decision))
    assert found == verdicts
    assert asking.fail(number, name) is None
    assert asking.answer(number, name, BLOCK) is None


def test_several() -> None:
    """A packet waits for those who want it to; any block is enough, and the others have their say later."""
    judge = judging(slow(waits=True), slow(waits=True, name="other"), slow(waits=False, name="third"))
    flow = opened(judge)
    assert flow.client(HELLO) == "hold need_more"
    asked = question(judge)
    assert answer(judge, asked, NOTHING) is None
    assert answer(judge, asked, NOTHING, "other") is not None
    assert flow.client(HELLO, at=0) == "confirm advice"
    late = answer(judge, asked, BLOCK, "third")
    assert late is not None
    decision = judge.late(late, flow.now)
    assert decision is not None
    assert line(decision) == "block advice"
    flow = opened(judge, 2)
    assert flow.client(HELLO) == "hold need_more"
    asked = question(judge)
    assert answer(judge, asked, BLOCK, "other") is not None
    assert answer(judge, asked, NOTHING) is None
    assert flow.client(HELLO, at=0) == "block advice"


def test_bounds() -> None:
    """Beyond so many questions, or while an adviser is left out, plugin_error speaks at once."""
    judge = judging(slow(waits=True), exceptions=CLOSED)
    flows = [opened(judge, sport) for sport in range(1, MOST + 2)]
    assert [flow.client(HELLO) for flow in flows] == ["hold need_more"] * MOST + ["block plugin_error"]
    judge = engine(exceptions=CLOSED)
    judge.use(CLASSIFIERS, lacking=True, unadvised=True)
    assert opened(judge).client(HELLO) == "block plugin_error"


def test_a_flow_that_is_gone() -> None:
    """An answer about it decides nothing: another may have its tuple."""
    judge = judging(slow(waits=False))
    assert opened(judge).client(HELLO) == "confirm advice"
    first = question(judge)
    flow = opened(judge)
    assert flow.client(HELLO) == "confirm advice"
    asked = answer(judge, first, BLOCK)
    assert asked is not None
    assert judge.late(asked, flow.now) is None
    assert flow.mark is Verdict.CONFIRM


@pytest.mark.parametrize("strict", [True, False])
def test_datagrams(strict: bool) -> None:
    """The same of UDP."""
    def read(data: bytes) -> Classification:
        return Classification("any", (data.decode(),))

    reader = DatagramClassifier("any", "any", "1", read, (443,))
    first, other = (ip(17, udp(name)) for name in (b"a.example", b"b.example"))
    for advice, verdict in ((BLOCK, "block advice"), (NOTHING, "accelerate default"),
                            (Advice(Verdict.INSPECT, "so"), "inspect advice")):
        judge = engine(strict=strict, classifiers=(reader, slow(waits=True)))
        assert line(judge.process(first, 0.0)) == "hold need_more"
        assert line(judge.process(other, 0.0)) == "drop need_more"
        assert answer(judge, question(judge), advice) is not None
        assert line(judge.process(first, 0.0)) == verdict
        judge = engine(strict=strict, classifiers=(reader, slow(waits=False)))
        assert line(judge.process(first, 0.0)) == "inspect advice"
        asked = answer(judge, question(judge), advice)
        assert asked is not None
        decision = judge.late(asked, 0.0)
        assert (line(decision) if decision else "inspect advice") == verdict
        assert judge.late(asked, 0.0) is None or advice is NOTHING


@pytest.mark.parametrize("patience", [0.0, -1.0, 61.0, float("nan")])
def test_patience(patience: float) -> None:
    """Is more than none, and at most a minute."""
    with pytest.raises(ValueError, match="patience"):
        Slow(patience)


@pytest.mark.parametrize("waits", [True, False])
def test_a_flow_is_part_of_no_cycle(waits: bool) -> None:
    """What is compiled has no garbage collector look at flows: one that the table drops is gone, asked about or not,
    answered or not."""
    gc.collect()
    gc.disable()
    try:
        judge = judging(slow(waits=waits))
        before = flows_there_are()
        for sport, answered in ((40000, True), (40001, False)):
            opened(judge, sport).client(HELLO)
            if answered:
                answer(judge, question(judge), NOTHING)
        assert flows_there_are() == before + 2 * (not compiled())
        for key in [one.key for one in judge.flows]:
            judge.flows.forget(key)
        assert flows_there_are() == before
    finally:
        gc.enable()


def flows_there_are() -> int:
    """Those that the collector knows of."""
    return sum(isinstance(one, Flow) for one in gc.get_objects())
