"""The policy against a loop over its rules."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from math import inf
from random import Random
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfqdpi.core.decision import Client, Outcome
from nfqdpi.core.verdict import Reason, Verdict
from nfqdpi.policy.clients import ClientGroup
from nfqdpi.policy.index import NameIndex, build
from nfqdpi.policy.model import _REMEMBERED, Policy, Rule
from nfqdpi.policy.names import Pattern, canonical
from nfqdpi.policy.schedule import Schedule, Window
from tests.policy import reference
from tests.policy.reference import Listed
from tests.policy.worlds import INTERFACES, question, world

HERE = Client(ip_address("192.168.1.7").packed)
ELSEWHERE = Client(ip_address("10.0.0.1").packed)
KIDS = ClientGroup((ip_network("192.168.1.0/24"),))
NIGHT = Schedule([Window.parse("21:00-07:00")], ZoneInfo("Europe/Berlin"))
NOON, MIDNIGHT, MORNING = 1_780_308_000.0, 1_780_351_200.0, 1_780_376_400.0  # Monday, 1 June 2026, in Berlin


def rule(name: str, verdict: Verdict, *domains: str, lists: tuple[str, ...] = (),
         groups: tuple[ClientGroup, ...] | None = None, schedule: Schedule | None = None, limit: float | None = None,
         until: float = inf) -> Rule:
    return Rule(name, verdict, tuple(map(Pattern.parse, domains)), lists, groups, schedule, limit, until)


def index(**lists: Listed) -> NameIndex:
    return NameIndex(build((name, listed.parsed()) for name, listed in lists.items()))


@given(st.randoms())
def test_the_first_rule_that_matches_decides(random: Random) -> None:
    """In order: the first rule in force whose clients and names match gives the verdict, otherwise the default; and all
    rules above it were passed over, it was not."""
    small = world(random)
    for _ in range(8):
        asked = question(random, small)
        expected = reference.decide(small.rules, small.default, small.lists, INTERFACES, asked)
        small.policy.set_time(asked.now, asked.spent)
        said = small.policy.decide(asked.name, asked.client)
        assert (said.verdict, said.rule, said.list) == expected
        over = [one.name for one, _ in small.policy.passed_over(asked.name, asked.client)]
        names = [one.name for one in small.rules]
        assert over == names[: len(names) if expected[1] is None else names.index(expected[1])]


@given(st.randoms())
def test_time_counts_on_limits_that_would_decide(random: Random) -> None:
    """A limited rule is used by what it would decide if its limit, and those above it, were reached."""
    small = world(random)
    for _ in range(8):
        asked = question(random, small)
        small.policy.set_time(asked.now, asked.spent)
        used = {one.name for one in small.policy.uses(asked.name, asked.client)}
        for limited in (one for one in small.rules if one.limit is not None):
            others = [one for one in small.rules if one.limit is None or one is limited]
            reached = asked._replace(spent=frozenset((limited.name,)))
            decided = reference.decide(others, small.default, small.lists, INTERFACES, reached)
            assert (decided[1] == limited.name) == (limited.name in used)


@given(st.randoms())
def test_nothing_changes_before_the_next_change(random: Random) -> None:
    """Until then the policy says what it says now; when it says something else, its revision is another."""
    small = world(random)
    now = question(random, small).now
    small.policy.set_time(now)
    said, revision = _all_said(small.policy), small.policy.revision
    change = small.policy.next_change(now)
    assert change > now
    for later in (random.uniform(now, min(change, now + 1e7)), change - 1):
        if now <= later < change:
            assert not small.policy.set_time(later)
            assert (_all_said(small.policy), small.policy.revision) == (said, revision)
    if change < inf:
        changed = small.policy.set_time(change)
        assert changed == (small.policy.revision is not revision)
        assert changed or _all_said(small.policy) == said


def _all_said(policy: Policy) -> list[Outcome]:
    return [policy.decide(name, client) for name in (None, "google.com", "ads.a.example")
            for client in (HERE, ELSEWHERE)]


def test_the_list_that_matched_is_named() -> None:
    """Events can say which of a rule's lists it was, whatever else matched; a name on none has none."""
    names = index(ads=Listed((Pattern.parse("a.example"),)), more=Listed((Pattern.parse("b.example"),)))
    policy = Policy([rule("no", Verdict.BLOCK, "*tracker*", lists=("more", "ads"))], names=names)
    assert policy.decide("www.A.Example.", HERE) == Outcome(Verdict.BLOCK, Reason.RULE, "no", "ads")
    assert policy.decide("b.example", HERE) == Outcome(Verdict.BLOCK, Reason.RULE, "no", "more")
    assert policy.decide("tracker.b.example", HERE) == Outcome(Verdict.BLOCK, Reason.RULE, "no", "more")
    assert policy.decide("tracker.c.example", HERE) == Outcome(Verdict.BLOCK, Reason.RULE, "no", None)


def test_a_list_that_is_not_there_has_no_names() -> None:
    """A rule for a list that was never fetched matches nothing, rather than everything."""
    for names in (None, index(ads=Listed((Pattern.parse("a.example"),)))):
        policy = Policy([rule("no", Verdict.BLOCK, lists=("none",))], names=names)
        assert policy.decide("a.example", HERE).rule is None
        assert policy.decide(None, HERE).rule is None


def test_an_exception_stands_before_its_rule() -> None:
    """An allowed name above a blocked tree stays allowed, and only it."""
    policy = Policy([rule("ok", Verdict.ACCELERATE, "=good.a.example"), rule("no", Verdict.BLOCK, "a.example")])
    assert policy.decide("good.a.example", HERE).verdict is Verdict.ACCELERATE
    assert policy.decide("x.good.a.example", HERE).verdict is Verdict.BLOCK


