"""Changes by hand: rules that stand in front of the configured ones, and end by themselves."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Override:
    """``allow`` or ``block`` a domain ``pattern`` (as it was written; None: every name, and flows without one) for one
    ``client`` (address, CIDR, MAC address or a client's name), for one ``group``, or, where both are None, for
    everybody. ``made`` and ``until`` (None: until it is taken back) in seconds since 1970; the latest made goes
    first."""

    id: int
    action: Literal["allow", "block"]
    pattern: str | None
    client: str | None
    group: str | None
    made: float
    until: float | None

    @property
    def name(self) -> str:
        """What the rule is called in events and by ``explain``."""
        return f"by hand {self.id}"


def by_hand(rule: str) -> bool:
    """True of a rule's name that is a change's, or may be one day."""
    return re.fullmatch(r"by hand \d+", rule) is not None
