"""Time limits: how long today what a rule names has been used.

A rule's clock runs while any flow that it counts is active, however many are. Whether one is, conntrack knows: each
packet sets an entry's timeout back to the full (nf_ct_refresh_acct), so that it has not run down since the last look.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic

from nfqdpi import assemble
from nfqdpi.config import Config
from nfqdpi.core.verdict import MarkField
from nfqdpi.daemon.live import RUNNING, by_and_by
from nfqdpi.daemon.record import Decided, Record
from nfqdpi.kernel.ctnetlink import entry
from nfqdpi.policy.model import Policy, Rule
from nfqdpi.state import State

OFTEN, SELDOM = 3.0, 10.0  # s between two looks at the flows: often when a limit is near, but see _ROUNDING
_SAVE = 60.0  # s between two writings down; so much is forgotten by a daemon that is killed
_ROUNDING = 1.5  # s; timeouts are told in whole seconds, so less than twice as much shows nothing


class Clock:
    """The seconds of the day that each limited rule has been used for."""

    def __init__(self, state: State, record: Record, field: MarkField) -> None:
        self._state = state
        self._record = record
        self._field = field
        self._day = ""
        self._used: dict[str, float] = {}
        self._timeouts: dict[bytes, int] = {}  # of the flows that count, at the last look
        self._looked = self._saved = monotonic()

    def spent(self, rules: Sequence[Rule], config: Config, now: float) -> frozenset[str]:
        """The rules whose limits are reached on the day of ``now``. Raises StateError."""
        if (day := assemble.day(config, now)) != self._day:
            self._day, self._used = day, self._state.used(day)
        return assemble.spent(rules, self._used)

    def used(self, policy: Policy) -> list[tuple[Rule, float, float]]:
        """The rules that have a limit, each with it and with how much of it is used today, both in seconds."""
        return [(rule, rule.limit, self._used.get(rule.name, 0.0)) for rule in policy.rules
                if rule.limit is not None and rule.enabled]

    def pause(self, policy: Policy) -> float:
        """Seconds until the next look is due; infinity where no rule has a limit."""
        left = [limit - used for _, limit, used in self.used(policy)]
        if not left:
            return float("inf")
        nearest = min((seconds for seconds in left if seconds > 0), default=SELDOM)
        return self._looked + min(max(nearest / 2, OFTEN), SELDOM) - monotonic()

    async def look(self, policy: Policy) -> None:
        """Let the clocks run of the rules that are being used. Raises OSError and StateError."""
        now = monotonic()
        elapsed, self._looked = min(now - self._looked, 2 * SELDOM), now
        timeouts: dict[bytes, int] = {}
        running: set[str] = set()
        async for _, flows in by_and_by(self._field, RUNNING):
            for key, _, message in flows:
                decided = self._record.get(key)
                if decided is None or not (rules := counted(decided, policy)):
                    continue
                timeouts[key] = left = entry(message).timeout
                before = self._timeouts.get(key)
                if before is None or left > before - elapsed + _ROUNDING:
                    running |= rules
        self._timeouts = timeouts
        for rule in running:
            self._used[rule] = self._used.get(rule, 0.0) + elapsed
        if now - self._saved > _SAVE:
            self.save()

    def save(self) -> None:
        """Write it down. Raises StateError."""
        if self._used:
            self._state.use(self._day, self._used)
        self._saved = monotonic()


def counted(decided: Decided, policy: Policy) -> set[str]:
    """The rules on whose limits a flow's time counts."""
    return {rule.name for name in decided.names or (None,)
            for rule in policy.uses(name, decided.client, decided.protocol)}
