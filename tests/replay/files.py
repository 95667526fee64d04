"""Capture files put together by hand, and what replay makes of them."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from nfqdpi.config import Config
from nfqdpi.replay.run import Replay, Tally
from tests.builders import ACK, CLIENT, SERVER, SYN, ip, tcp

ETHERNET = 1
_MACS = bytes(12)


# --- link layers ---


def ether(packet: bytes, *tags: int) -> bytes:
    """An Ethernet frame with the tags (TPIDs), padded to 60 bytes as a card does."""
    ethertype = 0x0800 if packet[0] >> 4 == 4 else 0x86DD
    head = _MACS + b"".join(struct.pack("!HH", tag, 7) for tag in tags)
    return (head + struct.pack("!H", ethertype) + packet).ljust(60, b"\x99")


# --- files ---


def pcap(frames: Iterable[bytes], link: int = ETHERNET, *, order: str = "<", nano: bool = False,
         times: Sequence[float] | None = None) -> bytes:
    """A pcap file in the byte order ``<`` or ``>``; a frame a second, or at the given times."""
    magic, unit = (0xA1B23C4D, 10**9) if nano else (0xA1B2C3D4, 10**6)
    out = [struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 262144, link)]
    for number, frame in enumerate(frames):
        when = 1_700_000_000 + number if times is None else times[number]
        out += struct.pack(order + "IIII", int(when), int(when % 1 * unit), len(frame), len(frame)), frame
    return b"".join(out)


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


# --- flows ---


class Talk:
    """The packets of one flow, as both sides send them."""

    def __init__(self, client: str = CLIENT, server: str = SERVER, *, sport: int = 40000, dport: int = 8123,
                 isn: int = 1000) -> None:
        self.client, self.server, self.sport, self.dport = client, server, sport, dport
        self.isn, self.seq, self.ack = isn, isn + 1, 5001

    def says(self, payload: bytes = b"", *, at: int | None = None, flags: int = ACK) -> bytes:
        """The client's next segment, or one at the stream offset ``at``."""
        seq = self.seq if at is None else self.isn + 1 + at
        if at is None:
            self.seq += len(payload)
        return self._packet(payload, seq, self.ack, flags, forth=True)

    def hears(self, payload: bytes = b"", *, flags: int = ACK) -> bytes:
        """The server's next segment."""
        packet = self._packet(payload, self.ack, self.seq, flags, forth=False)
        self.ack += len(payload)
        return packet

    def opening(self) -> list[bytes]:
        """SYN, SYN+ACK, ACK."""
        return [self._packet(b"", self.isn, 0, SYN, forth=True),
                self._packet(b"", 5000, self.isn + 1, SYN | ACK, forth=False), self.says()]

    def _packet(self, payload: bytes, seq: int, ack: int, flags: int, *, forth: bool) -> bytes:
        ports = (self.sport, self.dport) if forth else (self.dport, self.sport)
        ends = (self.client, self.server) if forth else (self.server, self.client)
        return ip(6, tcp(payload, seq=seq, ack=ack, flags=flags, sport=ports[0], dport=ports[1]), *ends)


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
