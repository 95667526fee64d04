"""What goes wrong while the rest goes on: said when it begins, shown until it is over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Troubles:
    """Each is a sentence, to which belongs a reason. ``say`` is given both."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._why: dict[str, str] = {}

    def __iter__(self) -> Iterator[str]:
        """A line each."""
        return (f"{what}: {why}" for what, why in self._why.items())

    def why(self, what: str) -> str:
        """The reason; "" where there is no such trouble."""
        return self._why.get(what, "")

    @contextmanager
    def trying(self, what: str, *errors: type[Exception]) -> Iterator[None]:
        """``what`` is the case from one of these errors on until it goes well again."""
        try:
            yield
        except errors as error:
            why = str(error) or type(error).__name__
            if why != self.why(what):
                self._say(f"{what}: {why}")
            self._why[what] = why
        else:
            self._why.pop(what, None)
