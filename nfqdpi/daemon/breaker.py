"""Plugins that go wrong in a worker: whose fault it was, and who is left out for a while.

What comes with nfqdpi is never left out: whoever found a flaw in the reader of TLS could have it left out for all. Its
faults are counted, and cost the flows on which it has them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from types import FrameType

from nfqdpi.core.plugin import Adviser, Overrun, Reader
from nfqdpi.plugins import modules
from nfqdpi.plugins.checked import AnswerError

MOST = 5  # faults
_OVERRUN = 2  # faults that one counts for which all packets of the worker have waited
WITHIN = 60.0  # s; so many in this time, and a plugin is left out
REST = 60.0  # s that it is; then it is tried again, and the first fault within WITHIN is one too many

_PATIENCE = 0.01  # s that a plugin has for a packet, for which all others of the worker wait
_OUR_PATIENCE = 0.05  # s; clients choose how much there is to read, and who is interrupted in it has not read it

_LONGEST = 500  # characters of an error's words


class Breaker:
    """``readers``: those of each plugin. ``faults``: of each since they were last taken; ``words``: the last one's."""

    def __init__(self, readers: Mapping[str, Sequence[Reader]]) -> None:
        self.faults: dict[str, int] = {}
        self.words = ""
        self._readers = readers
        self._modules = {module: name for name, module in modules().items() if name in readers}
        self._ours = {name for module, name in self._modules.items() if module.startswith("nfqdpi.")}
        self._recent: dict[str, deque[float]] = {name: deque(maxlen=MOST) for name in readers}
        self._resting: dict[str, float] = {}  # until when

    @property
    def left_out(self) -> list[str]:
        """The plugins that are."""
        return sorted(self._resting)

    @property
    def in_use(self) -> list[Reader]:
        """What those offer that are not."""
        return [reader for name, readers in self._readers.items() if name not in self._resting for reader in readers]

    def running(self, frame: FrameType | None) -> str:
        """The plugin whose code runs in this frame, or has called it; "": none."""
        while frame is not None:
            if name := self._owner(frame):
                return name
            frame = frame.f_back
        return ""

    def patience(self, plugin: str) -> float:
        """Seconds that it has for a packet."""
        return _OUR_PATIENCE if plugin in self._ours else _PATIENCE

    def fault(self, error: BaseException, now: float) -> bool:
        """Note what a packet's judgement raised. True where a plugin is to be left out from now on."""
        trace, frames = error.__traceback__, []
        while trace is not None:
            frames.append(trace.tb_frame)
            trace = trace.tb_next
        name = next((owner for frame in reversed(frames) if (owner := self._owner(frame))), "")
        if isinstance(error, AnswerError):
            name = error.plugin
        return self._count(name, words(error), now, _OVERRUN if isinstance(error, Overrun) else 1)

    def unanswered(self, adviser: str, why: str, now: float) -> bool:
        """The same of a slow adviser, by its own name, that has not answered a question."""
        return self._count(next((name for name, readers in self._readers.items() for one in readers
                                 if isinstance(one, Adviser) and one.name == adviser), ""), why, now)

    @property
    def unadvised(self) -> bool:
        """True while a slow adviser is left out."""
        return any(isinstance(one, Adviser) and one.slow for name in self._resting for one in self._readers[name])

    def _count(self, name: str, why: str, now: float, weight: int = 1) -> bool:
        if name not in self._recent:  # nobody's, or of one that is no more
            return False
        self.faults[name] = self.faults.get(name, 0) + 1
        self.words = why
        recent = self._recent[name]
        recent.extend([now] * weight)
        if name in self._ours or len(recent) < MOST or now - recent[0] > WITHIN or name in self._resting:
            return False
        self._resting[name] = now + REST
        recent.clear()
        return True

    def rested(self, now: float) -> bool:
        """True where a plugin is to be tried again from now on."""
        over = [name for name, until in self._resting.items() if until <= now]
        for name in over:
            del self._resting[name]
            self._recent[name].extend([now] * (MOST - 1))
        return bool(over)

    def _owner(self, frame: FrameType) -> str:
        module = frame.f_globals.get("__name__", "")
        return next((self._modules[part] for part in _upwards(module) if part in self._modules), "")


def words(error: BaseException) -> str:
    """What an error of a plugin's says, in a length that can be told. How it says that is the plugin's, too, and may
    raise."""
    try:
        said = f"{type(error).__name__}: {error}"
    except BaseException:  # noqa: BLE001  there is an error already
        said = type(error).__name__
    return said[:_LONGEST].encode(errors="replace").decode()


def _upwards(module: str) -> Iterator[str]:
    """A module and the packages around it: a plugin may be one file of many."""
    while module:
        yield module
        module = module.rpartition(".")[0]
