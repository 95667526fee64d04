"""What has been asked before."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Memo(dict[K, V]):
    """What a function says of a key, asked once as long as it is remembered: until ``most`` others were asked for."""

    def __init__(self, ask: Callable[[K], V], most: int) -> None:
        self._ask = ask
        self._most = most

    def __missing__(self, key: K) -> V:
        if len(self) >= self._most:
            del self[next(iter(self))]
        value = self[key] = self._ask(key)
        return value
