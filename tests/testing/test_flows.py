"""Packets of whole flows, and the same scattered."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfqdpi.core.classifier import Message
from nfqdpi.core.packet import Datagram, FlowKey, Segment, Unreadable, parse
from nfqdpi.core.stream import StreamBuffer
from nfqdpi.plugins import http, quic, tls
from nfqdpi.plugins.dns import Settings, over_udp
from nfqdpi.testing import (
    FromServer,
    captured,
    cuts,
    dns_answer,
    dns_query,
    flow,
    hello,
    pcap_of,
    quic_initial,
    request,
    scattered,
    segments,
    verdict_of,
)
from nfqdpi.testing.packets import ACK, FIN, SYN


def payloads(flow_: list[bytes]) -> list[bytes]:
    """Of the packets that have any."""
    parsed = [parse(packet) for packet in flow_]
    return [one.payload for one in parsed if not isinstance(one, Unreadable) and one.payload]


def streams(flow_: list[bytes]) -> dict[FlowKey, bytes]:
    """What each side of TCP flows has sent, put together by sequence numbers."""
    buffers: dict[FlowKey, StreamBuffer] = {}
    for packet in flow_:
        segment = parse(packet)
        assert isinstance(segment, Segment)
        if segment.key not in buffers:
            buffers[segment.key] = StreamBuffer(segment.seq + 1, 1 << 16, 64)
        elif segment.payload:
            buffers[segment.key].add(segment.seq, segment.payload)
    return {key: buffer.head for key, buffer in buffers.items()}


@pytest.mark.parametrize("six", [False, True])
def test_a_flow_over_tcp(six: bool) -> None:
    """Each side's bytes are a stream, between an opening and an end."""
    whole = flow(b"first", FromServer(b"answer"), b"second", port=22, six=six)
    (client, server) = streams(whole)
    assert (client.dport, server) == (22, client.reversed())
    assert len(client.src) == (16 if six else 4)
    assert list(streams(whole).values()) == [b"firstsecond", b"answer"]
    flags = [one.flags for packet in whole if isinstance(one := parse(packet), Segment)]
    assert flags[:3] + flags[-3:] == [SYN, SYN | ACK, ACK, FIN | ACK, FIN | ACK, ACK]


@pytest.mark.parametrize("six", [False, True])
def test_a_flow_over_udp(six: bool) -> None:
    """A datagram for each payload."""
    sent = [parse(packet) for packet in flow(dns_query("a.example"), FromServer(b"answer"), port=53, six=six, udp=True)]
    assert [type(one) for one in sent] == [Datagram, Datagram]
    assert [(one.key.dport, one.payload) for one in sent if isinstance(one, Datagram)] == [
        (53, dns_query("a.example")), (40000, b"answer")]


def test_segments() -> None:
    """Each cut begins another; those outside, and those twice, begin none."""
    assert segments(b"abcdef", 2, 4) == [b"ab", b"cd", b"ef"]
    assert segments(b"abcdef", 0, 4, 4, 6, 9) == [b"abcd", b"ef"]


@given(st.sets(st.integers(0, 40), max_size=4), st.randoms(use_true_random=False))
def test_scattered(at: set[int], chance: Random) -> None:
    """However cut and in whatever order, both streams stay what they are; nothing passes a payload of the server's."""
    whole = flow(*segments(bytes(range(16)), 7), FromServer(b"answer"), b"last")
    made = list(scattered(whole, at, lambda run: chance.sample(run, len(run))))
    assert streams(made) == streams(whole)
    said = payloads(made)
    assert sum(map(len, said[: said.index(b"answer")])) == 16
    if not at:
        assert sorted(made) == sorted(whole)


def test_scattered_at_one_place() -> None:
    """A cut counts from the first byte that the client says, over segments; the order is that of the pieces."""
    made = list(scattered(flow(b"abcd", b"efgh"), [6], lambda run: run[::-1]))
    assert payloads(made) == [b"gh", b"ef", b"abcd"]


def test_datagrams_stay_whole() -> None:
    """Only their order changes."""
    whole = flow(b"one", b"two", udp=True)
    assert list(scattered(whole, [1], lambda run: run[::-1])) == whole[::-1]


@given(cuts(flow(hello("a.example"), FromServer(b"yes"))))
def test_cuts(made: list[bytes]) -> None:
    """A strategy of such flows."""
    assert streams(made) == streams(flow(hello("a.example"), FromServer(b"yes")))


def test_a_capture_and_back(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A file's packets are those that it was made of."""
    path = tmp_path_factory.mktemp("captures") / "some.pcap"
    whole = flow(request("a.example"))
    path.write_bytes(pcap_of(whole))
    assert [packet[: len(one)] for packet, one in zip(captured(path), whole, strict=True)] == whole


@pytest.mark.parametrize("six", [False, True])
@pytest.mark.parametrize(("payload", "udp", "proto"), [
    (hello("a.example"), False, "tls"), (request("a.example"), False, "http"),
    (quic_initial("a.example"), True, "quic"),
])
def test_what_is_built_can_be_read(payload: bytes, udp: bool, proto: str, six: bool) -> None:
    """By the classifiers of this package."""
    readers = (tls.classifier, http.classifier, quic.classifier)
    seen = verdict_of(flow(payload, six=six, udp=udp), *readers)
    assert (seen.proto, seen.name) == (proto, "a.example")


def test_what_dns_asks_and_answers() -> None:
    """A question, and an answer whose addresses are the name's."""
    read = over_udp(Settings()).read
    asked, answered = read(dns_query("a.example")), read(dns_answer("a.example", "192.0.2.1"))
    assert isinstance(asked, Message)
    assert isinstance(answered, Message)
    assert (asked.names, answered.names) == (("a.example",), ("a.example",))
    assert [(known.name, known.address) for known in answered.answers] == [("a.example", bytes((192, 0, 2, 1)))]
