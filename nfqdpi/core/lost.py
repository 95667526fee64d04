"""What has been lost, remembered for some hours in constant memory."""

from __future__ import annotations

from typing import Final

from nfqdpi.core.packet import FlowKey

_BITS: Final = 20  # of a place's number: a generation is 128 KiB
_PLACES: Final = 3  # that one thing takes; with 100,000 things one in sixty others looks like one of them
_MASK: Final = (1 << _BITS) - 1


class Lost:
    """A set of flows and networks, in two Bloom filters, the newer and the older. What is added is found for at least
    ``KEPT`` seconds, where flows keep opening for at most twice that. Now and then something is found that was never
    added, the more often the more there is."""

    KEPT: Final = 2 * 3600.0  # s; no server waits for the rest of a request for so long

    __slots__ = ("_new", "_old", "_since")

    def __init__(self) -> None:
        self._new = bytearray(1 << _BITS >> 3)
        self._old = bytearray(1 << _BITS >> 3)
        self._since = 0.0

    def age(self, now: float) -> None:
        """Begin another generation when it is time."""
        if now - self._since > self.KEPT:
            self._old, self._new, self._since = self._new, bytearray(1 << _BITS >> 3), now

    def add(self, thing: FlowKey | bytes) -> None:
        """Remember it."""
        for place in _places(thing):
            self._new[place >> 3] |= 1 << (place & 7)

    def __contains__(self, thing: FlowKey | bytes) -> bool:
        places = _places(thing)
        return (all(self._new[place >> 3] >> (place & 7) & 1 for place in places)
                or all(self._old[place >> 3] >> (place & 7) & 1 for place in places))


def _places(thing: FlowKey | bytes) -> tuple[int, ...]:
    """Where it stands. Python salts the hash of bytes, so nobody outside can choose what looks alike."""
    number = hash(thing)
    return tuple(number >> shift & _MASK for shift in range(0, _PLACES * _BITS, _BITS))
