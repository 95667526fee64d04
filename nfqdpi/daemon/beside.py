"""A process of plugins beside the workers, from the supervisor's end: forked, watched, replaced."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from time import monotonic

from nfqdpi.config import Config
from nfqdpi.daemon import channel as talk
from nfqdpi.daemon.forked import become

_WATCH = 1.0  # s between two looks at whether it hangs
_STOP = 2.0  # s that it may take to write down what it remembers, when asked to end
_SHORT_LIFE, _LONGEST_PAUSE = 60.0, 60.0  # s; who dies young waits longer for its successor each time


class Beside(ABC):
    """``called``: what the process is, as in "the observers". ``tell`` is given what befell it: kind, message and
    count; kinds begin with the name. ``hang``: seconds without a message of its after which it is taken for hung."""

    def __init__(self, called: str, hang: float, tell: Callable[[str, str, int], None]) -> None:
        self.starts = 0
        self._missing = ""  # what became of it, while there is none
        self._called = called
        self._hang = hang
        self._tell = tell
        self._sections: object = None  # of the configuration, by which they are
        self._pid = 0  # 0: nobody
        self._channel: socket.socket | None = None
        self._born = self._heard_at = 0.0
        self._short_lives = 0
        self._gone = asyncio.Event()
        self._asked = self._stopping = False  # to end

    def change(self, config: Config) -> None:
        """Have those plugins at work that the configuration enables, with its settings. Raises plugins.PluginError."""
        if config.plugin != self._sections:
            self._take(config)
            self._sections = config.plugin
            if self._pid:
                self._end()  # its successor is another
            else:
                self._fork()

    def renew(self) -> None:
        """Their files have changed: the next ``change`` begins them anew, whatever the configuration says."""
        self._sections = None

    @abstractmethod
    def _take(self, config: Config) -> None:
        """From the next process on, these are at work. Raises plugins.PluginError."""

    @property
    @abstractmethod
    def wanted(self) -> bool:
        """There is something for it to do."""

    @abstractmethod
    def _work(self, channel: socket.socket) -> None:
        """What the process does, until the channel ends."""

    @abstractmethod
    def _heard(self, message: bytes) -> None:
        """It has said something."""

    @abstractmethod
    def _ended(self) -> None:
        """It is gone, and all that it has said was heard."""

    @property
    def _kept(self) -> Sequence[socket.socket]:
        """What it keeps beside its channel."""
        return ()

    @property
    def troubles(self) -> list[str]:
        """What is wrong now, a line each."""
        return [self._missing] if self._missing else []

    async def keep(self) -> None:
        """Replace the process when it hangs, until cancelled."""
        while True:
            await asyncio.sleep(_WATCH)
            silence = monotonic() - self._heard_at
            if self._pid and silence > self._hang:
                self._tell(f"{self._called}_hung", f"the {self._called} have hung for {silence:.1f} s; killed", 0)
                os.kill(self._pid, signal.SIGKILL)
                self._heard_at = monotonic()

    async def stop(self) -> None:
        """Let it write down what it remembers, and end."""
        self._stopping = True
        if self._pid:
            self._end()
            try:
                await asyncio.wait_for(self._gone.wait(), _STOP)
            except TimeoutError:
                os.kill(self._pid, signal.SIGKILL)
                await self._gone.wait()

    def _end(self) -> None:
        if self._channel is not None:
            self._asked = True
            self._channel.shutdown(socket.SHUT_WR)

    def _fork(self) -> None:
        self._missing = ""
        if self._stopping or self._pid or not self.wanted:
            return
        ours, theirs = talk.pair()
        pid = os.fork()
        if pid == 0:
            become((theirs, *self._kept), lambda: self._work(theirs), lambda _: None)
        theirs.close()
        self._pid, self._channel = pid, ours
        self._asked = False
        self._born = self._heard_at = monotonic()
        self.starts += 1
        self._gone.clear()
        loop = asyncio.get_running_loop()
        loop.add_reader(ours, self._hear, ours)
        death = os.pidfd_open(pid)
        loop.add_reader(death, self._bury, pid, ours, death)

    def _hear(self, channel: socket.socket) -> bool:
        """One message. False: there is none."""
        if not (message := talk.heard(channel)):
            return False
        self._heard_at = monotonic()
        self._heard(message)
        return True

    def _bury(self, pid: int, channel: socket.socket, death: int) -> None:
        """It has ended: read its last words, start the next."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(death)
        os.close(death)
        _, status = os.waitpid(pid, 0)
        while self._hear(channel):
            pass
        loop.remove_reader(channel)
        channel.close()
        self._pid, self._channel = 0, None
        self._ended()
        self._gone.set()
        if self._asked:
            self._fork()
            return
        how = f"was killed by signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else "ended by itself"
        young = monotonic() - self._born < _SHORT_LIFE
        self._short_lives = self._short_lives + 1 if young else 0
        pause = min(_LONGEST_PAUSE, 2.0**self._short_lives) if young else 0.0
        words = f"the {self._called}' process {pid} {how}"
        self._tell(f"{self._called}_ended", f"{words}; the next one in {pause:.0f} s", 0)
        if not self._stopping:
            self._missing = words
            loop.call_later(pause, self._fork)
