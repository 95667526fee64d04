"""Frames to IP packets."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfqdpi.replay.links import ip_packet
from nfqdpi.testing.capture import ether
from nfqdpi.testing.packets import CLIENT6, SERVER6, ip, tcp

_V4 = ip(6, tcp(b"payload"))
_V6 = ip(6, tcp(b"payload"), CLIENT6, SERVER6)


def _type(packet: bytes) -> bytes:
    return b"\x08\x00" if packet is _V4 else b"\x86\xdd"


def _ppp(packet: bytes) -> bytes:
    return b"\x00\x21" if packet is _V4 else b"\x00\x57"


_KINDS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "Ethernet": (1, ether),
    "802.1Q": (1, lambda p: ether(p, 0x8100)),
    "QinQ": (1, lambda p: ether(p, 0x88A8, 0x8100)),
    "old QinQ": (1, lambda p: ether(p, 0x9100, 0x8100)),
    "PPPoE": (1, lambda p: bytes(12) + b"\x88\x64\x11\x00\x00\x07\x00\x00" + _ppp(p) + p),
    "PPP": (9, lambda p: _ppp(p) + p),
    "PPP in HDLC framing": (9, lambda p: b"\xff\x03" + _ppp(p) + p),
    "raw 12": (12, lambda p: p),
    "raw 14": (14, lambda p: p),
    "raw 101": (101, lambda p: p),
    "raw IPv4": (228, lambda p: p),
    "raw IPv6": (229, lambda p: p),
    "null, little-endian": (0, lambda p: struct.pack("<I", 2 if p is _V4 else 30) + p),
    "null, big-endian": (0, lambda p: struct.pack(">I", 2 if p is _V4 else 24) + p),
    "loop": (108, lambda p: struct.pack(">I", 2 if p is _V4 else 28) + p),
    "cooked": (113, lambda p: bytes(14) + _type(p) + p),
    "cooked, 802.1Q": (113, lambda p: bytes(14) + b"\x81\x00\x00\x07" + _type(p) + p),
    "cooked v2": (276, lambda p: _type(p) + bytes(18) + p),
    "PPI": (192, lambda p: struct.pack("<BBHI", 0, 0, 12, 1) + bytes(4) + ether(p)),
}


@pytest.mark.parametrize("packet", [_V4, _V6], ids=["v4", "v6"])
@pytest.mark.parametrize("kind", _KINDS)
def test_link_layers(kind: str, packet: bytes) -> None:
    """Every link layer gives the packet that is in it; what pads the frame stays behind it."""
    link, wrap = _KINDS[kind]
    found = ip_packet(link, wrap(packet))
    assert found is not None
    assert found.startswith(packet)
    assert not found[len(packet) :].strip(b"\x99")


@pytest.mark.parametrize(("link", "frame"), [
    (1, bytes(12) + b"\x08\x06" + bytes(46)),
    (1, bytes(12) + b"\x00\x2e\xaa\xaa\x03" + bytes(43)),
    (1, bytes(12) + b"\x81\x00\x00\x07\x08\x06" + bytes(46)),
    (1, bytes(12) + b"\x88\x63" + bytes(46)),
    (0, struct.pack("<I", 7) + _V4),
    (9, b"\xc0\x21" + bytes(20)),
    (113, bytes(14) + b"\x08\x06" + bytes(28)),
    (192, struct.pack("<BBHI", 0, 0, 8, 105) + bytes(60)),
])
def test_no_ip_packet(link: int, frame: bytes) -> None:
    """ARP, LLC, PPPoE discovery, PPP control and what else is no IP packet gives none."""
    assert ip_packet(link, frame) is None


def test_unknown_link_type() -> None:
    """A link type that is not known says so."""
    with pytest.raises(KeyError):
        ip_packet(105, bytes(100))


@pytest.mark.parametrize("packet", [_V4, _V6], ids=["v4", "v6"])
def test_offloaded_length(packet: bytes) -> None:
    """A zero length, as the sender itself captures it before the card cuts the packet up, becomes the true one."""
    at = 2 if packet is _V4 else 4
    longer = packet + bytes(100)
    size = len(longer) if packet is _V4 else len(longer) - 40
    zero = longer[:at] + b"\0\0" + longer[at + 2 :]
    assert ip_packet(101, zero) == longer[:at] + size.to_bytes(2, "big") + longer[at + 2 :]
    short = zero[:50]
    assert ip_packet(101, short) == short


@given(st.sampled_from(sorted({link for link, _ in _KINDS.values()})), st.binary(max_size=100))
def test_arbitrary_frames(link: int, frame: bytes) -> None:
    """Any bytes give a packet or none."""
    ip_packet(link, frame)
