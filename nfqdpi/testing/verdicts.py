"""What an engine makes of the packets of whole flows, as on a gateway: it gets what the kernel's rules would queue."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from nfqdpi import assemble, plugins
from nfqdpi.config import of_table
from nfqdpi.core.engine import Engine
from nfqdpi.core.packet import Datagram, Segment, parse
from nfqdpi.core.plugin import Reader
from nfqdpi.replay.entry import Entry
from nfqdpi.replay.gate import Gate

_STEP = 0.001  # s from packet to packet

Table = Mapping[str, Any]  # of TOML, written as in the configuration
Make = Callable[[], Engine]


class Seen(NamedTuple):
    """A flow as ``nfqdpi replay`` tells it. ``proto`` is "" where no classifier knew it, ``name`` the first of its
    ``names``, "" where it has none, ``rule`` "" where none spoke."""

    proto: str
    name: str
    verdict: str
    reason: str
    rule: str
    names: tuple[str, ...]
    attributes: Mapping[str, str]

    @classmethod
    def of(cls, entry: Entry) -> Seen:
        row, told = entry.row(""), entry.told
        found = told.classification if told is not None else None
        names, attributes = ((), {}) if found is None else (found.names, found.attributes)
        return cls(row["proto"] or "", row["name"] or "", row["verdict"], row["reason"], row["rule"] or "", names,
                   attributes)


def engine(*readers: Reader, rules: Sequence[Table] = (), settings: Table | None = None) -> Engine:
    """An engine with these classifiers, or, where none is given, with those of all enabled plugins. ``settings``: a
    table as the configuration is one; ``rules``: its [[rule]] tables. Raises ConfigError, plugins.PluginError."""
    return maker(*readers, rules=rules, settings=settings)()


def maker(*readers: Reader, rules: Sequence[Table] = (), settings: Table | None = None) -> Make:
    """What makes such engines, each with no flow yet. Raises ConfigError, plugins.PluginError."""
    config = of_table({**(settings or {}), **({"rule": list(rules)} if rules else {})})
    asked = readers or [one for offered in plugins.readers(config.plugin).values() for one in offered]
    return partial(assemble.engine, config, assemble.policy(config), readers=asked)


def verdicts(packets: Iterable[bytes], *readers: Reader, rules: Sequence[Table] = (),
             settings: Table | None = None) -> list[Seen]:
    """What becomes of each flow (over UDP, on the ports that are read), in the order in which they begin; of DNS: of
    each message."""
    return seen_by(maker(*readers, rules=rules, settings=settings), packets)


def seen_by(make: Make, packets: Iterable[bytes]) -> list[Seen]:
    """What becomes of each flow before a new engine. Raises AssertionError where a classifier raises."""
    by, mirror = make(), make()
    ended: list[Entry] = []
    gate = Gate(by, mirror, ended.append)
    for number, packet in enumerate(packets):
        match parse(packet):
            case Segment() as segment:
                gate.pass_by(packet, segment, number * _STEP)
            case Datagram() as datagram:
                gate.datagram_by(datagram, number * _STEP)
    gate.close()
    if gate.failed:
        raise AssertionError(f"{gate.failed} packets could not be judged: {gate.failure}")
    return [Seen.of(entry) for entry in sorted(ended, key=lambda entry: entry.number)]


def verdict_of(packets: Iterable[bytes], *readers: Reader, rules: Sequence[Table] = (),
               settings: Table | None = None) -> Seen:
    """What becomes of the one flow that the packets are."""
    seen = verdicts(packets, *readers, rules=rules, settings=settings)
    if len(seen) != 1:
        raise AssertionError(f"{len(seen)} flows, not one")
    return seen[0]


def assert_verdict(packets: Iterable[bytes], verdict: str, *readers: Reader, name: str | None = None,
                   rules: Sequence[Table] = (), settings: Table | None = None) -> Seen:
    """The flow comes to this verdict, and, where one is given, by this name; what was seen of it."""
    seen = verdict_of(packets, *readers, rules=rules, settings=settings)
    if seen.verdict != verdict:
        raise AssertionError(f"{seen.verdict} ({seen.reason}), not {verdict}: {seen}")
    if name not in (None, seen.name):
        raise AssertionError(f"the name {seen.name!r}, not {name!r}: {seen}")
    return seen
