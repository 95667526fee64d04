"""The matrix, TCP: how a stream is cut, ordered, repeated and dressed."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from nfqdpi.testing.http import request
from nfqdpi.testing.packets import ACK, FIN, PSH, URG
from tests.evasion.case import Attempt, Server, Trick, both, get, page, server_hello, shake
from tests.evasion.hellos import small
from tests.evasion.packets import DIES, HONEST, How, option, pieces
from tests.evasion.stage import TIMEOUT
from tests.evasion.stream import RawStream

_MOST = 60  # segments; [inspect] max_segments is 64


def everywhere(what: str, play: Callable[[int, RawStream, bytes, bytes], None]) -> list[Trick]:
    """At every byte of a request, and of the smallest ClientHello there is; a flow each."""

    def requests(name: str) -> list[Attempt]:
        text = request(name)
        return [Attempt(text, b"", page(name), partial(play, at)) for at in range(1, len(text))]

    def hellos(name: str) -> list[Attempt]:
        text = small(name)
        return [Attempt(text, b"", server_hello, partial(play, at)) for at in range(1, len(text))]

    return [Trick(what, Server.HTTP, requests, "works"), Trick(what, Server.TLS, hellos, "works")]


# --- cuts ---


def cut(at: int, s: RawStream, text: bytes, _: bytes) -> None:
    s.open().send(text[:at])
    s.send(text[at:])


def cut_reversed(at: int, s: RawStream, text: bytes, _: bytes) -> None:
    s.open().send(text[at:], at=at)
    s.send(text[:at], at=0)


def reversed_order(count: int, s: RawStream, text: bytes, _: bytes) -> None:
    s.open()
    for at, piece in reversed(list(pieces(text, -(-len(text) // count)))):
        s.send(piece, at=at)


def tiny(count: int, s: RawStream, text: bytes, _: bytes) -> None:
    s.open()
    for at, piece in pieces(text, -(-len(text) // count)):
        s.send(piece, at=at)


def stepwise(s: RawStream, text: bytes, _: bytes) -> None:
    """Each piece after the server has acknowledged the one before, as a Nagle sender does."""
    s.open()
    for at, piece in pieces(text, -(-len(text) // 6)):
        s.send(piece, at=at)
        s.await_ack(at + len(piece), 2)


def early_pieces(count: int, s: RawStream, text: bytes, _: bytes) -> None:
    """So many one-byte segments ahead of the first byte."""
    s.open()
    for at in range(1, count + 1):
        s.send(text[at : at + 1], at=at)
    s.send(text, at=0)


def drip(pause: float, s: RawStream, text: bytes, _: bytes) -> None:
    s.open()
    for at, piece in pieces(text, -(-len(text) // 6)):
        s.send(piece, at=at)
        time.sleep(pause)


def dying(first: bool, s: RawStream, text: bytes, _: bytes) -> None:
    """One half dies on the way and the other passes; then the one again, which a kernel does by itself."""
    half = len(text) // 2
    one, other = (0, text[:half]), (half, text[half:])
    dies, passes = (one, other) if first else (other, one)
    s.open().send(dies[1], at=dies[0], how=How(ttl=DIES))
    s.send(passes[1], at=passes[0])
    time.sleep(0.05)
    s.send(dies[1], at=dies[0])


# --- copies ---


def twice(s: RawStream, text: bytes, _: bytes) -> None:
    s.open()
    for at, piece in pieces(text, -(-len(text) // 5)):
        s.send(piece, at=at)
        s.send(piece, at=at)


def again(s: RawStream, text: bytes, _: bytes) -> None:
    """All of it again, before any answer and after it."""
    s.open()
    s.send(text, at=0)
    s.send(text, at=0)
    s.await_answer(seconds=1)
    s.send(text, at=0)


def coalesced(s: RawStream, text: bytes, _: bytes) -> None:
    """Two segments, then both as one."""
    half = len(text) // 2
    s.open()
    s.send(text[:half], at=0)
    s.send(text[half:-3], at=half)
    s.send(text, at=0)


def overlap(first: slice, second: slice, copy: str, s: RawStream, text: bytes, _: bytes) -> None:
    """Two pieces that overlap, in quarters of the text, then all of it; ``copy``: which differs, in each byte."""
    s.open()
    for part, differs in ((first, copy == "first"), (second, copy == "second")):
        at, end = (quarter * len(text) // 4 for quarter in part.indices(4)[:2])
        s.send(bytes(byte ^ differs for byte in text[at:end]), at=at)
    s.send(text, at=0)


OVERLAPS = {"in front": (slice(2, 3), slice(1, 3)), "behind": (slice(0, 2), slice(1, 3)),
            "inside": (slice(0, 3), slice(1, 2)), "around": (slice(1, 2), slice(0, 3))}


def lowered(count: int, s: RawStream, text: bytes, _: bytes) -> None:
    """The sequence number lowered by so many bytes of junk below the stream's first byte."""
    s.open()
    s.send(bytes(count) + text, at=-count)


