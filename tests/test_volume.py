"""Packets and bytes by name, without a kernel."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from nfqdpi.daemon.volume import Labels


@given(st.lists(st.tuples(st.sampled_from(["", "a", "b", "c", "d", "e"]), st.integers(1, 1000)), max_size=80),
       st.integers(0, 3))
def test_labels_are_few_and_their_counts_only_grow(moved: list[tuple[str, int]], most: int) -> None:
    """Whatever moves: at most so many domains and all others; no count falls while its domain is there, and what comes
    is counted once."""
    labels, sofar, before = Labels(most), Counter[str](), dict[str, int]()
    for domain, volume in moved:
        sofar[domain] += volume
        labels.add(domain, Counter(bytes=volume), sofar[domain])
        now = {label: counts["bytes"] for label, counts in labels}
        assert len(now) <= most + 1
        grown = {label: count - before.get(label, 0) for label, count in now.items() if count != before.get(label, 0)}
        assert grown == {domain if domain in now else "other": volume}
        before = now


def test_a_domain_that_moves_much_has_a_label_of_its_own() -> None:
    """However late it comes; one that moves as much as another takes no place."""
    labels = Labels(2)
    for domain, volume in (("early", 10), ("also", 10), ("same", 15), ("much", 500)):
        labels.add(domain, Counter(bytes=volume), volume)
    assert {label: counts["bytes"] for label, counts in labels} == {"also": 10, "much": 500, "other": 15}
