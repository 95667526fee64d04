"""Verdicts counted by registrable domain."""

from __future__ import annotations

from typing import Any

from nfqdpi.daemon.tally import Tally
from nfqdpi.policy.suffixes import registrable

_KEPT = 4096  # domains; twice as many for a while, some 3 MB


class Domains:
    """The domains that are met most."""

    def __init__(self) -> None:
        self._tally = Tally(_KEPT)

    def add(self, name: str | None, action: str) -> None:
        """Count one verdict; a flow without a name belongs to no domain."""
        if name is not None:
            self._tally.add(registrable(name), action)

    def read(self) -> dict[str, Any]:
        """For the control socket: the domains, most verdicts first, and all that were forgotten as one."""
        return {"domains": [{"domain": domain, **counts} for domain, counts in self._tally.most()],
                "others": dict(self._tally.others)}
