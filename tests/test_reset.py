"""The RST for a held packet, checked with scapy."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6

from nfqdpi.core.packet import Flags
from nfqdpi.kernel.reset import reset_for
from nfqdpi.testing.packets import ACK, CLIENT, CLIENT6, PSH, RST, SERVER, SERVER6, SYN, ip, tcp, udp


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.sampled_from([ACK, ACK | PSH, SYN, SYN | ACK, 0]),
       st.binary(max_size=50), st.sampled_from([(CLIENT, SERVER), (CLIENT6, SERVER6)]))
def test_the_receiver_is_reset_in_the_senders_name(seq: int, ack: int, flags: int, payload: bytes,
                                                   ends: tuple[str, str]) -> None:
    """Addresses, ports, sequence number and acknowledgement are the held segment's; the checksums are right."""
    answer = reset_for(ip(6, tcp(payload, seq=seq, ack=ack, flags=flags, sport=40000, dport=80), *ends))
    assert answer
    destination, datagram = answer
    assert destination == ip_address(ends[1]).packed
    layer = IPv6 if ":" in ends[0] else IP
    read = layer(datagram)
    assert (read.src, read.dst) == ends
    assert len(datagram) == (60 if layer is IPv6 else 40)
    segment = read[TCP]
    assert (segment.sport, segment.dport, segment.seq) == (40000, 80, seq)
    assert int(segment.flags) == RST | flags & ACK
    assert segment.ack == (ack if flags & ACK else 0)
    right = layer(datagram)
    del right[TCP].chksum
    assert layer(bytes(right))[TCP].chksum == segment.chksum


def test_extension_headers_and_options_are_left_out() -> None:
    """Whatever the held packet carries between its headers, the answer is plain."""
    plain = reset_for(ip(6, tcp(b"x", seq=5), CLIENT6, SERVER6))
    assert plain
    assert reset_for(ip(6, tcp(b"x", seq=5), CLIENT6, SERVER6, chain=[(0, bytes(7)), (60, bytes(7))])) == plain
    plain = reset_for(ip(6, tcp(b"x", seq=5)))
    assert reset_for(ip(6, tcp(b"x", seq=5, options=b"\1\1\1\1"), options=b"\1\1\1\1")) == plain


@pytest.mark.parametrize("packet", [ip(17, udp(b"x")), ip(6, tcp(b"x"), fragment=1), ip(6, tcp(flags=Flags.RST)), b""])
def test_what_cannot_be_reset(packet: bytes) -> None:
    """No answer to another protocol, a fragment, a reset, or nothing at all."""
    assert reset_for(packet) is None


@given(st.binary(max_size=120))
def test_any_bytes_have_an_answer_or_none(data: bytes) -> None:
    """Total, and an answer is a whole packet of one family."""
    answer = reset_for(data)
    assert answer is None or len(answer[1]) in (40, 60)
