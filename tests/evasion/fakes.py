"""The matrix, TCP: fake requests, resets and ends of stream that the server never gets, or does not take."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial

from nfqdpi.lab.network import Family
from nfqdpi.testing.packets import ACK, FIN, PSH, RST
from tests.evasion.case import FAMILIES, Fate, Trick, both
from tests.evasion.packets import DIES, HOP_BY_HOP, How, option
from tests.evasion.stream import RawStream

EARLIER = 12.0  # seconds; conntrack forgets a reset flow after 10


ENDS = {"RST": RST, "RST+ACK": RST | ACK, "FIN+ACK": FIN | ACK}
_ALL = ("data", *ENDS)
_WITH_ACK = ("data", "RST+ACK", "FIN+ACK")


@dataclass(frozen=True)
class Means:
    """A way to make a segment that the gateway might take for real and the server does not.

    ``valid``: what so made is valid to conntrack, of "data" and the ``ENDS``; ``dropped``: what of it nfqdpi drops.
    """

    name: str
    how: How
    valid: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    families: tuple[Family, ...] = FAMILIES

    def fate(self, kind: str) -> Fate:
        """Of the text that contradicts such data, or follows such an end: it fails if the gateway believed that."""
        return "closed" if kind in self.valid and kind not in self.dropped else "works"


MEANS = (
    Means("TTL", How(ttl=DIES), _ALL),
    Means("checksum", How(bad_checksum=True)),
    Means("sequence", How(seq=-10_000)),
    Means("sequence ahead", How(seq=200_000)),
    Means("ack", How(ack=-66_000), _ALL, _WITH_ACK),
    Means("ack ahead", How(ack=66_000), ("RST",)),  # where the field means nothing
    Means("no ACK", How(flags=PSH), ("RST", "RST+ACK")),
    Means("MD5", How(options=option(19, bytes(16))), _ALL, _ALL),
    Means("AO", How(options=option(29, bytes(14))), _ALL, _ALL),
    Means("timestamp", How(clock=-10_000_000), _ALL),
    Means("hop-by-hop", How(chain=(HOP_BY_HOP,)), _ALL, families=(6,)),  # which the server takes for real
    Means("hop-by-hop twice", How(chain=(HOP_BY_HOP, HOP_BY_HOP)), _ALL, families=(6,)),
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


def _fakes(means: Means) -> list[Trick]:
    fate = means.fate("data")
    return [
        *both(f"fake before: {means.name}", partial(before, means), fate, means.families),
        *both(f"fake between: {means.name}", partial(between, means), fate, means.families),
        *both(f"fake after the answer: {means.name}", partial(behind, means), "works", means.families),
        *both(f"fakes around each half: {means.name}", partial(sandwiched, means), fate, means.families),
    ]


def _ends(means: Means) -> list[Trick]:
    rows = []
    for name, flags in ENDS.items():
        fate = means.fate(name)
        # Conntrack has forgotten a flow that was reset, dropped or not; what follows is invalid (E9).
        later: Fate = "closed" if flags & RST and name in means.valid else fate
        rows += both(f"{name} before: {means.name}", partial(ended, means, flags, 0.05), fate, means.families)
        rows += both(f"{name} {EARLIER:.0f} s before: {means.name}", partial(ended, means, flags, EARLIER), later,
                     means.families, EARLIER)
        rows += both(f"{name} between: {means.name}", partial(ended_between, means, flags), fate, means.families)
    return rows


LYING = Means("TTL", How(flags=PSH, ttl=DIES, ack=1_000_000))

TRICKS = [
    *(trick for means in MEANS for trick in (*_fakes(means), *_ends(means))),
    *both("RST before: TTL, a number in the field without ACK", partial(ended, LYING, RST, 0.05), "closed"),
    *both("RST between: TTL, a number in the field without ACK", partial(ended_between, LYING, RST), "closed"),
]
