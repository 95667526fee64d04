"""Data that leaves in names: tunnels through DNS, as iodine and dnscat make them.

Whoever moves data through a resolver has to ask for names that nobody has asked for before, all below one domain, and
long: what they carry is what they say. So of each client and domain the new names of some minutes are counted, and the
information in them: the entropy of their letters, letter by letter. Ordinary names say little, or are asked for again.
Short names do not count, so that none asked for in between hide the long ones.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable
from functools import partial
from ipaddress import ip_address
from math import log2
from typing import Annotated

import msgspec

from nfqdpi.core.observer import Block, Ended, Observer, Remark, Seen
from nfqdpi.core.plugin import Plugin

_MOST = 2048  # pairs of client and domain, the ones unused for longest go first
_MOST_NAMES = 1024  # of a pair that are told from new ones; enough to be sure


class Settings(msgspec.Struct, frozen=True):
    """A tunnel: at least so many ``names`` that are new, of at least ``length`` characters below the domain, which
    carry so many ``bytes``, within ``window`` seconds. ``ignore``: domains in which that is usual. ``block``: seconds
    for which the client gets no name below the domain; 0: it is only told of."""

    window: Annotated[float, msgspec.Meta(gt=0)] = 300.0
    names: Annotated[int, msgspec.Meta(ge=1, le=_MOST_NAMES)] = 50
    length: Annotated[float, msgspec.Meta(ge=0)] = 12.0
    bytes: Annotated[float, msgspec.Meta(ge=0)] = 500.0
    ignore: tuple[str, ...] = ()
    block: Annotated[float, msgspec.Meta(ge=0)] = 0.0


class _Pair:
    """What a client asked for below a domain since ``began``."""

    __slots__ = ("began", "information", "longest", "names", "told")

    def __init__(self, now: float) -> None:
        self.began = now
        self.told = False
        self.names: set[int] = set()
        self.longest = 0
        self.information = 0.0  # bytes


class Tunnels:
    """The observer at work."""

    def __init__(self, settings: Settings, _: bytes = b"") -> None:
        self._settings = settings
        self._ignored = (".arpa", *(f".{domain}" for domain in settings.ignore))  # who asks backwards carries nothing
        self._pairs: OrderedDict[tuple[bytes, str], _Pair] = OrderedDict()

    def seen(self, seen: Seen) -> Iterable[Remark]:
        """A question is counted."""
        if seen.protocol != "dns" or seen.blocked or not seen.domain or f".{seen.domain}".endswith(self._ignored):
            return
        below = seen.names[0].removesuffix(seen.domain).rstrip(".")
        if not below or len(below) < self._settings.length:
            return
        pair = self._pair(seen)
        name = hash(below)
        if name in pair.names or len(pair.names) >= _MOST_NAMES:
            return
        pair.names.add(name)
        pair.longest = max(pair.longest, *map(len, below.split(".")))
        pair.information += information(below)
        if not pair.told and self._is_tunnel(pair):
            pair.told = True
            yield self._remark(seen, pair)

    def ended(self, ended: Ended) -> Iterable[Remark]:
        """A tunnel is known before its flow ends."""
        return ()

    def memory(self) -> bytes:
        """Some minutes are soon over."""
        return b""

    def _pair(self, seen: Seen) -> _Pair:
        key = seen.client, seen.domain
        pair = self._pairs.get(key)
        if pair is None or seen.when - pair.began > self._settings.window:
            pair = self._pairs[key] = _Pair(seen.when)
        self._pairs.move_to_end(key)
        if len(self._pairs) > _MOST:
            self._pairs.popitem(last=False)
        return pair

    def _is_tunnel(self, pair: _Pair) -> bool:
        return len(pair.names) >= self._settings.names and pair.information >= self._settings.bytes

    def _remark(self, seen: Seen, pair: _Pair) -> Remark:
        client = ip_address(seen.client)
        block = Block(seen.domain, seen.client, self._settings.block) if self._settings.block else None
        return Remark("dns_tunnel", (
            f"{client} asks for ever new names below {seen.domain}, as a tunnel through DNS does: {len(pair.names)} in "
            f"{seen.when - pair.began:.0f} s, labels of up to {pair.longest} characters, {pair.information:.0f} bytes"),
            block)


def information(text: str) -> float:
    """Bytes that the characters of a name carry, if each is drawn anew from those that it has: Shannon's entropy."""
    size = len(text)
    return sum(-count * log2(count / size) for count in Counter(text).values()) / 8


def make(settings: Settings) -> tuple[Observer, ...]:
    """The observer with these settings."""
    return (Observer("dns_tunnels", "1", partial(Tunnels, settings)),)


plugin = Plugin(make, Settings, enabled=False)
