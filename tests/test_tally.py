"""Verdicts by name, client, rule and protocol, in bounded memory."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from nfqdpi.core.verdict import Verdict
from nfqdpi.daemon.tally import KINDS, Tallies, Tally
from tests.events.samples import decided


@given(st.lists(st.tuples(st.lists(st.integers(0, 60), max_size=5), st.sampled_from(["accelerate", "block"])),
                max_size=300))
def test_memory_is_bounded_and_nothing_is_lost(messages: list[tuple[list[int], str]]) -> None:
    """Whatever keys come: at most four times as many as are kept and one message's, no count too high, and every
    verdict in one."""
    tally, truth = Tally(kept=4), Counter[tuple[str, str]]()
    for numbers, action in messages:
        keys = [f"k{number}" if number < 50 else "often" for number in numbers]
        tally.add_each(keys[1:], action)
        for key in keys[:1]:
            tally.add(key, action)
        truth.update((key, action) for key in keys)
        assert sum(map(len, tally._counts.values())) <= 4 * 4 + 4
    told = Counter({action: counts.total() for action, counts in tally._counts.items()}) + tally.others
    assert told.total() == truth.total()
    assert all(count <= truth[key, action] for action, counts in tally._counts.items() for key, count in counts.items())


def test_what_is_met_most_is_kept() -> None:
    """A flood of keys that are met once does not push the others out."""
    tally = Tally(kept=10)
    for n in range(5000):
        tally.add(f"flood{n}", "block")
        tally.add("much", "accelerate")
    assert tally.most()[0] == ("much", {"accelerate": 5000})


def test_a_verdict_counts_under_all_that_it_has() -> None:
    """Name, client, rule and protocol, a row each; one without a rule is no rule's."""
    tallies = Tallies()
    tallies.add("block", [decided("a.example")])
    tallies.add("accelerate", [decided("b.example", Verdict.ACCELERATE, rule=None)])
    told = tallies.read()
    assert {kind: told[kind] for kind in KINDS} == {
        "name": [{"name": "a.example", "block": 1}, {"name": "b.example", "accelerate": 1}],
        "client": [{"client": "10.0.0.1", "block": 1, "accelerate": 1}],
        "rule": [{"rule": "ads", "block": 1}],
        "protocol": [{"protocol": "tls", "block": 1, "accelerate": 1}]}
