"""What a worker tells the supervisor: gathered, and never waited for."""

from __future__ import annotations

import socket

from nfqdpi.config import Config
from nfqdpi.core.decision import Judgement, Outcome
from nfqdpi.core.verdict import Verdict
from nfqdpi.daemon import channel as talk
from nfqdpi.daemon.counters import Counters
from nfqdpi.daemon.events import Wording
from nfqdpi.kernel.clock import Moment
from nfqdpi.policy.model import Policy

_BATCH_BYTES = 60_000  # of events in one message, below what a unix socket takes at once

_EVENTS_LOST = Counters.index("events_lost")


class Telling:
    """``noted``: verdicts that are not told yet."""

    def __init__(self, config: Config, policy: Policy, counters: Counters, channel: socket.socket) -> None:
        self.noted = 0
        self._rows: list[bytes] = []  # of them
        self._lines: list[bytes] = []
        self._size = 0  # bytes of both
        self._owed = b""  # the word that we decide by another policy, while the supervisor does not take it
        self._wording = Wording(config.field)
        self._verdicts = config.events.verdicts
        self._cells = counters.cells
        self._channel = channel
        self.govern(policy)

    def govern(self, policy: Policy) -> None:
        """From now on this policy decides what the event file is to have."""
        self._unlogged = frozenset(rule.name for rule in policy.rules if not rule.log)

    def note(self, judgement: Judgement, state: Verdict, answered: Moment) -> None:
        """Keep, until it is time to tell, what the record has of a verdict, and its line where one is wanted."""
        row, line = self._wording.told(judgement, state, answered, line=self._logged(judgement.outcome))
        self._rows.append(row)
        self._lines.append(line)
        self.noted += 1
        self._size += len(row) + len(line)
        if self._size > _BATCH_BYTES:
            self.flush()

    def owe(self, word: bytes) -> None:
        """A message that the supervisor is to have behind all events so far."""
        self._owed = word
        self.flush()

    def flush(self) -> None:
        """Tell what there is to tell: the events before the policy that is newer than they."""
        if self.noted:
            # A verdict is never delayed for an event.
            if not self.send(talk.decided(self.noted, b"".join(self._rows), b"".join(self._lines))):
                self._cells[_EVENTS_LOST] += self.noted
            self._rows.clear()
            self._lines.clear()
            self.noted = self._size = 0
        if self._owed and self.send(self._owed):
            self._owed = b""

    def send(self, message: bytes) -> bool:
        """False where the supervisor does not keep up."""
        try:
            self._channel.send(message, socket.MSG_DONTWAIT)
        except OSError:
            return False
        return True

    def _logged(self, outcome: Outcome) -> bool:
        """True of what the event file is to have."""
        if outcome.rule in self._unlogged:
            return False
        match self._verdicts:
            case "all":
                return True
            case "blocked":
                return outcome.verdict.blocks
            case "none":
                return False
