"""The supervisor's end of the observers' process: forked, told, watched, replaced.

It is told without waiting. What it does not take in time, or had not read when it ended, is lost and counted.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec

from nfqdpi import plugins
from nfqdpi.config import Config
from nfqdpi.core.observer import Block, Observer
from nfqdpi.daemon import channel as talk
from nfqdpi.daemon.forked import become
from nfqdpi.daemon.observation import BEAT, DECIDED, ENDED, Observation, RemarkRow
from nfqdpi.daemon.record import Decided

_WATCH = 1.0  # s between two looks at whether it hangs
_HANG = 5.0  # s without a heartbeat, of which there are two a second
_STOP = 2.0  # s that it may take to write down what it remembers, when asked to end
_SHORT_LIFE, _LONGEST_PAUSE = 60.0, 60.0  # s; who dies young waits longer for its successor each time

Beat = tuple[int, int, dict[str, int]]  # how much it has taken, how much was missed there, and faults by name


class Observers:
    """``tell`` is given what befell them and what they remark: kind, message and count; ``block`` a change by hand that
    one asks for."""

    def __init__(self, tell: Callable[[str, str, int], None], block: Callable[[Block], None]) -> None:
        self.starts = self.lost = 0
        self._tell = tell
        self._block = block
        self._sections: object = None
        self._observers: list[Observer] = []
        self._here = Path()
        self._pid = 0  # 0: nobody
        self._channel: socket.socket | None = None
        self._sent = self._taken = self._missed = 0  # by who is there now
        self._faults: Counter[str] = Counter()  # of those before, and of who is there now
        self._its_faults: dict[str, int] = {}
        self._born = self._heard = 0.0
        self._short_lives = 0
        self._gone = asyncio.Event()
        self._asked = self._stopping = False  # to end

    def change(self, config: Config) -> None:
        """Have those at work that the configuration enables, with its settings. Raises plugins.PluginError."""
        if config.plugin == self._sections:
            return
        self._observers = [one for offered in plugins.observers(config.plugin).values() for one in offered]
        self._sections = config.plugin
        self._here = Path(config.state.directory, "observers")
        if self._pid:
            self._end()  # its successor is another
        elif self._observers:
            self._fork()

    def renew(self) -> None:
        """Their files have changed: the next ``change`` begins them anew, whatever the configuration says."""
        self._sections = None

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

    async def keep(self) -> None:
        """Replace the process when it hangs, until cancelled."""
        while True:
            await asyncio.sleep(_WATCH)
            silence = monotonic() - self._heard
            if self._pid and silence > _HANG:
                self._tell("observers_hung", f"the observers have hung for {silence:.1f} s; killed", 0)
                os.kill(self._pid, signal.SIGKILL)
                self._heard = monotonic()

    async def stop(self) -> None:
        """Let them write down what they remember, and end."""
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

    def _send(self, count: int, message: bytes) -> None:
        try:
            if self._channel is None:
                raise BrokenPipeError
            self._channel.send(message, socket.MSG_DONTWAIT)
            self._sent += count
        except OSError:  # it is slow, or there is none
            self.lost += count

    def _fork(self) -> None:
        if self._stopping or self._pid or not self._observers:
            return
        ours, theirs = talk.pair()
        pid = os.fork()
        if pid == 0:
            become(theirs, lambda: Observation(self._observers, self._here, theirs).run(), lambda _: None)
        theirs.close()
        self._pid, self._channel = pid, ours
        self._sent = self._taken = self._missed = 0
        self._asked = False
        self._born = self._heard = monotonic()
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
        self._heard = monotonic()
        if message[:1] == BEAT:
            self._taken, self._missed, self._its_faults = msgspec.msgpack.decode(message[1:], type=Beat)
        else:
            kind, words, block = msgspec.msgpack.decode(message[1:], type=RemarkRow)
            self._tell(kind, words, 0)
            if block is not None:
                self._block(Block(*block))
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
        self.lost += self._sent - self._taken + self._missed
        self._missed = 0
        self._faults.update(self._its_faults)
        self._its_faults = {}
        self._gone.set()
        if self._asked:
            self._fork()
            return
        how = f"was killed by signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else "ended by itself"
        young = monotonic() - self._born < _SHORT_LIFE
        self._short_lives = self._short_lives + 1 if young else 0
        pause = min(_LONGEST_PAUSE, 2.0**self._short_lives) if young else 0.0
        self._tell("observers_ended", f"the observers' process {pid} {how}; the next one in {pause:.0f} s", 0)
        if not self._stopping:
            loop.call_later(pause, self._fork)
