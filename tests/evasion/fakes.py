"""The matrix, TCP: fake requests, resets and ends of stream that the server never gets, or does not take."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial

from nfqdpi.lab.network import Family
from tests.builders import ACK, FIN, PSH, RST
from tests.evasion.case import FAMILIES, Fate, Play, Server, Trick, get, shake
from tests.evasion.packets import DIES, HOP_BY_HOP, How, option
from tests.evasion.stream import RawStream

EARLIER = 12.0  # seconds; conntrack forgets a reset flow after 10


@dataclass(frozen=True)
class Means:
    """A way to make a segment that the gateway might take for real and the server does not.

    ``passes``: conntrack takes it for the client's. ``bare``: and its data is dropped all the same (E13). ``lands``:
    what the server takes all the same, of "data" and the ``ENDS``.
    """

    name: str
    how: How
    passes: bool = False
    bare: bool = False
    lands: tuple[str, ...] = ()
    families: tuple[Family, ...] = FAMILIES


ENDS = {"RST": RST, "RST+ACK": RST | ACK, "FIN+ACK": FIN | ACK}

MEANS = (
    Means("TTL", How(ttl=DIES), passes=True),
    Means("checksum", How(bad_checksum=True)),
    Means("sequence", How(seq=-10_000)),
    Means("sequence ahead", How(seq=200_000)),
    Means("ack", How(ack=-66_000), passes=True, lands=("RST", "RST+ACK")),  # only its place makes a reset valid
    Means("ack ahead", How(ack=66_000), lands=("RST",)),  # which has no ack
    Means("no ACK", How(flags=PSH), lands=("RST", "RST+ACK")),
    Means("MD5", How(options=option(19, bytes(16))), passes=True, bare=True),
    Means("AO", How(options=option(29, bytes(14))), passes=True, bare=True, lands=("data", *ENDS)),  # without TCP_AO
    Means("timestamp", How(clock=-10_000_000), passes=True, lands=("RST", "RST+ACK")),  # RFC 7323, 5.2
    Means("hop-by-hop", How(chain=(HOP_BY_HOP,)), passes=True, lands=("data", *ENDS), families=(6,)),
    Means("hop-by-hop twice", How(chain=(HOP_BY_HOP, HOP_BY_HOP)), passes=True, families=(6,)),
)


def opened(means: Means, s: RawStream) -> None:
    s.clock = means.how.clock != 0
    s.open()


def before(means: Means, s: RawStream, text: bytes, decoy: bytes) -> None:
    opened(means, s)
    s.send(decoy, at=0, how=means.how)
    time.sleep(0.02)
    s.send(text)


def between(means: Means, s: RawStream, text: bytes, decoy: bytes) -> None:
    half = len(text) // 2
    opened(means, s)
    s.send(text[:half], at=0)
    s.send(decoy, at=0, how=means.how)
    s.send(decoy[half:], at=half, how=means.how)
    time.sleep(0.02)
    s.send(text[half:], at=half)


def behind(means: Means, s: RawStream, text: bytes, decoy: bytes) -> None:
    opened(means, s)
    s.send(text)
    s.await_answer(seconds=2)
    s.send(decoy, at=0, how=means.how)


def sandwiched(means: Means, s: RawStream, text: bytes, decoy: bytes) -> None:
    """As the tools do: a fake before each half of the text, over its own range, and one after."""
    half = len(text) // 2
    opened(means, s)
    for start, stop in ((half, len(text)), (0, half)):
        s.send(decoy[start:stop], at=start, how=means.how)
        s.send(text[start:stop], at=start)
        s.send(decoy[start:stop], at=start, how=means.how)


def ended(means: Means, flags: int, wait: float, s: RawStream, text: bytes, _: bytes) -> None:
    """The flow's end, as far as the gateway can see, and then the text."""
    opened(means, s)
    s.send(at=0, how=replace(means.how, flags=flags & (means.how.flags | RST | FIN)))
    time.sleep(wait)
    s.send(text)


def ended_between(means: Means, flags: int, s: RawStream, text: bytes, _: bytes) -> None:
    half = len(text) // 2
    opened(means, s)
    s.send(text[:half], at=0)
    s.await_ack(half, 1)
    s.send(at=half, how=replace(means.how, flags=flags & (means.how.flags | RST | FIN)))
    time.sleep(0.02)
    s.send(text[half:], at=half)


def _both(what: str, means: Means, play: Play, allowed: Fate, wait: float = 0) -> list[Trick]:
    return [Trick(what, Server.HTTP, get(play), allowed, means.families, wait=wait),
            Trick(what, Server.TLS, shake(play), allowed, means.families, wait=wait)]


def _fakes(means: Means) -> list[Trick]:
    contradicts: Fate = "closed" if means.passes and not means.bare else "works"
    return [
        *_both(f"fake before: {means.name}", means, partial(before, means), contradicts),
        *_both(f"fake between: {means.name}", means, partial(between, means), contradicts),
        *_both(f"fake after the answer: {means.name}", means, partial(behind, means), "works"),
        *_both(f"fakes around each half: {means.name}", means, partial(sandwiched, means), contradicts),
    ]


def _ends(means: Means) -> list[Trick]:
    rows = []
    for name, flags in ENDS.items():
        fate: Fate = "closed" if name in means.lands else "works"
        # Conntrack has forgotten a flow that was reset; what follows is invalid (E9).
        later: Fate = "closed" if means.passes and flags & RST else fate
        rows += _both(f"{name} before: {means.name}", means, partial(ended, means, flags, 0.05), fate)
        rows += _both(f"{name} {EARLIER:.0f} s before: {means.name}", means, partial(ended, means, flags, EARLIER),
                      later, EARLIER)
        rows += _both(f"{name} between: {means.name}", means, partial(ended_between, means, flags), fate)
    return rows


TRICKS = [trick for means in MEANS for trick in (*_fakes(means), *_ends(means))]
