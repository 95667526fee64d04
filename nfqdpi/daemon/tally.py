"""Verdicts counted by what they were about: a name, a client, a rule, a protocol; and whatever else has many keys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from time import time
from typing import Any

from nfqdpi.daemon.record import Decided
from nfqdpi.kernel.ctnetlink import text

# What verdicts are counted by, and how many of each are kept; four times as many for a while, some 2 MB in all. A
# protocol is a classifier's: what its plugin says that it reads.
_KEPT = {"name": 1024, "client": 1024, "rule": 256, "protocol": 32}
KINDS = tuple(_KEPT)
ACTIONS = ("accelerate", "block", "inspect")
_ROOM = 4  # times as many counts as keys that are kept: to choose these takes long, and is done the less often


class Tally:
    """Counts of actions, or of something else, for the keys that have most, however many there are.

    As many keys as are kept, the ones that have most, are never forgotten. One that has been, and comes back, begins
    anew: a count is never too high, and what was forgotten is in ``others``.
    """

    def __init__(self, kept: int, by: str = "") -> None:
        """``by``: what keys are ranked by; "": by all that is counted of them."""
        self.others: Counter[str] = Counter()
        self._kept = kept
        self._by = by
        self._counts: dict[str, Counter[str]] = {}  # of each action, by key

    def __getitem__(self, key: str) -> dict[str, int]:
        """What is counted of a key; nothing of one that is not kept."""
        return {action: counts[key] for action, counts in self._counts.items() if key in counts}

    def add(self, key: str, action: str, count: int = 1) -> None:
        """Count a verdict, or whatever it is."""
        counts = self._counts.get(action)
        if counts is None or key not in counts:
            counts = self._of(action)
        counts[key] = counts.get(key, 0) + count

    def add_each(self, keys: Iterable[str], action: str) -> None:
        """Count it once for each of the keys, and as often again as one comes again."""
        self._of(action).update(keys)

    def most(self) -> list[tuple[str, dict[str, int]]]:
        """Those that are kept, the ones with most first."""
        return [(key, self[key]) for key in self._first()]

    def _of(self, action: str) -> Counter[str]:
        """An action's counts, with room for more."""
        if sum(map(len, self._counts.values())) >= _ROOM * self._kept:
            self._forget()
        if action not in self._counts:
            self._counts[action] = Counter()
        return self._counts[action]

    def _first(self) -> list[str]:
        ranks: Counter[str] = Counter()
        for action, counts in self._counts.items():
            if self._by in ("", action):
                ranks.update(counts)
        return sorted(ranks, key=ranks.__getitem__, reverse=True)[: self._kept]

    def _forget(self) -> None:
        kept = self._first()
        for action, counts in self._counts.items():
            left = Counter({key: counts[key] for key in kept if key in counts})
            self.others[action] += counts.total() - left.total()
            self._counts[action] = left


class Tallies:
    """A tally of each kind."""

    def __init__(self) -> None:
        self._tallies = {kind: Tally(kept) for kind, kept in _KEPT.items()}

    def __getitem__(self, kind: str) -> Tally:
        return self._tallies[kind]

    def add(self, action: str, flows: Sequence[Decided]) -> None:
        """Count verdicts, each under what it has: a name and a rule need not be."""
        for kind, keys in (("name", [flow.names[0] for flow in flows if flow.names]),
                           ("client", [text(flow.client.address) for flow in flows]),
                           ("rule", [flow.rule for flow in flows if flow.rule is not None]),
                           ("protocol", [flow.protocol for flow in flows])):
            self._tallies[kind].add_each(keys, action)

    def read(self) -> dict[str, Any]:
        """For the control socket: rows of each kind, most verdicts first."""
        return {"time": time(), **{kind: [{kind: key, **counts} for key, counts in tally.most()]
                                   for kind, tally in self._tallies.items()}}
