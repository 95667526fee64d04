"""Counts by registrable domain."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from nfqdpi.daemon.domains import Domains


def test_names_of_one_domain_are_counted_together() -> None:
    """By action, most verdicts first; a flow without a name counts nowhere."""
    domains = Domains()
    for name, action in (("www.example.com", "accelerate"), ("ads.example.com", "block"), ("x.example.org", "block"),
                         (None, "block")):
        domains.add(name, action)
    assert domains.read() == {"domains": [{"domain": "example.com", "accelerate": 1, "block": 1},
                                          {"domain": "example.org", "block": 1}], "others": {}}


@given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from(["accelerate", "block"])), max_size=300))
def test_memory_is_bounded_and_nothing_is_lost(verdicts: list[tuple[int, str]]) -> None:
    """Whatever names come: at most twice as many domains as are kept, no count too high, and every verdict in one."""
    domains, truth = Domains(kept=4), Counter[tuple[str, str]]()
    for number, action in verdicts:
        domain = f"d{number}.com" if number < 25 else "example.com"
        domains.add(f"w{number}.{domain}", action)
        truth[domain, action] += 1
        assert len(domains._counts) <= 8
    told = sum((counts for counts in domains._counts.values()), Counter[str]()) + domains._others
    assert told.total() == len(verdicts)
    assert all(counts[action] <= truth[domain, action] for domain, counts in domains._counts.items()
               for action in counts)


def test_what_is_met_most_is_kept() -> None:
    """A flood of names that are met once does not push the others out."""
    domains = Domains(kept=10)
    for n in range(5000):
        domains.add(f"flood{n}.com", "block")
        domains.add("much.example.org", "accelerate")
    assert domains.read()["domains"][0] == {"domain": "example.org", "accelerate": 5000}
