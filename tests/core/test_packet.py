"""A packet's bytes to a Segment, a Datagram, or why it is neither."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfqdpi.core.packet import Datagram, FlowKey, Segment, Unreadable, parse
from nfqdpi.core.verdict import Reason
from nfqdpi.testing.packets import ACK, CLIENT, CLIENT6, FIN, PSH, RST, SERVER, SERVER6, SYN, ip, tcp, udp

MALFORMED, TRUNCATED = Unreadable(Reason.MALFORMED), Unreadable(Reason.TRUNCATED)
ENDS = [(CLIENT, SERVER), (CLIENT6, SERVER6)]
HOP_BY_HOP, ROUTING, FRAGMENT, AUTH, DESTINATION = 0, 43, 44, 51, 60
EIGHT = b"\0" + bytes(6)  # an extension header of 8 bytes, less its first
both = pytest.mark.parametrize(("src", "dst"), ENDS, ids=["v4", "v6"])


@both
def test_a_segment(src: str, dst: str) -> None:
    """A TCP packet gives its five-tuple, numbers, flags, options and payload."""
    packet = ip(6, tcp(b"abc", seq=7, ack=9, flags=ACK | FIN, options=b"\x01\x01\x01\x00"), src, dst)
    key = FlowKey(ip_address(src).packed, ip_address(dst).packed, 40000, 443, 6)
    assert parse(packet) == Segment(key, 7, 9, ACK | FIN, b"\x01\x01\x01\x00", b"abc")


@both
def test_a_datagram(src: str, dst: str) -> None:
    """A UDP packet gives its five-tuple and payload; its own length rules."""
    key = FlowKey(ip_address(src).packed, ip_address(dst).packed, 40000, 443, 17)
    assert parse(ip(17, udp(b"abc"), src, dst)) == Datagram(key, b"abc")
    assert parse(ip(17, udp(b"abc", length=9), src, dst)) == Datagram(key, b"a")


@both
def test_padding_is_no_payload(src: str, dst: str) -> None:
    """Bytes behind the IP length are the link's, not the packet's."""
    packet = ip(6, tcp(), src, dst)
    assert parse(packet + bytes(6)) == parse(packet)


@both
@pytest.mark.parametrize("transport", [(6, tcp(b"payload")), (17, udp(b"payload"))], ids=["tcp", "udp"])
def test_every_cut_is_truncated(src: str, dst: str, transport: tuple[int, bytes]) -> None:
    """A packet of which the queue copied only the front is never taken for a whole one."""
    packet = ip(*transport, src, dst)
    assert {parse(packet[:n]) for n in range(len(packet))} == {TRUNCATED}


def test_ipv4_options_are_skipped() -> None:
    """The header's own length says where TCP begins."""
    segment = parse(ip(6, tcp(b"abc"), options=b"\x01" * 8))
    assert isinstance(segment, Segment)
    assert segment.payload == b"abc"


@pytest.mark.parametrize("fragment", [0x2000, 0x0001, 0x1FFF])
def test_an_ipv4_fragment_is_malformed(fragment: int) -> None:
    """Conntrack has put fragments together; one that arrives is somebody's trick."""
    assert parse(ip(6, tcp(b"abc"), fragment=fragment)) == MALFORMED
    assert isinstance(parse(ip(6, tcp(b"abc"), fragment=0x4000)), Segment)  # only DF


@pytest.mark.parametrize("packet", [
    pytest.param(b"\x50" + bytes(40), id="IP version 5"),
    pytest.param(b"\x44" + ip(6, tcp())[1:], id="header shorter than 20"),
    pytest.param(b"\x45\0\0\x13" + ip(6, tcp())[4:], id="total shorter than the header"),
    pytest.param(ip(6, tcp()[:19]), id="half a TCP header"),
    pytest.param(ip(6, tcp()[:12] + b"\x40" + tcp()[13:]), id="data offset 4"),
    pytest.param(ip(6, tcp()[:12] + b"\x60" + tcp()[13:]), id="data offset past the end"),
    pytest.param(ip(17, udp()[:7]), id="half a UDP header"),
    pytest.param(ip(17, udp(length=7)), id="UDP length below its header"),
    pytest.param(ip(17, udp(length=9)), id="UDP length past the end"),
])
def test_broken_headers_are_malformed(packet: bytes) -> None:
    """Lengths that contradict one another make no packet."""
    assert parse(packet) == MALFORMED


@both
def test_another_transport_is_unknown(src: str, dst: str) -> None:
    """ICMP, SCTP and the like are not ours to read."""
    assert parse(ip(132, bytes(20), src, dst)) == Unreadable(Reason.UNKNOWN_PROTOCOL)


