"""The configuration, and what the state directory holds, to the parts that they describe: policy and engine."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, tzinfo
from ipaddress import ip_address
from math import inf
from pathlib import Path
from zoneinfo import ZoneInfo

from nfqdpi import plugins
from nfqdpi.config import Config
from nfqdpi.config import model as keys
from nfqdpi.core.decision import Limits
from nfqdpi.core.engine import Engine
from nfqdpi.core.judge import KnownNames
from nfqdpi.core.plugin import Adviser, Reader
from nfqdpi.core.units import UnitTable
from nfqdpi.core.verdict import Verdict
from nfqdpi.lists.compile import look
from nfqdpi.policy.clients import ClientGroup, client_names, member_of
from nfqdpi.policy.index import NameIndex
from nfqdpi.policy.model import Policy, Rule
from nfqdpi.policy.names import Pattern
from nfqdpi.policy.overrides import Override
from nfqdpi.policy.schedule import Schedule, Window
from nfqdpi.state import State

_ACTIONS = {"accelerate": Verdict.ACCELERATE, "redirect": Verdict.ACCELERATE, "inspect": Verdict.INSPECT,
            "block": Verdict.BLOCK}
_BY_HAND = {"allow": Verdict.ACCELERATE, "block": Verdict.BLOCK}
_LARGEST = 16 << 20  # bytes of a file of client names
_LOCAL_TIME = Path("/etc/localtime")

Known = Mapping[str, ClientGroup]  # clients by their names


def policy(config: Config, names: NameIndex | None = None, overrides: Sequence[Override] = (),
           known: Known | None = None) -> Policy:
    """The changes by hand, the latest first, then the rules in order; one without a name is called by its number.
    ``names``: of the lists; ``known``: what ``known_clients`` gives."""
    known = known or {}
    groups = {group.name: ClientGroup.of(group.clients, group.interfaces, known) for group in config.group}
    zone = time_zone(config)
    schedules = {one.name: Schedule(tuple(map(Window.parse, one.windows)), zone) for one in config.schedule}
    latest_first = sorted(overrides, key=lambda change: change.id, reverse=True)  # a clock may have been put back
    rules = [_by_hand(change, groups, known) for change in latest_first]
    rules += [
        Rule(
            name=rule.called(number),
            verdict=_verdict(rule),
            patterns=tuple(map(Pattern.parse, rule.domains)),
            lists=rule.lists,
            groups=tuple(groups[group] for group in rule.groups) if rule.groups else None,
            schedule=schedules[rule.schedule] if rule.schedule else None,
            limit=rule.limit,
            protocols=frozenset(rule.protocols),
            redirect=tuple(ip_address(address).packed for address in rule.redirect),
            log=rule.log,
            enabled=rule.enabled,
        )
        for number, rule in enumerate(config.rule, 1)
    ]
    return Policy(rules, _ACTIONS[config.policy.default], names, _interface_name)


def known_clients(config: Config) -> dict[str, ClientGroup]:
    """The names that clients have. Raises OSError, and ValueError that names the file and, where known, the line."""
    path, leases = config.clients.names, config.clients.leases
    names = _text(path) if path else ""
    leased = _text(leases) if leases and Path(leases).exists() else ""
    try:
        return client_names(names, leased)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _text(path: str) -> str:
    """Another user's program may write the file: it is not waited for, and not of any size."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError(f"{path}: it is no regular file")
        text = file.read(_LARGEST + 1)
    if len(text) > _LARGEST:
        raise ValueError(f"{path}: larger than {_LARGEST >> 20} MiB")
    return text.decode(errors="replace")


def nobody(change: Override, config: Config, known: Known | None) -> str:
    """Why a change by hand is for nobody; "" where it is for somebody. ``known``: None leaves names of clients out."""
    if change.group is not None and all(group.name != change.group for group in config.group):
        return f"no group is named {change.group!r}"
    if change.client is None or known is None or change.client in known or member_of(change.client):
        return ""
    return f"no client is named {change.client!r}"


def lists(config: Config) -> tuple[str, ...]:
    """The lists that rules name, in the order of the configuration."""
    named = {name for rule in config.rule for name in rule.lists}
    return tuple(one.name for one in config.list if one.name in named)


def current(config: Config, now: float) -> Policy:
    """The policy with all that the state directory and the files of [clients] add to it, at a moment (seconds since
    1970). It may compute for seconds. Raises OSError, ValueError and StateError."""
    state = State(config.state.directory)
    found = policy(config, look(config.state.directory, lists(config)), state.overrides(now), known_clients(config))
    found.set_time(now, spent(found.rules, used(config, now)))
    return found


def used(config: Config, now: float) -> dict[str, float]:
    """Seconds that have been used of each limited rule on the day of ``now``, up to a minute ago. Raises StateError."""
    return State(config.state.directory).used(day(config, now))


def spent(rules: Iterable[Rule], used: Mapping[str, float]) -> frozenset[str]:
    """The names of the rules whose limit is reached; ``used``: seconds of the day by rule."""
    return frozenset(rule.name for rule in rules if rule.limit is not None and used.get(rule.name, 0.0) >= rule.limit)


def day(config: Config, now: float) -> str:
    """The day of ``now`` (seconds since 1970), as the state has it: 2026-11-30."""
    return datetime.fromtimestamp(now, time_zone(config)).date().isoformat()


def time_zone(config: Config) -> tzinfo:
    """Of schedules and days."""
    if config.policy.time_zone:
        return ZoneInfo(config.policy.time_zone)
    try:
        with _LOCAL_TIME.open("rb") as file:
            return ZoneInfo.from_file(file)
    except (OSError, ValueError):
        return UTC


def engine(config: Config, by: Policy, known: KnownNames | None = None,
           readers: Iterable[Reader] | None = None, units: UnitTable | None = None) -> Engine:
    """A new engine with these classifiers, or else with those of the plugins that are enabled, governed ``by`` this
    policy. Slow advisers among these classifiers advise at once; the others are asked. ``known``: what clients were
    told by DNS; ``units``: whose they are. Raises plugins.PluginError."""
    inspect = config.inspect
    limits = Limits(inspect.max_bytes, inspect.max_segments, inspect.timeout, inspect.max_flows)
    if readers is None:
        readers = (one for offered in plugins.readers(config.plugin).values() for one in offered)
    else:
        readers = (replace(one, slow=None) if isinstance(one, Adviser) else one for one in readers)
    return Engine(readers, by, config.exceptions, limits=limits, strict=inspect.mode == "strict",
                  simulate=config.simulated, known=known, units=units)


def _verdict(rule: keys.Rule) -> Verdict:
    return Verdict.BLOCK_SILENT if rule.action == "block" and rule.respond == "drop" else _ACTIONS[rule.action]


def _by_hand(change: Override, groups: Known, known: Known) -> Rule:
    members: tuple[ClientGroup, ...] | None = None
    if change.client is not None:
        members = (ClientGroup.of((change.client,), known=known),)
    elif change.group is not None:
        members = (groups[change.group],) if change.group in groups else ()
    patterns = (Pattern.parse(change.pattern),) if change.pattern is not None else ()
    return Rule(change.name, _BY_HAND[change.action], patterns, groups=members,
                until=inf if change.until is None else change.until)


def _interface_name(index: int) -> str:
    try:
        return socket.if_indextoname(index)
    except OSError:
        return ""