def test_a_rule_without_names_takes_all() -> None:
    """Also flows that have none, but a rule above it goes first."""
    policy = Policy([rule("ok", Verdict.ACCELERATE, "a.example"), rule("all", Verdict.BLOCK)])
    assert policy.decide(None, HERE).rule == "all"
    assert policy.decide("b.example", HERE).rule == "all"
    assert policy.decide("a.example", HERE).rule == "ok"


def test_a_schedule_is_kept() -> None:
    """A rule is in force inside its windows; each edge is told in advance, and is a change."""
    policy = Policy([rule("sleep", Verdict.BLOCK, schedule=NIGHT)])
    assert policy.decide("a.example", HERE).rule is None
    assert not policy.set_time(NOON)
    assert policy.next_change(NOON) == MIDNIGHT - 3 * 3600
    assert policy.set_time(MIDNIGHT)
    assert policy.decide("a.example", HERE).rule == "sleep"
    assert policy.set_time(MORNING)
    assert policy.decide("a.example", HERE).rule is None


def test_a_clock_may_be_set_back() -> None:
    """The policy follows a clock that was wrong."""
    policy = Policy([rule("sleep", Verdict.BLOCK, schedule=NIGHT)])
    policy.set_time(MIDNIGHT)
    assert policy.set_time(NOON)
    assert policy.decide("a.example", HERE).rule is None


def test_a_limit_matches_when_it_is_reached() -> None:
    """Before that its time counts, and the rules below it decide; afterwards it decides itself."""
    limited = rule("an hour", Verdict.BLOCK, "a.example", groups=(KIDS,), limit=3600.0)
    policy = Policy([limited, rule("ok", Verdict.ACCELERATE, "a.example")])
    policy.set_time(NOON)
    assert policy.decide("a.example", HERE).rule == "ok"
    assert (policy.uses("a.example", HERE), policy.uses("a.example", ELSEWHERE)) == ((limited,), ())
    assert policy.set_time(NOON, frozenset(("an hour",)))
    assert policy.decide("a.example", HERE).rule == "an hour"
    assert policy.uses("a.example", HERE) == (limited,)


def test_what_is_allowed_above_a_limit_does_not_use_it() -> None:
    """Time for school is no time for play."""
    play = rule("play", Verdict.BLOCK, limit=3600.0)
    policy = Policy([rule("school", Verdict.ACCELERATE, "school.example"), play])
    assert policy.uses("school.example", HERE) == ()
    assert policy.uses("game.example", HERE) == (play,)


def test_a_rule_ends() -> None:
    """At its very moment, which is told in advance."""
    policy = Policy([rule("by hand 1", Verdict.BLOCK, until=NOON)])
    assert policy.next_change(NOON - 60) == NOON
    assert not policy.set_time(NOON - 60)
    assert policy.decide("a.example", HERE).rule == "by hand 1"
    assert policy.set_time(NOON)
    assert (policy.decide("a.example", HERE).rule, policy.next_change(NOON)) == (None, inf)


@pytest.mark.parametrize(("one", "why"), [
    (Rule("x", Verdict.BLOCK, enabled=False), "it is not enabled"),
    (rule("x", Verdict.BLOCK, "b.example"), "the name does not match"),
    (rule("x", Verdict.BLOCK, groups=(KIDS,)), "the client is in none of its groups"),
    (rule("x", Verdict.BLOCK, schedule=NIGHT), "its schedule is not active"),
    (rule("x", Verdict.BLOCK, until=NOON), "it has ended"),
    (rule("x", Verdict.BLOCK, limit=60.0), "its limit is not reached"),
])
def test_why_a_rule_was_passed_over(one: Rule, why: str) -> None:
    """`explain` gives the reason."""
    policy = Policy([one])
    policy.set_time(NOON)
    assert list(policy.passed_over("a.example", ELSEWHERE)) == [(one, why)]


def test_an_interface_is_asked_for_once() -> None:
    """Which interface an index is, is the kernel's to tell, and slow."""
    asked = []

    def name(index: int) -> str:
        asked.append(index)
        return "br-guest"

    policy = Policy([rule("guests", Verdict.BLOCK, groups=(ClientGroup(interfaces=("br-guest",)),))],
                    interface_name=name)
    for _ in range(2):
        assert policy.decide("a.example", HERE._replace(interface=7)).rule == "guests"
        assert policy.decide("a.example", HERE).rule is None
    assert asked == [7]


def test_remembered_clients_are_bounded() -> None:
    """However many addresses ask, the memory of their groups stays within its limit, and right."""
    policy = Policy([rule("kids", Verdict.BLOCK, "a.example", groups=(KIDS,))])
    for n in range(_REMEMBERED + 100):
        policy.decide("a.example", Client((0x0A000000 + n).to_bytes(4, "big")))
    assert len(policy._rules_of) <= _REMEMBERED
    assert policy.decide("a.example", HERE).verdict is Verdict.BLOCK


@given(st.text(st.characters(), max_size=60))
def test_any_name_has_a_ruling(name: str) -> None:
    """Whatever a client calls its host."""
    names = index(ads=Listed((Pattern.parse("example"), Pattern.parse("*y*"))))
    policy = Policy([rule("x", Verdict.BLOCK, "example", "*x*"), rule("y", Verdict.BLOCK, lists=("ads",))], names=names)
    known = canonical(name)
    hit = "x" in known or "y" in known or known.split(".")[-1] == "example"
    assert policy.decide(name, HERE).verdict.blocks == hit
