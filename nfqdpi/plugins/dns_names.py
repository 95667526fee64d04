"""Names in DNS messages: labels, and pointers to where a name goes on (RFC 1035, 3.1 and 4.1.4)."""

from __future__ import annotations

from nfqdpi.core.wire import Malformed

POINTER = 0xC000  # both bits set: the other 14 say where the name goes on

_FIRST = 12  # where the first name may stand: behind the header
_LONGEST_NAME = 255  # bytes on the wire (RFC 1035, 2.3.4)
_LONGEST_LABEL = 63

# A byte of a label as text. What would read as the end of a label or as an address is written as a number, as all that
# does not print (RFC 1035, 5.1): a label with a dot in it must not pass for two.
_TEXT = [chr(byte).lower() if 0x21 <= byte < 0x7F and chr(byte) not in ".:\\" else f"\\{byte:03}"
         for byte in range(256)]


class CutOff(Malformed):
    """The message ends before what it says is in it."""


class Names:
    """Reads names. Each label of a message is read once, however many names end in it, and every pointer points back:
    no message takes more time than its length allows."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._known: dict[int, tuple[str, int]] = {}  # by where it begins: a name, and its length on the wire
        self.pointers: list[int] = []

    def read(self, at: int) -> tuple[str, int]:
        """The name at ``at``, and where it ends."""
        labels, last, end = self._walk(at)
        text, length = self._known.get(last, ("", 1))
        for start, label in reversed(labels):
            if label:
                spelled = "".join([_TEXT[byte] for byte in label])
                text = f"{spelled}.{text}" if text else spelled
                length += 1 + len(label)
                if length > _LONGEST_NAME:
                    raise Malformed("a name longer than 255 bytes")
            self._known[start] = text, length
        return text, end

    def _walk(self, at: int) -> tuple[list[tuple[int, bytes]], int, int]:
        """The labels from ``at`` on, each with where it stands (a pointer is an empty one), where the rest of the name
        is known, and where the name ends."""
        data, start, stop, end = self._data, at, len(self._data), 0
        labels: list[tuple[int, bytes]] = []
        while at not in self._known:
            if at >= stop:
                raise Malformed("a name that runs into itself") if end else CutOff("a name is cut off")
            if not (size := data[at]):
                break
            if size <= _LONGEST_LABEL:
                labels.append((at, data[at + 1 : at + 1 + size]))
                at += 1 + size
                continue
            if size < POINTER >> 8:
                raise Malformed(f"a label of type {size >> 6}")  # none is in use (RFC 6891, 5)
            labels.append((at, b""))
            target = self._target(at, start)
            end = end or at + 2
            at, start, stop = target, target, start
        return labels, at, end or at + 1

    def _target(self, at: int, start: int) -> int:
        """Where a pointer at ``at`` points to: before ``start``."""
        if at + 2 > len(self._data):
            raise CutOff("a pointer is cut off")
        target = int.from_bytes(self._data[at : at + 2], "big") & ~POINTER
        if not _FIRST <= target < start:
            raise Malformed("a pointer that does not point back")
        self.pointers.append(at)
        return target
