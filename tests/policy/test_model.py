"""The policy against a loop over its rules."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from nfqdpi.core.decision import Client
from nfqdpi.core.verdict import Verdict
from nfqdpi.policy.model import _CLIENTS_REMEMBERED, Network, Policy, Rule, Ruling
from nfqdpi.policy.names import Pattern, canonical
from tests.policy.test_names import matches, names, patterns

NETWORKS = [ip_network(text) for text in ("192.168.1.0/24", "192.168.1.7/32", "0.0.0.0/0", "fd00::/64",
                                              "fd00::7/128", "::/0")]
CLIENTS = [ip_address(text) for text in ("192.168.1.7", "192.168.1.8", "10.0.0.1", "fd00::7", "fd00::8", "2001:db8::1")]
HERE = Client(CLIENTS[0].packed)

rules = st.builds(
    lambda verdict, written, clients: Rule("", verdict, tuple(map(Pattern.parse, written)), clients),
    st.sampled_from([Verdict.BLOCK, Verdict.BLOCK_SILENT, Verdict.ACCELERATE, Verdict.INSPECT]),
    st.lists(patterns, max_size=3), st.none() | st.lists(st.sampled_from(NETWORKS), max_size=2).map(tuple))


def rule(name: str, verdict: Verdict, *domains: str, clients: tuple[Network, ...] | None = None) -> Rule:
    return Rule(name, verdict, tuple(map(Pattern.parse, domains)), clients)


@given(st.lists(rules, max_size=8), st.none() | names, st.sampled_from(CLIENTS),
       st.sampled_from([Verdict.ACCELERATE, Verdict.BLOCK]))
def test_the_first_rule_that_matches_decides(found: list[Rule], name: str | None, client: object,
                                             default: Verdict) -> None:
    """In order: the first rule whose clients and names match gives the verdict, otherwise the default."""
    address = ip_address(str(client))
    numbered = [Rule(str(n), r.verdict, r.patterns, r.clients) for n, r in enumerate(found)]
    expected: tuple[Verdict, str | None] = (default, None)
    for one in numbered:
        mine = one.clients is None or any(address in network for network in one.clients)
        if mine and (not one.patterns or (name is not None and any(matches(p, name) for p in one.patterns))):
            expected = one.verdict, one.name
            break
    policy = Policy(numbered, default)
    for _ in range(2):  # the second time the client's groups are remembered
        ruling = policy.decide(name, Client(address.packed))
        assert (ruling.verdict, ruling.rule) == expected
    passed = [one for one, _ in policy.passed_over(name, address.packed)]
    assert passed == numbered[: len(numbered) if expected[1] is None else int(expected[1])]


def test_the_pattern_that_matched_is_named() -> None:
    """`explain` and events can say which of a rule's patterns it was."""
    policy = Policy([rule("ads", Verdict.BLOCK, "a.example", "*tracker*")])
    assert policy.decide("my-tracker.example", HERE) == Ruling(Verdict.BLOCK, "ads", None, Pattern.parse("*tracker*"))
    assert policy.decide("www.A.Example.", HERE).pattern == Pattern.parse("a.example")


def test_an_exception_stands_before_its_rule() -> None:
    """An allowed name above a blocked tree stays allowed, and only it."""
    policy = Policy([rule("ok", Verdict.ACCELERATE, "=good.a.example"), rule("no", Verdict.BLOCK, "a.example")])
    assert policy.decide("good.a.example", HERE).verdict is Verdict.ACCELERATE
    assert policy.decide("x.good.a.example", HERE).verdict is Verdict.BLOCK


def test_groups_by_address() -> None:
    """A rule for a group does not touch other clients, of either IP version."""
    policy = Policy([rule("kids", Verdict.BLOCK, "a.example", clients=(NETWORKS[0], NETWORKS[3]))])
    blocked = [client for client in CLIENTS if policy.decide("a.example", Client(client.packed)).verdict.blocks]
    assert [str(client) for client in blocked] == ["192.168.1.7", "192.168.1.8", "fd00::7", "fd00::8"]
    for name, client, expected in (("a.example", CLIENTS[2].packed, "the client is in none of its groups"),
                                   ("b.example", HERE.address, "the name does not match")):
        assert [why for _, why in policy.passed_over(name, client)] == [expected]


def test_a_rule_without_names_takes_all() -> None:
    """Also flows that have none, but a rule above it goes first."""
    policy = Policy([rule("ok", Verdict.ACCELERATE, "a.example"), rule("all", Verdict.BLOCK)])
    assert policy.decide(None, HERE).rule == "all"
    assert policy.decide("b.example", HERE).rule == "all"
    assert policy.decide("a.example", HERE).rule == "ok"


def test_remembered_clients_are_bounded() -> None:
    """However many addresses ask, the memory of their groups stays within its limit, and right."""
    policy = Policy([rule("kids", Verdict.BLOCK, "a.example", clients=(NETWORKS[0],))])
    for n in range(_CLIENTS_REMEMBERED + 100):
        policy.decide("a.example", Client((0x0A000000 + n).to_bytes(4, "big")))
    assert len(policy._rules_of) <= _CLIENTS_REMEMBERED
    assert policy.decide("a.example", HERE).verdict is Verdict.BLOCK


@given(st.text(max_size=60))
def test_any_name_has_a_ruling(name: str) -> None:
    """Whatever a client calls its host."""
    policy = Policy([rule("x", Verdict.BLOCK, "example", "*x*")])
    assert policy.decide(name, HERE).verdict.blocks == (
        "x" in canonical(name) or canonical(name).split(".")[-1] == "example")
