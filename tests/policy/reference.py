"""The policy as a loop that tries everything in order: obviously right, and slow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import NamedTuple

from nfqdpi.core.decision import Client
from nfqdpi.core.verdict import Verdict
from nfqdpi.policy.clients import ClientGroup
from nfqdpi.policy.formats import Format, Parsed
from nfqdpi.policy.model import Rule
from nfqdpi.policy.names import Kind, Pattern


class Listed(NamedTuple):
    """A list: what it blocks, and what it takes out again."""

    blocked: tuple[Pattern, ...]
    excepted: tuple[Pattern, ...] = ()

    def parsed(self) -> Parsed:
        """As reading it would give it."""
        parsed = Parsed(Format.DOMAINS)
        for into, patterns in ((parsed.blocked, self.blocked), (parsed.excepted, self.excepted)):
            for pattern in patterns:
                into[pattern.kind].names.append(pattern.text)
        return parsed


class Asked(NamedTuple):
    """A name (canonical; None: none) that a client asks for, at a time, when the limits of some rules are reached."""

    name: str | None
    client: Client
    now: float
    spent: frozenset[str]


def matches(pattern: Pattern, name: str) -> bool:
    """What the four kinds mean, label by label."""
    if pattern.kind is Kind.SUBSTRING:
        return pattern.text in name
    mine, its = pattern.text.split("."), name.split(".")
    below = len(its) > len(mine) and its[-len(mine) :] == mine
    return (below and pattern.kind is not Kind.EXACT) or (its == mine and pattern.kind is not Kind.BELOW)


def on(listed: Listed, name: str) -> bool:
    """Listed, and no exception for it."""
    return (any(matches(pattern, name) for pattern in listed.blocked)
            and not any(matches(pattern, name) for pattern in listed.excepted))


def belongs(group: ClientGroup, client: Client, interfaces: Mapping[int, str]) -> bool:
    """By address, MAC address or interface."""
    return (any(ip_address(client.address) in network for network in group.networks)
            or any(client.mac == mac for mac in group.macs)
            or interfaces.get(client.interface, "") in group.interfaces)


def decide(rules: Sequence[Rule], default: Verdict, lists: Mapping[str, Listed], interfaces: Mapping[int, str],
           asked: Asked) -> tuple[Verdict, str | None, str | None]:
    """Verdict, rule and list of the first rule that matches."""
    for rule in rules:
        if not in_force(rule, asked.now) or (rule.limit is not None and rule.name not in asked.spent):
            continue
        if rule.groups is not None and not any(belongs(g, asked.client, interfaces) for g in rule.groups):
            continue
        if not rule.patterns and not rule.lists:
            return rule.verdict, rule.name, None
        if asked.name is not None:
            having = [name for name, listed in lists.items() if name in rule.lists and on(listed, asked.name)]
            if having or any(matches(pattern, asked.name) for pattern in rule.patterns):
                return rule.verdict, rule.name, having[0] if having else None
    return default, None, None


def in_force(rule: Rule, now: float) -> bool:
    """Enabled, in its schedule and not at its end."""
    return rule.enabled and now < rule.until and (rule.schedule is None or rule.schedule.active(now))
