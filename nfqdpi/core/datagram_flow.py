"""A UDP flow, as Flow is one of TCP."""

from __future__ import annotations

from itertools import count

from nfqdpi.core._native import mypyc_attr
from nfqdpi.core.asking import Asked
from nfqdpi.core.classifier import ReadDatagram
from nfqdpi.core.decision import Client
from nfqdpi.core.packet import FlowKey
from nfqdpi.core.table import Held
from nfqdpi.core.verdict import Reason

_FLOW_BYTES = 1000  # the object, its key and its places in the table
_HELD = 2  # bytes that a reader may hold for each that it has got

_numbers = count()  # what tells flows on one five-tuple apart


@mypyc_attr(acyclic=True)
class DatagramFlow(Held):
    """One UDP flow. ``key`` is in the client's direction, ``readers`` read its next datagram. ``since``: when the unit
    being read began, in ``now``'s seconds; ``datagrams``: how many it has brought. ``held``: bytes that readers have
    got, and may keep to compare later ones with; ``judged``: of them, those of units before. ``ids``: of its units, all
    claimed for it under its ``number``, which no flow before or after it has. ``crosses``: its server is not where its
    client is. ``asked``: about the last unit that there were questions about."""

    __slots__ = ("asked", "client", "crosses", "datagrams", "held", "ids", "judged", "number", "packets", "readers",
                 "reason", "since")

    def __init__(self, key: FlowKey, client: Client, readers: tuple[ReadDatagram, ...], now: float, *,
                 crosses: bool = False) -> None:
        super().__init__(key, now)
        self.client = client
        self.crosses = crosses
        self.readers = readers
        self.ids: tuple[bytes, ...] = ()
        self.number = hash((key, now, next(_numbers))) & (1 << 64) - 1 | 1
        self.since: float | None = None
        self.packets = self.datagrams = self.held = self.judged = 0
        self.reason = Reason.NEED_MORE
        self.asked: Asked | None = None

    @property
    def memory(self) -> int:
        """Bytes that the flow costs; an estimate that is not below the truth."""
        return _FLOW_BYTES + self.held * _HELD

    @property
    def unfinished(self) -> bool:
        """True within a unit of several datagrams."""
        return self.since is not None

    def release(self) -> None:
        """Nothing more will be read."""
        self.readers = ()
        self.held = 0
