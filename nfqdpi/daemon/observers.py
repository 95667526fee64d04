"""The supervisor's end of the observers' process. It is told without waiting: what it does not take in time, or had not
read when it ended, is lost and counted."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from nfqdpi import plugins
from nfqdpi.config import Config
from nfqdpi.core.observer import Block, Observer
from nfqdpi.daemon.beside import Beside
from nfqdpi.daemon.observation import BEAT, DECIDED, ENDED, Observation, RemarkRow
from nfqdpi.daemon.record import Decided

_HANG = 5.0  # s without a heartbeat, of which there are two a second

Beat = tuple[int, int, dict[str, int]]  # how much it has taken, how much was missed there, and faults by name


class Observers(Beside):
    """``tell`` is given what befell them and what they remark: kind, message and count; ``block`` a change by hand that
    one asks for."""

    def __init__(self, tell: Callable[[str, str, int], None], block: Callable[[Block], None]) -> None:
        super().__init__("observers", _HANG, tell)
        self.lost = 0
        self._block = block
        self._observers: list[Observer] = []
        self._here = Path()
        self._sent = self._taken = self._missed = 0  # by who is there now
        self._faults: Counter[str] = Counter()  # of those before, and of who is there now
        self._its_faults: dict[str, int] = {}

    def read(self) -> dict[str, Any]:
        """For the control socket: who is at work, how often the process began, what each has raised, and how much they
        were not told."""
        return {"names": [one.name for one in self._observers], "starts": self.starts,
                "lost": self.lost + self._missed,
                "faults": dict(self._faults + Counter(self._its_faults))}

    def decided(self, count: int, rows: bytes) -> None:
        """So many rows for the record, as a worker has sent them."""
        if self._observers:
            self._send(count, DECIDED + rows)

    def ended(self, decided: Decided, packets: int, volume: int) -> None:
        """A flow is over."""
        if self._observers:
            self._send(1, ENDED + msgspec.msgpack.encode((decided, packets, volume)))

    def _send(self, count: int, message: bytes) -> None:
        try:
            if self._channel is None:
                raise BrokenPipeError
            self._channel.send(message, socket.MSG_DONTWAIT)
            self._sent += count
        except OSError:  # it is slow, or there is none
            self.lost += count

    def _take(self, config: Config) -> None:
        self._observers = [one for offered in plugins.observers(config.plugin).values() for one in offered]
        self._here = Path(config.state.directory, "observers")

    @property
    def wanted(self) -> bool:
        return bool(self._observers)

    def _work(self, channel: socket.socket) -> None:
        Observation(self._observers, self._here, channel).run()

    def _heard(self, message: bytes) -> None:
        if message[:1] == BEAT:
            self._taken, self._missed, self._its_faults = msgspec.msgpack.decode(message[1:], type=Beat)
        else:
            kind, words, block = msgspec.msgpack.decode(message[1:], type=RemarkRow)
            self._tell(kind, words, 0)
            if block is not None:
                self._block(Block(*block))

    def _ended(self) -> None:
        self.lost += self._sent - self._taken + self._missed
        self._sent = self._taken = self._missed = 0
        self._faults.update(self._its_faults)
        self._its_faults = {}
