"""Fragments to whole packets."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfqdpi.replay.fragments import Fragments
from nfqdpi.testing.packets import CLIENT6, SERVER6, ip, tcp

_BODY = tcp(bytes(range(100)) + b"the end")
_V4 = ip(6, _BODY)
_V6 = ip(6, _BODY, CLIENT6, SERVER6)
_HOP = (0, b"\0" + bytes(6))


def _v4(start: int, end: int, *, more: bool = True, body: bytes = _BODY) -> bytes:
    return ip(6, body[start:end], fragment=0x2000 * more | start // 8)


def _v6(start: int, end: int, *, more: bool = True, chain: tuple[tuple[int, bytes], ...] = ()) -> bytes:
    rest = b"\0" + (start | more).to_bytes(2, "big") + b"\0\0\0\x07"
    return ip(6, _BODY[start:end], CLIENT6, SERVER6, chain=(*chain, (44, rest)))


_V4_PIECES = [_v4(0, 40), _v4(40, 80), _v4(80, 200, more=False)]
_V6_PIECES = [_v6(0, 40), _v6(40, 80), _v6(80, 200, more=False)]
_V6_HOP_PIECES = [_v6(0, 64, chain=(_HOP,)), _v6(64, 200, more=False, chain=(_HOP,))]


@pytest.mark.parametrize("packet", [_V4, _V6, ip(17, bytes(8)), b"\x45", b"\x60\0", b"\x00"])
def test_whole_packets(packet: bytes) -> None:
    """What is no fragment passes as it is, however broken."""
    assert Fragments().whole(packet, 0) == packet


@pytest.mark.parametrize(("pieces", "whole"), [
    (_V4_PIECES, _V4), (_V6_PIECES, _V6), (_V6_HOP_PIECES, ip(6, _BODY, CLIENT6, SERVER6, chain=(_HOP,)))])
def test_any_order(pieces: list[bytes], whole: bytes) -> None:
    """Pieces in any order, some twice, padded by Ethernet, give the packet, once."""
    for order in permutations(pieces):
        fragments = Fragments()
        given_ = [fragments.whole(piece + b"padding", 0) for piece in (*order[:-1], order[0], order[-1])]
        assert given_ == [None] * len(pieces) + [whole]


def test_two_packets_at_once() -> None:
    """Pieces of two packets do not mix."""
    fragments = Fragments()
    mixed = [piece for both in zip(_V4_PIECES, _V6_PIECES, strict=True) for piece in both]
    assert [fragments.whole(piece, 0) for piece in mixed] == [None] * 4 + [_V4, _V6]


def test_overlap_spoils() -> None:
    """Overlapping pieces that differ spoil the packet, and nothing that comes soon after mends it."""
    fragments = Fragments()
    for piece in (_V4_PIECES[0], _v4(32, 72, body=b"X" * 200), *_V4_PIECES):
        assert fragments.whole(piece, 0) is None
    assert [fragments.whole(piece, 60) for piece in _V4_PIECES] == [None, None, _V4]  # the number is used again


def test_pieces_behind_the_end_spoil() -> None:
    """What reaches behind the last piece is no part of the packet, and does not make up for one that is missing."""
    beyond = _v4(200, 240, body=bytes(400))
    for order in ((_V4_PIECES[0], _V4_PIECES[2], beyond), (_V4_PIECES[0], beyond, _V4_PIECES[2])):
        fragments = Fragments()
        assert [fragments.whole(piece, 0) for piece in (*order, _V4_PIECES[1])] == [None] * 4


def test_patience() -> None:
    """Pieces that come too late belong to another packet."""
    fragments = Fragments()
    assert fragments.whole(_V4_PIECES[0], 0) is None
    assert fragments.whole(_V4_PIECES[1], 31) is None
    assert fragments.whole(_V4_PIECES[2], 32) is None
    assert fragments.whole(_V4_PIECES[0], 33) == _V4


def test_bounded() -> None:
    """The oldest gives way when very many packets are in pieces."""
    fragments = Fragments()
    for number in range(300):
        fragments.whole(ip(6, bytes(8), f"10.1.{number // 250}.{number % 250}", fragment=0x2000), 0)
    assert len(fragments) == 256


def test_too_large() -> None:
    """What would be longer than a packet can be is none."""
    fragments = Fragments()
    for start in range(0, 65520, 1008):
        assert fragments.whole(_v4(start, start + 1008, body=bytes(70000)), 0) is None
    assert fragments.whole(_v4(65520, 65600, body=bytes(70000), more=False), 0) is None


@given(st.lists(st.one_of(st.binary(min_size=1, max_size=80), st.sampled_from(_V4_PIECES + _V6_PIECES)), max_size=12))
def test_arbitrary_packets(packets: list[bytes]) -> None:
    """Any bytes give a packet or none."""
    fragments = Fragments()
    for packet in packets:
        fragments.whole(packet, 0)
