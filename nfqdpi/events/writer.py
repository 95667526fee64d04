"""Between whoever has events and where they go: a bounded queue and a thread for each target, so that nothing waits for
a slow disk, a pipe that nobody reads, or a log server that is gone."""

from __future__ import annotations

from collections import deque
from threading import Condition, Thread
from time import monotonic
from typing import TYPE_CHECKING

from nfqdpi.events import targets
from nfqdpi.events.model import notice
from nfqdpi.events.targets import Target

if TYPE_CHECKING:
    from nfqdpi.config import Config

_MOST = 16 << 20  # bytes that wait for one target: some 40,000 events
_PATIENCE = 2.0  # s that targets may take, all together, for what waits when the daemon stops


class Writer:
    """Hands lines to one target, in their order. What does not fit, or cannot be written, is counted in ``lost``, and
    the target is told how much that was as soon as it takes lines again. ``trouble``: what went wrong last, "" while
    all is well."""

    def __init__(self, target: Target, most: int = _MOST) -> None:
        self.name = target.name
        self.lost = 0
        self.written = 0
        self.trouble = ""
        self._target = target
        self._most = most
        self._told = 0  # of the lost ones
        self._stale = ""  # why the target could not be opened anew: it is the one of before
        self._waiting: deque[bytes | None] = deque()  # None: reopen
        self._size = 0  # bytes that wait
        self._changed = Condition()
        self._deadline: float | None = None  # when to stop, in monotonic seconds
        self._thread = Thread(target=self._run, name=f"events to {self.name}", daemon=True)
        self._thread.start()

    def write(self, lines: bytes) -> None:
        """Take whole lines; returns at once."""
        with self._changed:
            if self._size + len(lines) > self._most:
                self.lost += lines.count(b"\n")
                self.trouble = "is too slow"
                return
            self._waiting.append(lines)
            self._size += len(lines)
            self._changed.notify()

    def reopen(self) -> None:
        """Behind what waits already, open the target anew; returns at once."""
        with self._changed:
            self._waiting.append(None)
            self._changed.notify()

    def stop(self, deadline: float) -> None:
        """Write what waits, until ``deadline`` in monotonic seconds; what is left is lost."""
        with self._changed:
            self._deadline = deadline
            self._changed.notify()

    def join(self) -> None:
        """Wait for the end of ``stop``. A thread that the kernel does not let go ends with the process."""
        self._thread.join(max(0.0, (self._deadline or 0.0) - monotonic()) + 0.2)
        with self._changed:
            self.lost += sum(lines.count(b"\n") for lines in self._waiting if lines)
            self._waiting.clear()

    def _given_up(self) -> bool:
        return self._deadline is not None and monotonic() > self._deadline

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    if self._deadline is not None:
                        self._target.close()
                        return
                    self._changed.wait()
                lines = self._waiting[0]
                unsaid = self.lost - self._told
            if lines is None:
                self._reopen()
            elif not self._given_up():
                self._write(lines, unsaid)
            else:
                return
            with self._changed:
                if self._waiting:  # or join() has given up
                    self._waiting.popleft()
                    self._size -= len(lines or b"")

    def _write(self, lines: bytes, unsaid: int) -> None:
        confession = notice("events_lost", f"{unsaid} events are missing here", unsaid) if unsaid else b""
        count = lines.count(b"\n")
        if self._stale:
            self._reopen()
        try:
            written = self._target.write(confession + lines, self._given_up)
        except OSError as error:
            written = 0
            self.trouble = str(error.strerror or error)
        else:
            self.trouble = self._stale if written == count + bool(unsaid) else "did not take all"
        if unsaid and written:
            self._told += unsaid
            written -= 1
        with self._changed:
            self.written += written
            self.lost += count - written

    def _reopen(self) -> None:
        try:
            self._target.reopen()
        except OSError as error:
            self.trouble = self._stale = f"cannot be opened anew: {error.strerror}"
        else:
            self._stale = ""


class EventLog:
    """All targets of the configuration. Raises OSError where the event file cannot be opened; other targets may come
    later than the daemon."""

    def __init__(self, config: Config) -> None:
        events = config.events
        levels = {rule.called(number): rule.level for number, rule in enumerate(config.rule, 1)}
        wanted: list[Target] = []
        if events.file:
            wanted.append(targets.File(events.file, events.max_bytes, events.keep))
        if events.journald:
            wanted.append(targets.journal(levels))
        if events.syslog:
            wanted.append(targets.syslog(events.syslog, levels))
        self._writers = [Writer(target) for target in wanted]

    @property
    def lost(self) -> int:
        """Events that did not reach a target, over all targets."""
        return sum(writer.lost for writer in self._writers)

    @property
    def names(self) -> list[str]:
        """What the targets are called."""
        return [writer.name for writer in self._writers]

    @property
    def troubles(self) -> list[str]:
        """What is wrong now, a line each."""
        return [f"{writer.name}: {writer.trouble}" for writer in self._writers if writer.trouble]

    def write(self, lines: bytes | bytearray) -> None:
        """Take whole lines; returns at once."""
        for writer in self._writers:
            writer.write(bytes(lines))

    def reopen(self) -> None:
        """Somebody has renamed the file: what comes from now on goes to a new one; returns at once."""
        for writer in self._writers:
            writer.reopen()

    def close(self) -> None:
        """Write what waits, as far as that goes within two seconds."""
        deadline = monotonic() + _PATIENCE
        for writer in self._writers:
            writer.stop(deadline)
        for writer in self._writers:
            writer.join()
