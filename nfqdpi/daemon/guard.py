"""The rules in the kernel, kept as they were installed: what another program flushes is put back.

A flow that was decided meanwhile loses nothing: its mark is conntrack's, and no flush of rules touches that.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress

from nfqdpi.kernel import firewall
from nfqdpi.kernel.firewall import FirewallError, Standing
from nfqdpi.kernel.ruleset import RuleSet

_LOOK = 6.0  # s between two looks: within 15 s comes a second one, should the first have met a lock


class Guard:
    """``tell`` is given what happened, its kind first, and how many rules it befell. ``troubles``: what is wrong now, a
    line each."""

    def __init__(self, ruleset: RuleSet, tell: Callable[[str, str, int], None]) -> None:
        self.troubles: list[str] = []
        self._ruleset = ruleset
        self._tell = tell
        self._installed: Standing = {}
        self._busy = threading.Lock()  # looks and changes come from threads
        self._passed = self._passed_before = 0  # packets that went by the queue: as last read, and of rules flushed

    def install(self) -> None:
        """Put the rules in place. Raises FirewallError."""
        firewall.install(self._ruleset)
        self._installed = firewall.standing(self._ruleset)

    def change(self, ruleset: RuleSet) -> None:
        """Put other rules in place, if they are. What goes wrong is told with the next look."""
        with self._busy:
            if ruleset != self._ruleset:
                self._ruleset = ruleset
                with suppress(FirewallError):
                    self.install()

    def bypassed(self) -> int:
        """As ``firewall.bypassed``, since the daemon's start: rules that are put back count from 0."""
        if (now := firewall.bypassed()) < self._passed:
            self._passed_before += self._passed
        self._passed = now
        return self._passed_before + now

    async def keep(self) -> None:
        """Look after them until cancelled."""
        while True:
            await asyncio.sleep(_LOOK)
            look = asyncio.create_task(asyncio.to_thread(self._look))  # iptables may wait for a lock for seconds
            try:
                await asyncio.shield(look)
            except asyncio.CancelledError:
                await look  # whoever stops us removes the rules next, and none may come after that
                raise

    def _look(self) -> None:
        with self._busy:
            self._compare()

    def _compare(self) -> None:
        try:
            self.bypassed()  # what a flush takes with it is little, then
            if lost := firewall.differences(self._installed):
                self.install()
                self.bypassed()
                more = f", and {len(lost) - 1} more" if len(lost) > 1 else ""
                self._tell("rules_restored", f"another program has changed our rules; put back: {lost[0]}{more}",
                           len(lost))
        except FirewallError as error:
            trouble = f"the rules cannot be kept in place: {error}"
            if [trouble] != self.troubles:
                self._tell("rules_lost", trouble, 0)
            self.troubles = [trouble]
        else:
            self.troubles = []
