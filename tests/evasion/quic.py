"""The matrix, QUIC: how a ClientHello comes in datagrams, and what else does. No connection is finished: a server that
has put a whole hello together, and read its name, took it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product

from nfqdpi.testing.quic import DRAFT29, V2, crypto, flight, initial, long_packet
from nfqdpi.testing.tls import hello
from tests.evasion.case import ALLOWED, BLOCKED, DECOY, FAMILIES, Fate
from tests.evasion.packets import (
    DESTINATION_OPTIONS,
    DIES,
    HONEST,
    HOP_BY_HOP,
    How,
    Place,
    datagram,
    fragments,
)

_DYING, _BROKEN = replace(HONEST, ttl=DIES), replace(HONEST, bad_checksum=True)
_SHORT = b"\x40" + bytes(40)  # a packet with a short header
_PAUSE = 1.0  # s
OTHER_PORT = 10_000  # from the first port of a row to its second


class Socket:
    """One UDP flow's client side, by hand."""

    def __init__(self, send: Callable[[bytes], None], place: Place) -> None:
        self._send = send
        self.place = place
        self.dcid = os.urandom(8)

    def send(self, *payloads: bytes, how: How = HONEST) -> None:
        """Datagrams, one behind the other."""
        for payload in payloads:
            self._send(datagram(self.place, payload, how))

    def send_packet(self, *packets: bytes) -> None:
        """Whole packets, as they are."""
        for packet in packets:
            self._send(packet)

    def forge(self, payload: bytes) -> None:
        """A datagram in the server's name, from the client's side of the gateway."""
        self._send(datagram(self.place.back, payload))

    def hello(self, name: str, *cuts: int, **how: bytes | int) -> list[bytes]:
        """The datagrams of a hello, cut at these places, counted from its end where they are negative."""
        message = hello(name)[5:]
        return flight(message, [cut % len(message) for cut in cuts], **{"dcid": self.dcid, **how})


Play = Callable[[Socket, str], None]


@dataclass(frozen=True, slots=True)
class Trick:
    """A row: what is sent, and what becomes of the allowed name by it."""

    what: str
    play: Play
    allowed: Fate


@dataclass(frozen=True, slots=True)
class Case:
    """A row for one family and one name."""

    trick: Trick
    family: int
    name: str

    def __str__(self) -> str:
        return f"quic v{self.family} {self.name.partition('.')[0]}: {self.trick.what}"


def sent(*cuts: int, **how: bytes | int) -> Play:
    return lambda s, name: s.send(*s.hello(name, *cuts, **how))


def any_order(s: Socket, name: str) -> None:
    s.send(*s.hello(name, 20, 40, 60, 80, 100, 120, 140)[::-1])


def slowly(s: Socket, name: str) -> None:
    for one in s.hello(name, 70, 140):
        s.send(one)
        time.sleep(_PAUSE)


def thrice(s: Socket, name: str) -> None:
    """All of it before conntrack knows of the flow."""
    s.send(*(one for one in s.hello(name, 70, 140) for _ in range(3)))


def rest_again_and_again(s: Socket, name: str) -> None:
    first, rest = s.hello(name, 70)
    s.send(first, *[rest] * 30)


def decoy(how: How, *, own: bool = False, cuts: tuple[int, ...] = ()) -> Play:
    """A hello for another name first, under the same connection id or its ``own``; of one cut, the front only."""

    def play(s: Socket, name: str) -> None:
        dcid = os.urandom(8) if own else s.dcid
        s.send(s.hello(DECOY, *cuts, dcid=dcid)[0], how=how)
        s.send(*s.hello(name))

    return play


def decoy_rest(s: Socket, name: str) -> None:
    """The front of the true one, the rest of the other's, which dies, and the true one's."""
    front, rest = s.hello(name, 40)
    s.send(front)
    s.send(s.hello(DECOY, 40)[1], how=_DYING)
    s.send(rest)


def overlapping(other: str) -> Play:
    """A packet with two copies of the name's bytes."""

    def play(s: Socket, name: str) -> None:
        true, false = hello(name)[5:], hello(other or name)[5:]
        s.send(initial(crypto(false[:200]), crypto(true), dcid=s.dcid))

    return play


def second_hello(s: Socket, name: str) -> None:
    s.send(*s.hello(DECOY))
    time.sleep(_PAUSE)
    s.send(*s.hello(name, dcid=os.urandom(8)))


def second_hello_in_parts(s: Socket, name: str) -> None:
    s.send(*s.hello(DECOY))
    time.sleep(_PAUSE)
    s.send(_SHORT, *s.hello(name, 50, 100, dcid=os.urandom(8))[::-1])


def from_two_ports(*, whole: bool = False) -> Play:
    """The parts of a hello; ``whole``: each port has all of one, of which a part dies."""

    def play(s: Socket, name: str) -> None:
        other = Socket(s.send_packet, s.place._replace(sport=s.place.sport + OTHER_PORT))
        (front, rest), (decoy_front, decoy_rest) = (s.hello(one, 40) for one in (name, DECOY))
        s.send(front)
        if whole:
            s.send(decoy_rest, how=_DYING)
            other.send(decoy_front, how=_DYING)
        time.sleep(_PAUSE)
        other.send(rest)

    return play


