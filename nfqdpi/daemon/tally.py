"""Verdicts counted by what they were about: a name, a client, a rule, a protocol; and whatever else has many keys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from time import time
from typing import Any

from nfqdpi.daemon.events import ACTION_OF
from nfqdpi.daemon.record import Decided
from nfqdpi.kernel.ctnetlink import text

# What verdicts are counted by, and how many of each are kept; twice as many for a while, some 2 MB in all. A protocol
# is a classifier's: what its plugin says that it reads.
_KEPT = {"name": 1024, "client": 1024, "rule": 256, "protocol": 32}
KINDS = tuple(_KEPT)
ACTIONS = ("accelerate", "block", "inspect")


class Tally:
    """Counts of actions, or of something else, for the keys that have most, however many there are.

    A key in the upper half is never forgotten. One that has been, and comes back, begins anew: a count is never too
    high, and what was forgotten is in ``others``.
    """

    def __init__(self, kept: int, by: str = "") -> None:
        """``by``: what keys are ranked by; "": by all that is counted of them."""
        self.others: Counter[str] = Counter()
        self._kept = kept
        self._by = by
        self._counts: dict[str, dict[str, int]] = {}  # plain ones: a Counter takes longer to make than to fill

    def __len__(self) -> int:
        return len(self._counts)

    def __getitem__(self, key: str) -> Mapping[str, int]:
        """What is counted of a key; nothing of one that is not kept."""
        return self._counts.get(key, {})

    def add(self, key: str, action: str, count: int = 1) -> None:
        """Count a verdict, or whatever it is."""
        counts = self._counts.get(key)
        if counts is None:
            if len(self._counts) >= 2 * self._kept:
                self._forget()
            counts = self._counts[key] = {}
        counts[action] = counts.get(action, 0) + count

    def most(self) -> list[tuple[str, dict[str, int]]]:
        """Those that are kept, the ones with most first."""
        return sorted(self._counts.items(), key=self._rank, reverse=True)[: self._kept]

    def _rank(self, item: tuple[str, dict[str, int]]) -> int:
        counts = item[1]
        return counts.get(self._by, 0) if self._by else sum(counts.values())

    def _forget(self) -> None:
        kept = dict(self.most())
        for key, counts in self._counts.items():
            if key not in kept:
                for action, count in counts.items():
                    self.others[action] += count
        self._counts = kept


class Tallies:
    """A tally of each kind."""

    def __init__(self) -> None:
        self._tallies = {kind: Tally(kept) for kind, kept in _KEPT.items()}

    def __getitem__(self, kind: str) -> Tally:
        return self._tallies[kind]

    def add(self, decided: Decided) -> None:
        """Count one verdict, under what it has: a name and a rule need not be."""
        action, name = ACTION_OF[decided.verdict], decided.names[0] if decided.names else None
        for kind, key in (("name", name), ("client", text(decided.client.address)), ("rule", decided.rule),
                          ("protocol", decided.protocol)):
            if key is not None:
                self._tallies[kind].add(key, action)

    def read(self) -> dict[str, Any]:
        """For the control socket: rows of each kind, most verdicts first."""
        return {"time": time(), **{kind: [{kind: key, **counts} for key, counts in tally.most()]
                                   for kind, tally in self._tallies.items()}}
