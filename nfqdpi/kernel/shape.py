"""Netlink messages whose attributes lie where they lay in an earlier one, read at once.

A table of 250,000 entries comes in messages of a handful of shapes. To walk through the attributes of one takes longer
than all else that is done with it; here the first message of a shape is walked through, and the others are compared
with it: where all headers are the same, the values are at the same places.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from struct import Struct
from typing import Any, NamedTuple

from nfqdpi.core.wire import Malformed
from nfqdpi.kernel.netlink import ATTRIBUTE, KIND

Path = tuple[int, ...]  # the types of nested attributes, outermost first
_MOST = 256  # shapes; there are as many as there are lengths, at most


class _Shape(NamedTuple):
    """``headers`` are the bits under ``mask``, of the message as one number."""

    mask: int
    headers: int
    layout: Struct
    order: itemgetter[Any]


class Shapes:
    """Reads the values of messages. ``leaves``: a path to a field's name and its format for struct, in network order;
    what is asked for twice, the last one gives. ``fields``: at least two, in the order in which they are wanted."""

    def __init__(self, leaves: Mapping[Path, tuple[str, str]], fields: Sequence[str]) -> None:
        self._leaves = leaves
        self._branches = {path[:n] for path in leaves for n in range(1, len(path))}
        self._fields = fields
        self._known: dict[int, _Shape] = {}

    def values(self, data: bytes) -> tuple[Any, ...]:
        """One a field, None where there is no such attribute. Raises Malformed."""
        shape = self._known.get(len(data))
        if shape is None or int.from_bytes(data, "big") & shape.mask != shape.headers:
            if len(self._known) >= _MOST:
                self._known.clear()
            shape = self._known[len(data)] = self._learned(data)
        found: tuple[Any, ...] = shape.order((*shape.layout.unpack(data), None))
        return found

    def _learned(self, data: bytes) -> _Shape:
        mask, text, done, index = bytearray(len(data)), "!", 0, {}
        for path, start, end in self._walk(data, 0, len(data), ()):
            mask[start - 4 : start] = b"\xff" * 4
            if (leaf := self._leaves.get(path)) is not None:
                field, code = leaf
                if struct.calcsize(f"!{code}") != end - start:
                    raise Malformed(f"{field} in {end - start} bytes")
                text += f"{start - done}x{code}"
                done = end
                index[field] = text.count("x") - 1
        under = int.from_bytes(mask, "big")
        order = itemgetter(*(index.get(field, -1) for field in self._fields))
        return _Shape(under, int.from_bytes(data, "big") & under, Struct(f"{text}{len(data) - done}x"), order)

    def _walk(self, data: bytes, at: int, end: int, above: Path) -> Iterator[tuple[Path, int, int]]:
        """Every attribute, in the order of the bytes, with where its value begins and ends."""
        while at + ATTRIBUTE.size <= end:
            length, kind = ATTRIBUTE.unpack_from(data, at)
            if length < ATTRIBUTE.size or at + length > end:
                raise Malformed(f"an attribute of {length} bytes, {end - at} left")
            path = (*above, kind & KIND)
            yield path, at + ATTRIBUTE.size, at + length
            if path in self._branches:
                yield from self._walk(data, at + ATTRIBUTE.size, at + length, path)
            at += (length + 3) & ~3
