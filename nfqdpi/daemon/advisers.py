"""The supervisor's end of the advisers' process. It talks with the workers by itself; here it is only kept alive."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Any

from nfqdpi import plugins
from nfqdpi.config import Config
from nfqdpi.core.plugin import Adviser
from nfqdpi.daemon.advising import Advising
from nfqdpi.daemon.beside import Beside

_HANG = 5.0  # s without a heartbeat beside the longest patience, in which there need be none


class Advisers(Beside):
    """``lines``: the process's ends of those to the workers."""

    def __init__(self, lines: Sequence[socket.socket], tell: Callable[[str, str, int], None]) -> None:
        super().__init__("advisers", _HANG, tell)
        self._lines = lines
        self._advisers: list[Adviser] = []

    def read(self) -> dict[str, Any]:
        """For the control socket: who is at work, and how often the process began."""
        return {"names": [one.name for one in self._advisers], "starts": self.starts}

    def _take(self, config: Config) -> None:
        self._advisers = [one for offered in plugins.readers(config.plugin).values() for one in offered
                          if isinstance(one, Adviser) and one.slow is not None]
        self._hang = _HANG + max((one.slow.patience for one in self._advisers if one.slow is not None), default=0.0)

    @property
    def wanted(self) -> bool:
        return bool(self._advisers)

    @property
    def _kept(self) -> Sequence[socket.socket]:
        return self._lines

    def _work(self, channel: socket.socket) -> None:
        Advising(self._advisers, self._lines, channel).run()

    def _heard(self, message: bytes) -> None:
        """A heartbeat; that it has come is all that it says."""

    def _ended(self) -> None:
        """Who waits for it has patience for so long."""
