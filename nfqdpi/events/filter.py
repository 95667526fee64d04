"""Which events, or flows, are meant: by verdict, client, name, reason and rule, each wanted or not wanted."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import lru_cache
from ipaddress import ip_network
from typing import NamedTuple

from nfqdpi.events.model import Event, Line
from nfqdpi.policy.names import Pattern, canonical

KEYS = ("verdict", "client", "name", "reason", "rule")


class Subject(NamedTuple):
    """What a filter looks at. ``client`` is an address; None: not known, and equal to nothing."""

    verdict: str
    client: str
    mac: str = ""
    names: tuple[str, ...] = ()
    reason: str | None = None
    rule: str | None = None


Test = Callable[[Subject], bool]


def subject(event: Event) -> Subject:
    """Of an event."""
    verdict = event.verdict
    return Subject(verdict.action, event.src_ip, event.client.mac, event.names, verdict.reason, verdict.rule)


class Filter:
    """``wanted``: of each key that is named, one of its values must fit; ``unwanted``: none may. Both are pairs of a
    key and a value. Raises ValueError."""

    def __init__(self, wanted: Iterable[tuple[str, str]] = (), unwanted: Iterable[tuple[str, str]] = ()) -> None:
        self._values: dict[str, list[str]] = {}
        for key, value in wanted:
            self._values.setdefault(key, []).append(value)
        self._wanted = [[_test(key, value) for value in values] for key, values in self._values.items()]
        self._unwanted = [_test(key, value) for key, value in unwanted]

    def only(self, key: str) -> str | None:
        """The one value of a key that can pass; None where it is not that simple."""
        values = self._values.get(key, [])
        return values[0] if len(values) == 1 else None

    def __call__(self, what: Subject) -> bool:
        # Loops take a third of the time that generators do, which counts where a table of flows is looked through.
        for tests in self._wanted:
            for test in tests:
                if test(what):
                    break
            else:
                return False
        for test in self._unwanted:  # noqa: SIM110  the same
            if test(what):
                return False
        return True


def wanted(accepts: Filter | None, since: datetime | None) -> Callable[[Line], bool]:
    """True of events that the filter accepts, and are not older. Where no filter asks for verdicts, of notices too.
    It raises ValueError of a time or an address that is none."""

    def test(line: Line) -> bool:
        try:
            if since is not None and datetime.fromisoformat(line.timestamp).astimezone() < since:
                return False
            return accepts is None or (isinstance(line, Event) and accepts(subject(line)))
        except (OSError, OverflowError) as error:
            raise ValueError(str(error)) from error

    return test


def _test(key: str, value: str) -> Test:
    match key:
        case "verdict":
            return lambda what: what.verdict == value
        case "reason":
            return lambda what: what.reason == value
        case "rule":
            return lambda what: what.rule == value
        case "client":
            return _client(value)
        case "name":
            return _name(value)
        case _:
            raise ValueError(f"{key!r} is none of {', '.join(KEYS)}")


def _client(value: str) -> Test:
    """An address, a network or a MAC address."""
    mac = value.lower().replace("-", ":")
    if mac.count(":") == 5 and all(len(part) == 2 for part in mac.split(":")):
        return lambda what: what.mac == mac
    try:
        network = ip_network(value)
    except ValueError as error:
        raise ValueError(f"{value!r} is no address, network or MAC address: {error}") from None

    family = socket.AF_INET if network.version == 4 else socket.AF_INET6
    host_bits = network.max_prefixlen - network.prefixlen
    prefix = int(network.network_address) >> host_bits

    def contains(what: Subject) -> bool:
        # Three times as fast as ipaddress, which counts where a table of flows is looked through.
        return ((":" in what.client) == (family == socket.AF_INET6)
                and int.from_bytes(socket.inet_pton(family, what.client), "big") >> host_bits == prefix)

    return contains


def _name(value: str) -> Test:
    """A domain pattern, as in a rule."""
    pattern = Pattern.parse(value)

    @lru_cache(maxsize=65536)
    def matches(name: str) -> bool:
        return pattern.matches(canonical(name))

    return lambda what: any(map(matches, what.names))
