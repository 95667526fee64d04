"""What a package offers beside classifiers: advice, and the plugin that makes its readers of its settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from nfqdpi.core.classifier import Classification, Classifier, DatagramClassifier
from nfqdpi.core.observer import Observer
from nfqdpi.core.verdict import Verdict

_MOST_PATIENCE: Final = 60.0  # s; no client waits for longer

class Advice(NamedTuple):
    """What a plugin would do with a unit that the policy has not blocked, and why. BLOCK: one such is enough. INSPECT:
    it wants to see what follows. ACCELERATE: it has seen enough."""

    verdict: Verdict
    why: str


@dataclass(frozen=True, slots=True)
class Slow:
    """Of an adviser that takes its time: it works in a process beside the workers, on one unit after the other.

    ``patience``: seconds, at most 60, after which ``plugin_error`` is the word that it has not said. ``waits``: the
    packet that completes the unit is kept from the server until then, and so is what follows it; else both go on, the
    flow is not accelerated, and a block cuts it when it comes.
    """

    patience: float
    waits: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.patience <= _MOST_PATIENCE:
            raise ValueError(f"a patience of {self.patience} s")


@dataclass(frozen=True, slots=True)
class Adviser:
    """What a plugin offers that knows no protocol, but has a word to say of what classifiers find: ``advise`` gets the
    unit, and the addresses of client and server (4 or 16 bytes each); None: nothing.

    The strictest counts, of the policy's verdict and all advice: any block blocks, and a flow is accelerated only where
    nobody wants to look on. ``slow``: None for what answers within microseconds; any other gets the unit without what
    reads on in its flow.
    """

    name: str
    version: str
    advise: Callable[[Classification, bytes, bytes], Advice | None]
    slow: Slow | None = None


Reader = Classifier | DatagramClassifier | Adviser  # what workers ask


class Overrun(BaseException):
    """Raised in a plugin that takes too long. No Exception: a plugin must not take it for one of its own."""


INTERFACE = 1  # of this file and classifier.py: the number grows when plugins that were made for it would no longer do


@dataclass(frozen=True, slots=True)
class Plugin:
    """What a package offers under the entry-point group ``nfqdpi.classifiers`` where it has settings; without any, a
    classifier will do.

    ``settings``: a msgspec struct (or a dataclass), every field with a default; ``make`` gets one of it, made of
    ``[plugin.NAME]``. ``enabled``: whether it is so unless the configuration says otherwise.
    """

    make: Callable[[Any], tuple[Classifier | DatagramClassifier | Adviser | Observer, ...]]
    settings: type[Any]
    enabled: bool = True
    interface: int = INTERFACE
