"""Capture files of every kind, whole and broken."""

from __future__ import annotations

import gzip
import struct
from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.utils import RawPcapWriter

from nfqdpi.replay.captures import BrokenCaptureError, Capture, Frame
from nfqdpi.testing.capture import pcap
from tests.replay.files import block, enhanced, interface, pcapng, section

_FRAMES = [b"first frame", b"the second", b"x" * 70, b""]
_WHOLE = {
    "pcap": pcap(_FRAMES),
    "pcap, big-endian": pcap(_FRAMES, order=">"),
    "pcap, nanoseconds": pcap(_FRAMES, nano=True),
    "pcap, nanoseconds, big-endian": pcap(_FRAMES, nano=True, order=">"),
    "pcapng": pcapng(_FRAMES),
    "pcapng, big-endian": pcapng(_FRAMES, order=">"),
}


def _read(path: Path) -> tuple[list[Frame], BrokenCaptureError | None]:
    """What can be read, and what is wrong with the rest."""
    frames = []
    with Capture(path) as capture:
        try:
            for frame in capture.frames():
                frames.append(frame)
        except BrokenCaptureError as error:
            return frames, error
    return frames, None


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("kind", _WHOLE)
def test_whole_files(tmp_path: Path, kind: str, packed: bool) -> None:
    """Every frame comes out as it went in."""
    path = tmp_path / "capture"
    path.write_bytes(gzip.compress(_WHOLE[kind]) if packed else _WHOLE[kind])
    frames, broken = _read(path)
    assert broken is None
    assert [frame.data for frame in frames] == _FRAMES
    assert {frame.link for frame in frames} == {1}


def test_file_by_scapy(tmp_path: Path) -> None:
    """What another program writes is read, too."""
    path = tmp_path / "capture"
    with RawPcapWriter(str(path), linktype=1) as file:
        for frame in _FRAMES[:3]:
            file.write(frame)
    frames, broken = _read(path)
    assert broken is None
    assert [frame.data for frame in frames] == _FRAMES[:3]


@pytest.mark.parametrize("nano", [False, True])
def test_times_of_pcap(tmp_path: Path, nano: bool) -> None:
    """Times are in seconds, whatever the file's unit."""
    path = tmp_path / "capture"
    path.write_bytes(pcap(_FRAMES[:2], times=[3.25, 4.5], nano=nano))
    assert [frame.time for frame in _read(path)[0]] == pytest.approx([3.25, 4.5])


@pytest.mark.parametrize(("resolution", "ticks"), [(None, 2_500_000), (3, 2500), (0x81, 5)])
def test_times_of_pcapng(tmp_path: Path, resolution: int | None, ticks: int) -> None:
    """An interface's unit is a power of ten or of two; a simple packet block has the time of what is before it."""
    path = tmp_path / "capture"
    simple = block(3, struct.pack("<I", 4) + b"data")
    path.write_bytes(section() + interface(resolution=resolution) + enhanced(b"frame", ticks=ticks) + simple)
    frames, broken = _read(path)
    assert broken is None
    assert frames == [Frame(2.5, 1, b"frame"), Frame(2.5, 1, b"data")]


def test_sections_of_pcapng(tmp_path: Path) -> None:
    """Each section numbers its interfaces anew, in its own byte order."""
    path = tmp_path / "capture"
    path.write_bytes(section() + interface(1) + enhanced(b"one") + section(">") + interface(101, ">")
                     + interface(113, ">") + enhanced(b"two", order=">") + enhanced(b"three", 1, ">"))
    frames, broken = _read(path)
    assert broken is None
    assert [(frame.link, frame.data) for frame in frames] == [(1, b"one"), (101, b"two"), (113, b"three")]


def test_frame_check_sequence(tmp_path: Path) -> None:
    """What pcap's link type field tells of frame check sequences is not the link type."""
    path = tmp_path / "capture"
    path.write_bytes(pcap(_FRAMES, link=0x50000001))
    assert {frame.link for frame in _read(path)[0]} == {1}


def test_largest_packet(tmp_path: Path) -> None:
    """The largest IP packet, as segmentation offloading makes them, comes whole with its link header."""
    frames = [bytes(65535 + 14)]
    for number, file in enumerate((pcap(frames), pcapng(frames))):
        path = tmp_path / str(number)
        path.write_bytes(file)
        assert [frame.data for frame in _read(path)[0]] == frames


@pytest.mark.parametrize("kind", _WHOLE)
def test_cut_at_every_byte(tmp_path: Path, kind: str) -> None:
    """A file that was cut gives its whole frames, and the offset where the next record begins."""
    whole = _WHOLE[kind]
    path = tmp_path / "capture"
    ends = _ends(kind)
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        frames, broken = _read(path)
        offset, count = max((end for end in ends if end[0] <= size), default=(0, 0))
        assert [frame.data for frame in frames] == _FRAMES[:count]
        if size == offset > 0:
            assert broken is None
        else:
            assert broken is not None
            assert (broken.offset, bool(broken.reason)) == (offset, True)


def _ends(kind: str) -> list[tuple[int, int]]:
    """Where a file may end: (offset, frames by then)."""
    sizes = [24, *(16 + len(frame) for frame in _FRAMES)]
    before = 1  # the records in front of the first frame
    if kind.startswith("pcapng"):
        sizes = [len(section()), len(interface()), *(len(enhanced(frame)) for frame in _FRAMES)]
        before = 2
    return [(offset, max(0, number - before)) for number, offset in enumerate(accumulate(sizes), 1)]


@pytest.mark.parametrize(("file", "offset"), [
    (b"", 0),
    (b"not a capture file at all, but long enough for a header", 0),
    (pcap([b"frame"]) + struct.pack("<IIII", 0, 0, 0xFFFFFFFF, 5) + bytes(300_000), 45),
    (section() + interface() + enhanced(b"frame") + block(6, bytes(4)), 88),
    (section() + interface() + enhanced(b"frame") + struct.pack("<II", 6, 0xFFFFFFF0) + bytes(100), 88),
    (section() + interface() + enhanced(b"frame") + struct.pack("<II", 6, 4) + bytes(100), 88),
    (section() + interface() + enhanced(b"frame")[:-4] + bytes(4) + bytes(100), 48),
])
def test_nonsense(tmp_path: Path, file: bytes, offset: int) -> None:
    """A record that cannot be one ends the reading at its offset, whatever size it claims."""
    path = tmp_path / "capture"
    path.write_bytes(file)
    frames, broken = _read(path)
    assert broken is not None
    assert broken.offset == offset
    assert len(frames) == (1 if offset in (45, 88) else 0)


def test_broken_gzip(tmp_path: Path) -> None:
    """A gzip stream that was cut or damaged gives what can be unpacked."""
    path = tmp_path / "capture"
    packed = gzip.compress(pcap([bytes(range(256))] * 200))
    path.write_bytes(packed[:-60])
    frames, broken = _read(path)
    assert broken is not None
    assert broken.reason.startswith("gzip:")
    assert all(frame.data == bytes(range(256)) for frame in frames)
    path.write_bytes(packed[:4])
    assert _read(path)[1] is not None


@given(st.binary(max_size=300), st.sampled_from([*_WHOLE.values(), b"", gzip.compress(_WHOLE["pcap"])]),
       st.integers(0, 300))
def test_arbitrary_bytes(tmp_path_factory: pytest.TempPathFactory, noise: bytes, whole: bytes, at: int) -> None:
    """Any bytes give frames or the one exception."""
    path = tmp_path_factory.getbasetemp() / "noise"
    path.write_bytes(whole[:at] + noise + whole[at + len(noise) :])
    _read(path)
