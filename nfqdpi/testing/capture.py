"""Capture files: packets to a file, and a file's packets."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

ETHERNET = 1  # LINKTYPE_ETHERNET
_MACS = bytes(12)


def ether(packet: bytes, *tags: int) -> bytes:
    """An Ethernet frame with the tags (TPIDs), padded to 60 bytes as a card does."""
    ethertype = 0x0800 if packet[0] >> 4 == 4 else 0x86DD
    head = _MACS + b"".join(struct.pack("!HH", tag, 7) for tag in tags)
    return (head + struct.pack("!H", ethertype) + packet).ljust(60, b"\x99")


def pcap(frames: Iterable[bytes], link: int = ETHERNET, *, order: str = "<", nano: bool = False,
         times: Sequence[float] | None = None) -> bytes:
    """A pcap file in the byte order ``<`` or ``>``; a frame a second, or at the given times."""
    magic, unit = (0xA1B23C4D, 10**9) if nano else (0xA1B2C3D4, 10**6)
    out = [struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 262144, link)]
    for number, frame in enumerate(frames):
        when = 1_700_000_000 + number if times is None else times[number]
        out += struct.pack(order + "IIII", int(when), int(when % 1 * unit), len(frame), len(frame)), frame
    return b"".join(out)


def pcap_of(packets: Iterable[bytes]) -> bytes:
    """A capture file of IP packets."""
    return pcap(map(ether, packets))


def captured(path: Path) -> Iterator[bytes]:
    """The whole IP packets of a capture file, fragments put together. Raises OSError, BrokenCaptureError, and KeyError
    where the link type is not known."""
    from nfqdpi.replay.captures import Capture
    from nfqdpi.replay.fragments import Fragments
    from nfqdpi.replay.links import ip_packet

    fragments = Fragments()
    with Capture(path) as capture:
        for frame in capture.frames():
            packet = ip_packet(frame.link, frame.data)
            whole = fragments.whole(packet, frame.time) if packet else None
            if whole is not None:
                yield whole
