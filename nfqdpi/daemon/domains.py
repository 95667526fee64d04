"""Verdicts counted by registrable domain."""

from __future__ import annotations

from collections import Counter
from heapq import nlargest
from typing import Any

from nfqdpi.policy.suffixes import registrable

_KEPT = 4096  # domains; twice as many for a while, some 3 MB


class Domains:
    """Counts of actions for the domains that are met most, however many there are.

    A domain in the upper half is never forgotten. One that has been, and comes back, begins anew: a count is never too
    high, and what was forgotten is in ``others``.
    """

    def __init__(self, kept: int = _KEPT) -> None:
        self._kept = kept
        self._counts: dict[str, Counter[str]] = {}
        self._others: Counter[str] = Counter()

    def add(self, name: str | None, action: str) -> None:
        """Count one verdict; a flow without a name belongs to no domain."""
        if name is None:
            return
        domain = registrable(name)
        counts = self._counts.get(domain)
        if counts is None:
            if len(self._counts) >= 2 * self._kept:
                self._forget()
            counts = self._counts[domain] = Counter()
        counts[action] += 1

    def _forget(self) -> None:
        kept = self._most(self._kept)
        for domain in self._counts.keys() - {domain for domain, _ in kept}:
            self._others += self._counts[domain]
        self._counts = dict(kept)

    def _most(self, number: int) -> list[tuple[str, Counter[str]]]:
        return nlargest(number, self._counts.items(), key=lambda item: item[1].total())

    def read(self) -> dict[str, Any]:
        """For the control socket: the domains, most verdicts first, and all that were forgotten as one."""
        return {"domains": [{"domain": domain, **counts} for domain, counts in self._most(self._kept)],
                "others": dict(self._others)}
