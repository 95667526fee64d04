"""The matrix, IP: fragments of every kind, and what may stand between IPv6 and TCP."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import count

from nfqdpi.testing.tls import records
from tests.evasion import packets
from tests.evasion.case import DECOY, Attempt, Server, Trick, both, page, server_hello
from tests.evasion.hellos import padded
from tests.evasion.packets import DIES, How
from tests.evasion.stream import RawStream

_ident = count(1).__next__
_LARGE = 1400  # bytes of a fragment that fills a packet, a multiple of 8


def fragmented(size: int, order: Callable[[list[bytes]], list[bytes]], s: RawStream, text: bytes, _: bytes) -> None:
    """All of the text in one segment, in fragments of ``size`` bytes, in this order."""
    s.open()
    whole = s.packet(text, 0)
    cuts = range(size, 20 + len(text), size)
    for piece in order(packets.fragments(s.place, whole, cuts, _ident())):
        s.owner.send(piece)


def in_order(pieces: list[bytes]) -> list[bytes]:
    return pieces


def backwards(pieces: list[bytes]) -> list[bytes]:
    return pieces[::-1]


def doubled(pieces: list[bytes]) -> list[bytes]:
    return [piece for piece in pieces for _ in range(2)]


def overlapping(s: RawStream, text: bytes, _: bytes) -> None:
    """Each fragment carries eight bytes of the next: equal ones."""
    s.open()
    for piece in packets.fragments(s.place, s.packet(text, 0), range(24, 20 + len(text), 24), _ident(), overlap=8):
        s.owner.send(piece)


def contradicting(decoy_first: bool, s: RawStream, text: bytes, decoy: bytes) -> None:
    """The fragments of a decoy's packet between those of the text's, all of one datagram."""
    s.open()
    ident = _ident()
    real, fake = (packets.fragments(s.place, s.packet(data, 0), range(24, 20 + len(text), 24), ident)
                  for data in (text, decoy))
    for one, other in zip(fake[1:], real[1:], strict=True):
        for piece in (one, other) if decoy_first else (other, one):
            s.owner.send(piece)
    s.owner.send(real[0])


def dying_tail(s: RawStream, text: bytes, _: bytes) -> None:
    """The second half of the datagram has hops for no more than the gateway's next neighbour."""
    s.open()
    ident = _ident()
    first, _second = packets.fragments(s.place, s.packet(text, 0), [24], ident)
    start = 40 if s.place.family == 6 else 20
    s.owner.send(first)
    s.owner.send(packets.fragment(s.place, s.packet(text, 0)[start + 24 :], 24, ident, more=False, ttl=DIES))


def unfinished(s: RawStream, text: bytes, decoy: bytes) -> None:
    """A decoy's datagram that lacks its last fragment, then the text unfragmented."""
    s.open()
    for piece in packets.fragments(s.place, s.packet(decoy, 0), [24, 40], _ident())[:-1]:
        s.owner.send(piece)
    s.send(text)


def extended(how: How, s: RawStream, text: bytes, _: bytes) -> None:
    """The text, and nothing else, behind these extension headers."""
    s.open().send(text, how=how)


def all_extended(how: How, s: RawStream, text: bytes, _: bytes) -> None:
    s.how = how
    s.open().send(text)


def sized(size: int) -> list[Trick]:
    """One segment of so many bytes, in fragments that fill a packet; the name comes last. It reaches the queue as one
    packet, longer than what the library copies, and is dropped; smaller segments follow."""
    play = partial(fragmented, _LARGE, in_order)

    def requests(name: str) -> list[Attempt]:
        text, decoy = (f"GET / HTTP/1.1\r\nX: {'x' * size}\r\nHost: {host}\r\n\r\n".encode() for host in (name, DECOY))
        return [Attempt(text, decoy, page(name), play)]

    def hellos(name: str) -> list[Attempt]:
        return [Attempt(records(padded(name, size), 16384), b"", server_hello, play)]

    what = f"a segment of {size} bytes, in fragments"
    return [Trick(what, Server.HTTP, requests, "works"), Trick(what, Server.TLS, hellos, "works")]


CHAINS = {
    "an atomic fragment header": (packets.ATOMIC_FRAGMENT,),
    "destination options": (packets.DESTINATION_OPTIONS,),
    "a routing header": (packets.ROUTING,),
    "hop-by-hop options": (packets.HOP_BY_HOP,),
    "all of these": (packets.HOP_BY_HOP, packets.DESTINATION_OPTIONS, packets.ROUTING, packets.ATOMIC_FRAGMENT,
                     packets.DESTINATION_OPTIONS),
}

TRICKS = [
    *both("fragments of 8 bytes", partial(fragmented, 8, in_order), "works"),
    *both("fragments of 8 bytes, last first", partial(fragmented, 8, backwards), "works"),
    *both("fragments of 8 bytes, each twice", partial(fragmented, 8, doubled), "works"),
    *both("fragments of 24 bytes, last first", partial(fragmented, 24, backwards), "works"),
    *both("fragments that overlap, equal bytes", overlapping, "works"),
    *both("fragments that overlap, a decoy's first", partial(contradicting, True), "works"),
    *both("fragments that overlap, a decoy's second", partial(contradicting, False), "works"),
    *both("fragments, the second dies on the way", dying_tail, "works"),
    *both("fragments of a decoy, without an end", unfinished, "works"),
    *sized(4500),
    *sized(9000),
    *(trick for what, chain in CHAINS.items() for trick in (
        *both(f"the text behind {what}", partial(extended, How(chain=chain)), "works", (6,)),
        # A SYN that cannot be told from one with payload does not pass; conntrack takes a fragment header away.
        *both(f"every packet behind {what}", partial(all_extended, How(chain=chain)),
              "works" if chain == (packets.ATOMIC_FRAGMENT,) else "closed", (6,)))),
    *both("the text behind two hop-by-hop headers", partial(extended, How(chain=(packets.HOP_BY_HOP,) * 2)), "works",
          (6,)),
    *both("the text behind 9 headers", partial(extended, How(chain=(packets.DESTINATION_OPTIONS,) * 9)), "closed",
          (6,)),
]