def junk(*payloads: bytes) -> Play:
    return lambda s, name: s.send(*payloads, *s.hello(name))


def no_fixed_bit(s: Socket, name: str) -> None:
    (one,) = s.hello(name)
    s.send(bytes((one[0] & ~0x40,)) + one[1:])


def small_rest(s: Socket, name: str) -> None:
    """In a datagram that servers should not take, and this one does not (RFC 9000, 14.1)."""
    message = hello(name)[5:]
    s.send(initial(crypto(message[:70]), dcid=s.dcid), initial(crypto(message[70:], 70), number=1, dcid=s.dcid, pad=0))


def coalesced(s: Socket, name: str) -> None:
    message = hello(name)[5:]
    s.send(initial(crypto(message[:70]), dcid=s.dcid, pad=0) + initial(crypto(message[70:], 70), number=1, dcid=s.dcid))


def behind_a_decoy(s: Socket, name: str) -> None:
    """Two connections' in one datagram: a server reads the first's (RFC 9000, 12.2)."""
    s.send(initial(crypto(hello(DECOY)[5:]), dcid=s.dcid, pad=0) + s.hello(name, dcid=os.urandom(8))[0])


def early_data_first(s: Socket, name: str) -> None:
    s.send(long_packet(1, bytes(60), dcid=s.dcid), *s.hello(name))


def in_fragments(*cuts: int) -> Play:
    """The datagram's packet in pieces, the last one first."""

    def play(s: Socket, name: str) -> None:
        whole = datagram(s.place, s.hello(name)[0])
        s.send_packet(*fragments(s.place, whole, cuts, s.place.sport)[::-1])

    return play


def more_behind(s: Socket, name: str) -> None:
    """The packet goes on behind the datagram, with another."""
    s.send_packet(datagram(s.place, s.hello(name)[0], behind=s.hello(DECOY, dcid=os.urandom(8))[0][:200]))


def extended(s: Socket, name: str) -> None:
    """IPv6: extension headers between; IPv4 has none."""
    s.send(*s.hello(name), how=replace(HONEST, chain=(HOP_BY_HOP, DESTINATION_OPTIONS)))


def server_spoke_first(s: Socket, name: str) -> None:
    """What the client's side forges makes the flow the server's, where no reverse path filter is (IPv6)."""
    s.forge(_SHORT)
    time.sleep(_PAUSE)
    s.send(*s.hello(name))


TRICKS = (
    Trick("one datagram", sent(), "works"),
    Trick("version 2", sent(version=V2), "works"),
    Trick("a draft's version", sent(version=DRAFT29), "closed"),
    Trick("three datagrams", sent(70, 140), "works"),
    Trick("eight datagrams, the last one first", any_order, "works"),
    Trick("three datagrams, a second apart", slowly, "works"),
    Trick("three datagrams, each three times, at once", thrice, "works"),
    Trick("two datagrams, the second thirty times, at once", rest_again_and_again, "works"),
    Trick("a decoy that dies behind the gateway", decoy(_DYING), "closed"),
    Trick("a decoy that dies, of another connection id", decoy(_DYING, own=True), "works"),
    Trick("a decoy with a bad checksum", decoy(_BROKEN), "works"),
    Trick("the front of a decoy that dies", decoy(_DYING, cuts=(-40,)), "closed"),
    Trick("the rest of a decoy that dies", decoy_rest, "closed"),
    Trick("two copies that differ, in a packet", overlapping(DECOY), "closed"),
    Trick("two copies of the same, in a packet", overlapping(""), "works"),
    Trick("a second hello on an accelerated flow", second_hello, "works"),
    Trick("a second hello in parts on an accelerated flow", second_hello_in_parts, "works"),
    Trick("parts from two ports", from_two_ports(), "closed"),
    Trick("two hellos from two ports, half of each dies", from_two_ports(whole=True), "closed"),
    Trick("short headers first", junk(_SHORT, _SHORT), "works"),
    Trick("nonsense first", junk(b"nonsense", bytes(1200), b"\x80"), "works"),
    Trick("a long header of an unknown version first", junk(b"\xc0\x12\x34\x56\x78\x08" + bytes(1300)), "works"),
    Trick("a version that is made to be refused first", junk(b"\xc0\x1a\x2a\x3a\x4a\x08" + bytes(1300)), "works"),
    Trick("the fixed bit is 0", no_fixed_bit, "closed"),
    Trick("a datagram too small", sent(pad=0), "closed"),
    Trick("a rest too small to begin with", small_rest, "closed"),
    Trick("two packets in a datagram", coalesced, "works"),
    Trick("behind a decoy in the same datagram", behind_a_decoy, "closed"),
    Trick("0-RTT first", early_data_first, "works"),
    Trick("a packet number of a byte", sent(90, size=1), "works"),
    Trick("in fragments", in_fragments(8, 16, 120, 800), "works"),
    Trick("a packet that goes on behind the datagram", more_behind, "closed"),
    Trick("extension headers", extended, "works"),
    Trick("the server seems to have spoken first", server_spoke_first, "works"),
)
CASES = [Case(trick, family, name) for trick, family, name in product(TRICKS, FAMILIES, (BLOCKED, ALLOWED))]