@pytest.mark.parametrize("chain", [
    pytest.param([(HOP_BY_HOP, EIGHT)], id="hop-by-hop"),
    pytest.param([(HOP_BY_HOP, EIGHT), (HOP_BY_HOP, EIGHT)], id="hop-by-hop twice"),
    pytest.param([(DESTINATION, b"\x01" + bytes(14))], id="destination options of 16 bytes"),
    pytest.param([(ROUTING, EIGHT), (FRAGMENT, EIGHT)], id="routing, atomic fragment"),
    pytest.param([(AUTH, b"\x04" + bytes(22))], id="authentication"),
    pytest.param([(DESTINATION, EIGHT)] * 7, id="seven"),
])
def test_ipv6_extension_headers_are_skipped(chain: list[tuple[int, bytes]]) -> None:
    """TCP is found behind any chain of the known headers, and a cut chain is truncated."""
    packet = ip(6, tcp(b"abc"), CLIENT6, SERVER6, chain=chain)
    segment = parse(packet)
    assert isinstance(segment, Segment)
    assert segment.payload == b"abc"
    assert {parse(packet[:n]) for n in range(len(packet))} == {TRUNCATED}


@pytest.mark.parametrize("chain", [
    pytest.param([(FRAGMENT, b"\0\0\x01" + bytes(4))], id="more fragments"),
    pytest.param([(FRAGMENT, b"\0\0\x08" + bytes(4))], id="fragment offset"),
    pytest.param([(DESTINATION, EIGHT)] * 8, id="more headers than anybody sends"),
    pytest.param([(DESTINATION, b"\xff" + bytes(6))], id="longer than the packet"),
])
def test_ipv6_chains_without_an_end_are_malformed(chain: list[tuple[int, bytes]]) -> None:
    """A piece of a packet, a chain too long and a header past the end are refused."""
    assert parse(ip(6, b"" if chain[0][1][0] == 0xFF else tcp(b"abc"), CLIENT6, SERVER6, chain=chain)) == MALFORMED


def test_a_key_reversed_twice_is_itself() -> None:
    """The two directions of a flow name each other."""
    key = FlowKey(b"\x0a\0\0\x01", b"\x0a\0\0\x02", 1, 2, 6)
    assert key.reversed() == FlowKey(b"\x0a\0\0\x02", b"\x0a\0\0\x01", 2, 1, 6)
    assert key.reversed().reversed() == key


@given(st.binary(max_size=120) | st.binary(max_size=80).map(lambda tail: ip(6, tail))
       | st.binary(max_size=80).map(lambda tail: ip(17, tail, CLIENT6, SERVER6))
       | st.binary(min_size=34, max_size=80).map(lambda tail: b"\x60\0\0\0\0\x28" + tail))
def test_any_bytes_are_one_of_the_three(data: bytes) -> None:
    """No packet makes the parser raise, and none yields a payload that is not in it."""
    parsed = parse(data)
    if isinstance(parsed, Unreadable):
        assert parsed.reason in (Reason.MALFORMED, Reason.TRUNCATED, Reason.UNKNOWN_PROTOCOL)
    else:
        assert parsed.payload in data


def test_flags_are_read_as_they_stand() -> None:
    """Every control bit reaches the segment, also those without a name."""
    segment = parse(ip(6, tcp(flags=0xFF)))
    assert isinstance(segment, Segment)
    assert segment.flags == 0xFF
    assert segment.flags & PSH


@pytest.mark.parametrize(("options", "signed"), [
    pytest.param(b"\x13\x12" + bytes(16) + b"\x01\x01", True, id="MD5"),
    pytest.param(b"\x01\x01\x1d\x10" + bytes(14) + b"\x01\x01", True, id="authentication, behind padding"),
    pytest.param(b"\x01\x01\x08\x0a" + bytes(8), False, id="timestamps"),
    pytest.param(b"\xfd\x04\x12\x34", False, id="an unknown one"),
    pytest.param(b"\x00\x13\x12\x00", False, id="behind the end"),
    pytest.param(b"\xfe\x00\x13\x12", False, id="behind a broken one"),
    pytest.param(b"\x01\x01\x01\x08", False, id="cut"),
    pytest.param(b"", False, id="none"),
])
def test_signed_segments_are_seen_as_linux_sees_them(options: bytes, signed: bool) -> None:
    """An MD5 or authentication option is found where Linux finds it, and nowhere else."""
    segment = parse(ip(6, tcp(b"abc", options=options)))
    assert isinstance(segment, Segment)
    assert segment.signed is signed
    assert segment.payload == b"abc"


@given(st.binary(min_size=1, max_size=300), st.integers(1, 100), st.sampled_from([0, SYN, FIN, RST, SYN | FIN]),
       st.integers(0, (1 << 32) - 1))
def test_pieces_are_the_same_stream(payload: bytes, size: int, flags: int, seq: int) -> None:
    """Put together by their sequence numbers they are what they were; its beginning and its end are told once."""
    whole = Segment(FlowKey(b"abcd", b"efgh", 1, 2, 6), seq, 7, flags | ACK, b"", payload)
    pieces = list(whole.pieces(size))
    assert all(0 < len(piece.payload) <= size for piece in pieces)
    where = [(piece.seq + bool(piece.flags & SYN) - seq - bool(flags & SYN)) % (1 << 32) for piece in pieces]
    assert where == list(range(0, len(payload), size))
    assert b"".join(piece.payload for piece in pieces) == payload
    assert [n for n, piece in enumerate(pieces) if piece.flags & SYN] == [0] * bool(flags & SYN)
    assert [n for n, p in enumerate(pieces) if p.flags & (FIN | RST)] == [len(pieces) - 1] * bool(flags & (FIN | RST))