def keep_alive_probes(s: RawStream, text: bytes, _: bytes) -> None:
    """One byte of garbage just below the next one (RFC 9293, 3.8.4), between the halves."""
    half = len(text) // 2
    s.open()
    s.send(b"\0", at=-1)
    s.send(text[:half], at=0)
    s.await_ack(half, 2)
    s.send(b"\0", at=half - 1)
    s.send(text[half:], at=half)


def wrapping(s: RawStream, text: bytes, _: bytes) -> None:
    """The sequence number wraps inside the text."""
    s.base = (1 << 32) - len(text) // 2
    s.open()
    tiny(4, s, text, _)


# --- dress ---


def dressed(how: How, s: RawStream, text: bytes, _: bytes) -> None:
    s.how = how
    s.open().send(text)


def narrow(s: RawStream, text: bytes, _: bytes) -> None:
    """The server may answer one byte, until it has."""
    s.how = How(window=1)
    s.open().send(text)
    s.await_answer(seconds=2)
    s.how = HONEST
    s.acknowledge()


def with_fin(s: RawStream, text: bytes, _: bytes) -> None:
    """The last segment is the client's last, as `shutdown` makes it."""
    half = len(text) // 2
    s.open().send(text[:half])
    s.send(text[half:], how=How(flags=FIN | PSH | ACK))


def urgent(s: RawStream, text: bytes, _: bytes) -> None:
    """A byte of junk in the name, marked urgent: a server reads the stream without it."""
    at = text.index(b".example") - 3
    s.open()
    s.send(text[:at] + b"X", how=How(flags=ACK | PSH | URG, urgent=at + 1))
    s.send(text[at:])


def urgent_flag(s: RawStream, text: bytes, _: bytes) -> None:
    s.open().send(text, how=How(flags=ACK | PSH | URG, urgent=1))


TRICKS = [
    *both("as an honest client sends it", partial(tiny, 1), "works"),
    *everywhere("cut in two at every byte", cut),
    *everywhere("cut in two at every byte, the second half first", cut_reversed),
    *both("3 segments, last first", partial(reversed_order, 3), "works"),
    *both("20 segments, last first", partial(reversed_order, 20), "works"),
    *both("each piece after the acknowledgement of the one before", stepwise, "works"),
    *both(f"in {_MOST} tiny segments", partial(tiny, _MOST), "works"),
    *both("20 segments of a byte ahead of the first byte", partial(early_pieces, 20), "works"),
    Trick("500 segments of a byte", Server.TLS, shake(partial(tiny, 500)), "closed"),
    *both("dripped, within the time limit", partial(drip, TIMEOUT / 15), "works", wait=TIMEOUT / 2.5),
    *both("dripped, slower than the time limit", partial(drip, TIMEOUT / 4), "closed", wait=TIMEOUT * 1.5),
    *both("the first half dies and is sent again", partial(dying, True), "works"),
    *both("the second half dies and is sent again", partial(dying, False), "works"),
    *both("each segment twice", twice, "works"),
    *both("all of it three times, once after the answer", again, "works"),
    *both("two segments, then one that holds both and more", coalesced, "works"),
    *(trick for where, parts in OVERLAPS.items() for trick in (
        *both(f"overlap {where}, equal bytes", partial(overlap, *parts, ""), "works"),
        *both(f"overlap {where}, the first copy differs", partial(overlap, *parts, "first"), "closed"),
        *both(f"overlap {where}, the second copy differs", partial(overlap, *parts, "second"), "closed"))),
    *(trick for count in (1, 10, 1000)
      for trick in both(f"sequence lowered by {count} bytes of junk", partial(lowered, count), "works")),
    *both("keep-alive probes with a byte of garbage", keep_alive_probes, "works"),
    *both("the sequence number wraps inside", wrapping, "works"),
    *(trick for words in (8, 9, 10) for trick in
      both(f"data offset {words}", partial(dressed, How(options=b"\x01" * (words - 5) * 4)), "works")),
    *(trick for kind in (34, 77, 253) for trick in
      both(f"unknown option {kind}", partial(dressed, How(options=option(kind, b"\1\2"))), "works")),
    *both("window 1", narrow, "works"),
    Trick("FIN with the last half", Server.HTTP, get(with_fin), "works"),
    *both("a byte of junk, urgent, in the name", urgent, "closed"),
    *both("urgent flag and pointer", urgent_flag, "works"),
]
