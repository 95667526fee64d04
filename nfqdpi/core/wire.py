"""Big-endian fields off the front of a buffer, named after the notation of the RFCs (RFC 8446, 3)."""

from __future__ import annotations


class Malformed(Exception):  # noqa: N818  a state of the input, not of the program
    """The bytes break the rules of the protocol that they claim to be."""


def u16(data: bytes, at: int) -> int:
    """The uint16 there, for a hot path that has checked that it is."""
    return data[at] << 8 | data[at + 1]


def u32(data: bytes, at: int) -> int:
    """The uint32 there, likewise."""
    return data[at] << 24 | data[at + 1] << 16 | data[at + 2] << 8 | data[at + 3]


class Reader:
    """Reads a buffer from front to end; whatever reaches past the end raises Malformed."""

    __slots__ = ("_data", "_end", "_pos")

    def __init__(self, data: bytes, start: int = 0) -> None:
        self._data = data
        self._pos = start
        self._end = len(data)

    def __bool__(self) -> bool:
        """True while bytes are left."""
        return self._pos < self._end

    @property
    def at(self) -> int:
        """How far it has come."""
        return self._pos

    def take(self, length: int) -> bytes:
        """The next ``length`` bytes; Malformed below zero, as a difference of lengths off the wire may be."""
        start, self._pos = self._pos, self._pos + length
        if not start <= self._pos <= self._end:
            raise Malformed(f"{length} bytes wanted, {self._end - start} left")
        return self._data[start : self._pos]

    def uint(self, size: int) -> int:
        """An unsigned integer of ``size`` bytes."""
        value = 0
        for byte in self.take(size):
            value = value << 8 | byte
        return value

    def u8(self) -> int:
        """uint8."""
        return self.uint(1)

    def u16(self) -> int:
        """uint16."""
        return self.uint(2)

    def vector(self, length_size: int) -> bytes:
        """A variable-length vector: its length in ``length_size`` bytes, then as many bytes."""
        return self.take(self.uint(length_size))

    def varint(self) -> int:
        """A variable-length integer: its first two bits say whether it has 1, 2, 4 or 8 bytes (RFC 9000, 16)."""
        size = 1 << (self._data[self._pos] >> 6) if self else 1
        return self.uint(size) & (1 << 8 * size - 2) - 1
