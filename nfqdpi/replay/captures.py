"""Capture files (pcap and pcapng, gzipped or not) to frames, one record at a time."""

from __future__ import annotations

import gzip
import logging
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

# What is wrong with a file is ours to say, once and with its offset. Before the import: that may warn, too.
logging.getLogger("scapy").setLevel(logging.CRITICAL)

from scapy.error import Scapy_Exception  # noqa: E402
from scapy.utils import RawPcapNgReader, RawPcapReader  # noqa: E402

_GZIP, _PCAPNG = b"\x1f\x8b", b"\x0a\x0d\x0d\x0a"

_LARGEST_FRAME = 262_140  # bytes; what scapy reads of one, and libpcap's own limit (MAXIMUM_SNAPLEN) but for four
_LARGEST_READ = 1 << 24  # bytes; a pcapng block above this is not one


class Frame(NamedTuple):
    """What was captured: ``time`` in seconds, ``link`` the LINKTYPE_ value, ``data`` from the link layer's header."""

    time: float
    link: int
    data: bytes


class BrokenCaptureError(Exception):
    """The file cannot be read from ``offset`` on (of the unpacked bytes, where it is gzipped)."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(f"offset {offset}: {reason}")
        self.offset = offset
        self.reason = reason


class Capture:
    """An open capture file. ``consumed``: bytes of it on disk that are done with."""

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self._disk = path.open("rb")

    def __enter__(self) -> Capture:
        return self

    def __exit__(self, *_: object) -> None:
        self._disk.close()

    @property
    def consumed(self) -> int:
        return self._disk.tell()

    def frames(self) -> Iterator[Frame]:
        """Every whole frame, in the file's order; then, if there is more in the file, BrokenCaptureError."""
        packed = self._disk.peek(len(_GZIP)).startswith(_GZIP)
        source = _Source(gzip.GzipFile(fileobj=self._disk) if packed else self._disk)
        blocks = source.peek().startswith(_PCAPNG)
        try:
            reader = (RawPcapNgReader if blocks else RawPcapReader)(source)
        except Scapy_Exception:
            raise BrokenCaptureError(0, source.failure or "not a pcap or pcapng file") from None
        # One record at a time, by the method that the reader's own loop calls: the loop takes a broken record for the
        # end, and would not say where it began.
        read = reader._read_block if blocks else reader._read_packet
        unit = 1e-9 if not blocks and reader.nano else 1e-6
        time = 0.0
        while True:
            start = source.offset
            if blocks and source.peek().startswith(_PCAPNG):
                reader.interfaces.clear()  # a new section describes its own
            try:
                record = read(_LARGEST_FRAME)
            except (EOFError, Scapy_Exception, struct.error) as error:
                if source.offset == start and source.ended:
                    return
                ends = "the file ends inside a record" if source.ended else ""
                raise BrokenCaptureError(start, source.failure or ends or str(error) or "not a valid record") from None
            if source.ended:
                raise BrokenCaptureError(start, "the file ends inside a packet")
            if record is None:
                continue  # a block without a packet
            data, about = record
            if blocks:
                time = _block_time(about, time)
                yield Frame(time, about.linktype, data)
            elif about.caplen > _LARGEST_FRAME:
                raise BrokenCaptureError(start, f"a packet of {about.caplen} bytes")
            else:
                # The upper half of the field tells of frame check sequences (pcap file format, 4).
                yield Frame(about.sec + about.usec * unit, reader.linktype & 0xFFFF, data)


def _block_time(about: Any, before: float) -> float:
    """A simple packet block has no time: it takes the one before it."""
    return before if about.tshigh is None else ((about.tshigh << 32) + about.tslow) / float(about.tsresol)


class _Source:
    """A file that knows how far it was read and why not further: scapy's readers ask it, and take any lack for the end.

    ``ended``: a read found less than it asked for; ``failure``: why, where it was not the file's end.
    """

    def __init__(self, file: BinaryIO | gzip.GzipFile) -> None:
        self._file = file
        self.offset = 0
        self.ended = False
        self.failure = ""

    def read(self, size: int) -> bytes:
        if size > _LARGEST_READ:
            self.failure = f"a block of {size} bytes"
            return b""
        try:
            data = self._file.read(size)
        except (EOFError, OSError, zlib.error) as error:
            self.failure = f"gzip: {error}" if isinstance(self._file, gzip.GzipFile) else str(error)
            return b""
        self.offset += len(data)
        self.ended = len(data) < size
        return data

    def peek(self) -> bytes:
        """At least the next four bytes, where there are as many."""
        try:
            return self._file.peek(4)  # type: ignore[union-attr]  # both kinds have it
        except (EOFError, OSError, zlib.error):
            return b""  # the read that follows says why
