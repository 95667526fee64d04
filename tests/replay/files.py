"""Capture files of another format, and what replay makes of any."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from nfqdpi.config import Config
from nfqdpi.replay.run import Replay, Tally
from nfqdpi.testing.capture import ETHERNET, ether, pcap

# --- blocks of pcapng ---


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    """A pcapng block."""
    body += bytes(-len(body) % 4)
    size = struct.pack(order + "I", 12 + len(body))
    return struct.pack(order + "I", kind) + size + body + size


def section(order: str = "<") -> bytes:
    """A section header block."""
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(link: int = ETHERNET, order: str = "<", resolution: int | None = None) -> bytes:
    """An interface description block; ``resolution``: if_tsresol."""
    options = b"" if resolution is None else struct.pack(order + "HHB3xHH", 9, 1, resolution, 0, 0)
    return block(1, struct.pack(order + "HHI", link, 0, 262144) + options, order)


def enhanced(frame: bytes, number: int = 0, order: str = "<", ticks: int = 0) -> bytes:
    """An enhanced packet block on interface ``number``."""
    about = struct.pack(order + "IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, len(frame), len(frame))
    return block(6, about + frame, order)


def pcapng(frames: Iterable[bytes], link: int = ETHERNET, order: str = "<") -> bytes:
    """A pcapng file of one section and one interface, with a statistics block behind."""
    body = b"".join(enhanced(frame, order=order) for frame in frames)
    return section(order) + interface(link, order) + body + block(5, bytes(12), order)


def replayed(path: Path, config: Config | None = None, *, show_all: bool = False) -> tuple[list[dict[str, Any]], Tally]:
    """The rows of a file and its tally."""
    tally = Tally()
    return list(Replay(config or Config(), show_all=show_all).rows(path, tally)), tally


def rows_of(folder: Path, packets: Iterable[bytes], config: Config | None = None, *, show_all: bool = False,
            times: Sequence[float] | None = None) -> list[dict[str, Any]]:
    """The rows of a capture of these packets, all of which can be read."""
    path = folder / "some.pcap"
    path.write_bytes(pcap((ether(packet) for packet in packets), times=times))
    rows, tally = replayed(path, config, show_all=show_all)
    assert not tally.problems
    return rows


def names(rows: Iterable[dict[str, Any]]) -> list[str | None]:
    """The names of rows, in order."""
    return [row["name"] for row in rows]
