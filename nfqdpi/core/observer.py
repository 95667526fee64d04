"""What an observer is: a plugin that is told of verdicts and of flows that have ended, and has no say in them.

Observers run in one process beside the workers. What one makes of what it is told, it remarks; the supervisor tells it
on, and makes the change by hand that it asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class Seen(NamedTuple):
    """A verdict on a flow, or on a question of DNS. ``when`` in seconds since 1970; ``client``: the address of who
    opened it, 4 or 16 bytes, ``mac``: 6 bytes or none; ``domain``: the registrable domain of the first name, "" where
    there is none."""

    when: float
    client: bytes
    mac: bytes
    names: tuple[str, ...]
    domain: str
    protocol: str
    blocked: bool


class Ended(NamedTuple):
    """A flow is over. ``packets`` and ``volume`` (in bytes) are of both directions, 0 where conntrack counts none."""

    seen: Seen
    packets: int
    volume: int


class Block(NamedTuple):
    """A change by hand that is asked for: no name below the domain for this client, for so many seconds."""

    domain: str
    client: bytes
    seconds: float


class Remark(NamedTuple):
    """A notice: ``kind``, small letters and underscores, is for programs, ``message`` for people."""

    kind: str
    message: str
    block: Block | None = None


class Watch(Protocol):
    """An observer at work. What it keeps must be bounded."""

    def seen(self, seen: Seen) -> Iterable[Remark]:
        """A verdict was given."""
        ...

    def ended(self, ended: Ended) -> Iterable[Remark]:
        """A flow is over."""
        ...

    def memory(self) -> bytes:
        """What it wants to find again when it begins the next time; it is asked for from time to time."""
        ...


@dataclass(frozen=True, slots=True)
class Observer:
    """What a plugin offers. ``begin`` gets what the one before remembered last, b"" at first."""

    name: str
    version: str
    begin: Callable[[bytes], Watch]
