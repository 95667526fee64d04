"""Frames to IP packets: the link layers, by their LINKTYPE_ values (tcpdump.org/linktypes.html)."""

from __future__ import annotations

from collections.abc import Callable

# --- the formats' constants ---
_VLAN_TAGS = frozenset((0x8100, 0x88A8, 0x9100))  # 802.1Q, 802.1ad, and what QinQ used before it
_IPV4, _IPV6, _PPPOE_SESSION = 0x0800, 0x86DD, 0x8864
_PPP_IPV4, _PPP_IPV6 = 0x0021, 0x0057
_FAMILIES = frozenset((2, 10, 23, 24, 28, 30))  # AF_INET everywhere; AF_INET6 of Linux, Windows and the BSDs

_LARGEST_UNSENT = 60  # bytes; a frame up to this may be padding, so a zero length in it is not an offload's


def ip_packet(link: int, frame: bytes) -> bytes | None:
    """The packet in a frame, from its IP header on, padding included; None: there is none, or it is cut off.

    Raises KeyError where the link type is not known.
    """
    packet = _LINKS[link](frame)
    return _sized(packet) if packet else None


def _sized(packet: bytes) -> bytes:
    """The packet with a true length: a capture on the sender itself sees, with segmentation offloaded, a zero there."""
    if len(packet) <= _LARGEST_UNSENT or len(packet) >= 1 << 16:
        return packet
    if packet[0] >> 4 == 4 and packet[2:4] == b"\0\0":
        return packet[:2] + len(packet).to_bytes(2, "big") + packet[4:]
    if packet[0] >> 4 == 6 and packet[4:6] == b"\0\0":
        return packet[:4] + (len(packet) - 40).to_bytes(2, "big") + packet[6:]
    return packet


def _by_type(ethertype: int, frame: bytes, start: int) -> bytes | None:
    """What an EtherType announces; ``start`` is behind it. Tags and PPPoE are taken off."""
    while ethertype in _VLAN_TAGS:
        ethertype, start = _u16(frame, start + 2), start + 4
    if ethertype == _PPPOE_SESSION:
        return _ppp(frame[start + 6 :])  # RFC 2516, 4
    return frame[start:] if ethertype in (_IPV4, _IPV6) else None


def _u16(frame: bytes, at: int) -> int:
    return int.from_bytes(frame[at : at + 2], "big")


def _ethernet(frame: bytes) -> bytes | None:
    return _by_type(_u16(frame, 12), frame, 14)


def _cooked(frame: bytes) -> bytes | None:
    return _by_type(_u16(frame, 14), frame, 16)


def _cooked_v2(frame: bytes) -> bytes | None:
    return _by_type(_u16(frame, 0), frame, 20)


def _raw(frame: bytes) -> bytes | None:
    return frame


def _null(frame: bytes) -> bytes | None:
    # The address family is in the byte order of the machine that captured it; DLT_LOOP's is in network order.
    family = frame[:4]
    known = int.from_bytes(family, "little") in _FAMILIES or int.from_bytes(family, "big") in _FAMILIES
    return frame[4:] if known else None


def _ppp(frame: bytes) -> bytes | None:
    start = 2 if frame[:2] == b"\xff\x03" else 0  # HDLC framing (RFC 1662, 3.1)
    return frame[start + 2 :] if _u16(frame, start) in (_PPP_IPV4, _PPP_IPV6) else None


def _ppi(frame: bytes) -> bytes | None:
    """Per-Packet Information: a header of its own length around another link type (little-endian throughout)."""
    inner = _LINKS.get(int.from_bytes(frame[4:8], "little"))
    return inner(frame[int.from_bytes(frame[2:4], "little") :]) if inner is not None else None


_LINKS: dict[int, Callable[[bytes], bytes | None]] = {
    0: _null,
    1: _ethernet,
    9: _ppp,
    12: _raw,
    14: _raw,
    101: _raw,
    108: _null,
    113: _cooked,
    192: _ppi,
    228: _raw,
    229: _raw,
    276: _cooked_v2,
}
