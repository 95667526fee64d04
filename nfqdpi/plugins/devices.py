"""What kind a device is of, by the domains that it speaks to, and when it speaks to one that its kind does not know.

A camera speaks to its maker, a clock to its time servers, and to nobody else, year in, year out. So who says which
device is what teaches the table what each kind speaks to; any other device that speaks to the same is guessed to be of
that kind, and one of a kind that has been known for long and begins to speak to somebody new is worth a word.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from functools import partial
from ipaddress import ip_address
from typing import Annotated

import msgspec

from nfqdpi.core.observer import Ended, Observer, Remark, Seen
from nfqdpi.core.plugin import Plugin

_MOST_KINDS, _MOST_DEVICES = 64, 1024  # the device unheard for longest goes first
_HALF = 0.5
_MOST_DOMAINS = 256  # of each; a device with more is no thing but a person's


class Settings(msgspec.Struct, frozen=True):
    """``kinds``: what is known of devices, by MAC or IP address: ``"aa:bb:cc:dd:ee:ff" = "camera"``. ``learn``: seconds
    after a kind's first device was heard in which whatever its devices speak to is usual. A device of no known kind is
    guessed to be of the one that knows so large a share (``alike``) of its domains, once it has ``least`` of them."""

    kinds: dict[str, str] = {}
    learn: Annotated[float, msgspec.Meta(ge=0)] = 7 * 86400.0
    alike: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.8
    least: Annotated[int, msgspec.Meta(ge=1, le=_MOST_DOMAINS)] = 3


class Kind(msgspec.Struct):
    """What its devices speak to; ``since``: when the first was heard, in seconds since 1970."""

    since: float
    domains: set[str] = set()


class Device(msgspec.Struct):
    """What one speaks to, the kind that it is guessed to be of ("": none), and what was told of it."""

    guess: str = ""
    domains: set[str] = set()
    told: set[str] = set()


class Table(msgspec.Struct):
    """What was learned, as its file has it."""

    kinds: dict[str, Kind] = {}
    devices: dict[str, Device] = {}


class Devices:
    """The observer at work."""

    def __init__(self, settings: Settings, memory: bytes) -> None:
        table = msgspec.json.decode(memory, type=Table) if memory else Table()
        self._settings = settings
        self._said = {device.lower(): kind for device, kind in settings.kinds.items()}
        self._kinds = table.kinds
        self._devices = OrderedDict(table.devices)

    def seen(self, seen: Seen) -> Iterable[Remark]:
        """A device speaks to a domain, or asks for it."""
        if not seen.domain or seen.blocked:
            return
        who, device = self._device(seen)
        kind = self._said.get(who) or self._said.get(str(ip_address(seen.client)), "")
        if kind:
            yield from self._known(kind, who, device, seen)
        elif seen.domain not in device.domains and len(device.domains) < _MOST_DOMAINS:
            device.domains.add(seen.domain)
            yield from self._guess(who, device)
        if not kind and device.guess:
            yield from self._strange(device.guess, "looks like", who, device, seen)

    def ended(self, ended: Ended) -> Iterable[Remark]:
        """What it moved says nothing of its kind."""
        return ()

    def memory(self) -> bytes:
        """The table."""
        return msgspec.json.format(msgspec.json.encode(Table(self._kinds, dict(self._devices))), indent=1)

    def _device(self, seen: Seen) -> tuple[str, Device]:
        who = seen.mac.hex(":") if any(seen.mac) else str(ip_address(seen.client))
        device = self._devices.setdefault(who, Device())
        self._devices.move_to_end(who)
        if len(self._devices) > _MOST_DEVICES:
            self._devices.popitem(last=False)
        return who, device

    def _known(self, kind: str, who: str, device: Device, seen: Seen) -> Iterable[Remark]:
        """One whose kind was said teaches it, while it learns."""
        if kind not in self._kinds and len(self._kinds) < _MOST_KINDS:
            self._kinds[kind] = Kind(seen.when)
        if (table := self._kinds.get(kind)) is None:
            return
        if seen.when - table.since <= self._settings.learn and len(table.domains) < _MOST_DOMAINS:
            table.domains.add(seen.domain)
        yield from self._strange(kind, "is", who, device, seen)

    def _strange(self, kind: str, how: str, who: str, device: Device, seen: Seen) -> Iterable[Remark]:
        """A domain that its kind does not know, though it has learned, is told of once."""
        table, domain = self._kinds[kind], seen.domain
        if domain in table.domains | device.told or seen.when - table.since <= self._settings.learn:
            return
        if len(device.told) < _MOST_DOMAINS:
            device.told.add(domain)
            yield Remark("device_strange", f"{who}, which {how} a {kind}, speaks to {domain}: no {kind} did before")

    def _guess(self, who: str, device: Device) -> Iterable[Remark]:
        """Which kind it is of by now. It stays so until that kind knows less than half of its domains: what a device
        does for the first time must not make it one of no kind."""
        count = len(device.domains)
        shares = {name: len(kind.domains & device.domains) / count for name, kind in self._kinds.items()}
        best = max(shares, key=lambda name: shares[name], default="")
        if not best or count < self._settings.least or shares[best] < self._settings.alike:
            best = device.guess if shares.get(device.guess, 0.0) >= _HALF else ""
        if best and best != device.guess:
            yield Remark("device_kind", f"{who} looks like a {best}: it speaks to "
                                        f"{', '.join(sorted(self._kinds[best].domains & device.domains)[:8])}")
        device.guess = best


def make(settings: Settings) -> tuple[Observer, ...]:
    """The observer with these settings."""
    return (Observer("devices", "1", partial(Devices, settings)),)


plugin = Plugin(make, Settings, enabled=False)
