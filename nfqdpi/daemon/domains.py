"""Verdicts counted by registrable domain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from nfqdpi.daemon.tally import Tally
from nfqdpi.policy.suffixes import registrable

_KEPT = 4096  # domains; four times as many for a while, some 3 MB
_GATHERED = 8192  # names; the same ones come again and again, and to look one up takes longer than all else


class Domains:
    """The domains that are met most."""

    def __init__(self) -> None:
        self._tally = Tally(_KEPT)
        self._names: dict[str, Counter[str]] = {}  # of each action, those whose domains are not looked up yet

    def add(self, action: str, names: Iterable[str]) -> None:
        """Count verdicts on names."""
        self._names.setdefault(action, Counter()).update(names)
        if sum(map(len, self._names.values())) > _GATHERED:
            self._look_up()

    def read(self) -> dict[str, Any]:
        """For the control socket: the domains, most verdicts first, and all that were forgotten as one."""
        self._look_up()
        return {"domains": [{"domain": domain, **counts} for domain, counts in self._tally.most()],
                "others": dict(self._tally.others)}

    def _look_up(self) -> None:
        for action, names in self._names.items():
            for name, count in names.items():
                self._tally.add(registrable(name), action, count)
        self._names.clear()
