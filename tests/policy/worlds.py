"""Small random policies, and questions that are likely to hit what is special in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from math import inf
from random import Random
from typing import TypeVar
from zoneinfo import ZoneInfo

from nfqdpi.core.decision import Client
from nfqdpi.core.verdict import Verdict
from nfqdpi.policy.clients import ClientGroup
from nfqdpi.policy.index import NameIndex, build
from nfqdpi.policy.model import Policy, Rule
from nfqdpi.policy.names import Kind, Pattern
from nfqdpi.policy.schedule import Schedule, Window
from tests.policy.reference import Asked, Listed

LABELS = ("google", "notgoogle", "com", "example", "a", "ads", "xn--bcher-kva", "co", "casino-1")
WORDS = ("oog", "a", "casino", "e.c", ".", "-")
VERDICTS = (Verdict.BLOCK, Verdict.BLOCK_SILENT, Verdict.ACCELERATE, Verdict.INSPECT)
NETWORKS = tuple(map(ip_network, ("192.168.1.0/24", "192.168.1.7/32", "0.0.0.0/0", "fd00::/64", "fd00::7/128", "::/0")))
ADDRESSES = tuple(ip_address(text).packed for text in ("192.168.1.7", "192.168.1.8", "10.0.0.1", "fd00::7", "fd00::8",
                                                       "2001:db8::1"))
MACS = tuple(bytes((2, 0, 0, 0, 0, n)) for n in range(3))
INTERFACES = {2: "br-lan", 3: "br-guest"}
WINDOWS = ("mon-fri 21:00-07:00", "sat,sun 00:00-24:00", "08:00-12:00", "01:30-02:30", "sun 22:00-03:00",
           "wed 13:00-14:00")
YEAR = 1_767_225_600, 1_798_761_600  # 2026, in seconds since 1970

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class World:
    """A policy, and what it was made from."""

    rules: tuple[Rule, ...]
    default: Verdict
    lists: Mapping[str, Listed]
    policy: Policy


def world(random: Random) -> World:
    """Up to twelve rules, three lists and two schedules."""
    lists = {name: Listed(_patterns(random, 6), _patterns(random, 2)) for name in ("ads", "kids", "own")}
    zone = ZoneInfo(random.choice(("Europe/Berlin", "America/New_York", "Asia/Kathmandu")))
    schedules = [Schedule([Window.parse(one) for one in _some(random, WINDOWS, 3) or WINDOWS[:1]], zone) for _ in "12"]
    rules = tuple(_rule(random, f"rule {n}", tuple(lists), schedules) for n in range(random.randint(0, 12)))
    default = random.choice((Verdict.ACCELERATE, Verdict.BLOCK))
    index = NameIndex(build((name, listed.parsed()) for name, listed in lists.items()))
    return World(rules, default, lists, Policy(rules, default, index, lambda number: INTERFACES.get(number, "")))


def question(random: Random, world: World) -> Asked:
    """Some name, client and time."""
    return Asked(None if random.random() < 0.1 else name(random),
                 Client(random.choice(ADDRESSES), random.choice((*MACS, b"")), random.choice((0, *INTERFACES))),
                 random.uniform(*YEAR), frozenset(rule.name for rule in world.rules if random.random() < 0.5))


def name(random: Random) -> str:
    return ".".join(random.choices(LABELS, k=random.randint(1, 4)))


def _patterns(random: Random, most: int) -> tuple[Pattern, ...]:
    return tuple(_pattern(random) for _ in range(random.randint(0, most)))


def _pattern(random: Random) -> Pattern:
    kind = random.choice(tuple(Kind))
    return Pattern(kind, random.choice(WORDS) if kind is Kind.SUBSTRING else name(random))


def _rule(random: Random, name: str, lists: tuple[str, ...], schedules: list[Schedule]) -> Rule:
    groups = tuple(ClientGroup(_some(random, NETWORKS, 2), frozenset(_some(random, MACS, 1)),
                               _some(random, tuple(INTERFACES.values()), 1)) for _ in range(random.randint(0, 2)))
    return Rule(
        name, random.choice(VERDICTS), _patterns(random, 3), _some(random, lists, 2),
        groups=random.choice((None, None, groups)), schedule=random.choice((None, None, None, *schedules)),
        limit=random.choice((None, None, None, 60.0)), until=random.choice((inf, inf, inf, random.uniform(*YEAR))),
        enabled=random.random() < 0.9)


def _some(random: Random, of: tuple[T, ...], most: int) -> tuple[T, ...]:
    return tuple(random.sample(of, random.randint(0, min(most, len(of)))))
