"""The names of all lists in one compiled form that every worker maps: which lists have a name?

The names stand reversed and with a dot behind them in one marisa trie, so that a name's prefixes in the trie are
itself and the domains above it, label by label. Beside the trie an array says of each of its ids which *class* the
name is of: names that stand on the same lists in the same way share one. A class is two masks, for the name itself
and for the names below it. In a mask, bit n says that list n has the name, and bit n + number of lists that an
exception takes it out of list n.

All of it is one buffer, to be mapped from a file: HEADER, facts (JSON), trie, the class of each id, classes; each from
a multiple of 8. Many lists that share names make classes by the ten thousand, so those are read one by one, when a name
of theirs is met.
"""

from __future__ import annotations

import json
import struct
import zlib
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import compress

import marisa_trie

from nfqdpi.policy.formats import Parsed
from nfqdpi.policy.names import Kind, Words

FORMAT = 2  # part of whatever tells compiled forms apart: another number where the same lists give other bytes

# While it is not known how many lists there are, a list has four bits: two for what it blocks, and beside each one for
# its exceptions.
_HERE, _BELOW = 0b0001, 0b0100

_REMEMBERED = 4096  # masks; most names are of the same few classes

_MAGIC = b"nfqdpi\x00\x02"
_HEADER = struct.Struct("=8sI4xQQQQ")  # magic, CRC-32 of all behind the header, then the four parts' lengths


def build(lists: Iterable[tuple[str, Parsed]]) -> bytes:
    """The compiled form of the lists, each with its name; the order is that of their bits. One is looked at after the
    other, so that not all need be in memory."""
    names: list[str] = []
    masks: dict[str, int] = {}  # four bits a list, see _HERE
    words: dict[str, int] = {}
    for name, parsed in lists:
        for entries, shift in ((parsed.blocked, 4 * len(names)), (parsed.excepted, 4 * len(names) + 1)):
            for kind in Kind:
                into = words if kind is Kind.SUBSTRING else masks
                here, below = kind is not Kind.BELOW, kind in (Kind.TREE, Kind.BELOW)
                _add(into, entries[kind].names, (here * _HERE | below * _BELOW) << shift)
        names.append(name)
    classes = [mask for mask, _ in Counter(masks.values()).most_common()]
    facts = {
        "lists": names,
        "words": {text: _spread(mask, _HERE, len(names)) for text, mask in words.items()},
    }
    width = _width(len(names))
    masks_of = b"".join(_spread(mask, of, len(names)).to_bytes(width, "little")
                        for mask in classes for of in (_HERE, _BELOW))
    keys = [text[::-1] + "." for text in masks]
    trie = marisa_trie.Trie(keys)
    numbers = {mask: number for number, mask in enumerate(classes)}
    table = _by_id(trie, keys, [numbers[mask] for mask in masks.values()])
    return _pack(json.dumps(facts, separators=(",", ":")).encode(), trie.tobytes(), table.tobytes(), masks_of)


def _width(lists: int) -> int:
    """The bytes of a mask: two bits a list."""
    return (2 * lists + 7) // 8


def _spread(mask: int, of: int, lists: int) -> int:
    """The bits for names themselves, or for those below, as a class has them."""
    listed = sum(1 << n for n in range(lists) if (mask >> 4 * n) & of)
    return listed | sum(1 << n + lists for n in range(lists) if (mask >> 4 * n + 1) & of)


def _add(into: dict[str, int], texts: Sequence[str], mask: int) -> None:
    if not into:
        into.update(dict.fromkeys(texts, mask))  # the first list, often the only large one, at a quarter of the time
        return
    old = into.get
    for text in texts:
        into[text] = old(text, 0) | mask


def _by_id(trie: marisa_trie.Trie, keys: Sequence[str], classes: Sequence[int]) -> array[int]:
    """The class of each key, by the key's id in the trie."""
    table = array("I", bytes(4 * len(keys)))
    # The largest class is 0: of most keys the trie need not be asked, which is the slow part.
    for number, one in zip(map(trie.key_id, compress(keys, classes)), filter(None, classes), strict=True):
        table[number] = one
    return table


def _pack(*parts: bytes) -> bytes:
    body = b"".join(part + bytes(-len(part) % 8) for part in parts)
    return _HEADER.pack(_MAGIC, zlib.crc32(body), *map(len, parts)) + body


def is_whole(buffer: bytes | memoryview) -> bool:
    """True of what ``build`` has made, and nothing of it is missing or changed."""
    if len(buffer) < _HEADER.size:
        return False
    magic, crc, *_ = _HEADER.unpack_from(buffer)
    return bool(magic == _MAGIC and zlib.crc32(memoryview(buffer)[_HEADER.size :]) == crc)


class _Masks(dict[int, int]):
    """Masks out of a buffer by their number, as long as they are remembered."""

    def __init__(self, buffer: memoryview, width: int) -> None:
        self._buffer = buffer
        self._width = width

    def __missing__(self, number: int) -> int:
        if len(self) >= _REMEMBERED:
            self.clear()
        mask = self[number] = int.from_bytes(self._buffer[number * self._width : (number + 1) * self._width], "little")
        return mask


class NameIndex:
    """Answers from a buffer that ``build`` has made, and that is whole. The buffer must live as long."""

    def __init__(self, buffer: bytes | memoryview) -> None:
        view = memoryview(buffer)
        _, _, *lengths = _HEADER.unpack_from(view)
        parts = []
        start = _HEADER.size
        for length in lengths:
            parts.append(view[start : start + length])
            start += length + -length % 8
        facts = json.loads(bytes(parts[0]))
        self._trie = marisa_trie.Trie()
        self._trie.map(parts[1])
        self._class_of = parts[2].cast("I")
        self._words = Words(facts["words"]) if facts["words"] else None
        self.lists: tuple[str, ...] = tuple(facts["lists"])
        self._masks = _Masks(parts[3], _width(len(self.lists)))
        self._listed = (1 << len(self.lists)) - 1

    def __len__(self) -> int:
        """How many names there are, substrings apart."""
        return len(self._class_of)

    def lists_of(self, name: str) -> int:
        """A mask with a bit set for every list that has the canonical name, and no exception of its own for it."""
        found = 0 if self._words is None else self._words.find(name)
        if name.isascii():  # all in the trie are, and what is not may have no UTF-8
            key = name[::-1] + "."
            for prefix, number in self._trie.iter_prefixes_with_ids(key):
                mask = 2 * self._class_of[number] + (len(prefix) != len(key))  # here, or below
                found |= self._masks[mask]
        return found and found & ~(found >> len(self.lists)) & self._listed

    def numbers(self, lists: Iterable[str]) -> int:
        """The mask of these lists; one that is not in here has no names."""
        wanted = set(lists)
        return sum(1 << number for number, name in enumerate(self.lists) if name in wanted)
