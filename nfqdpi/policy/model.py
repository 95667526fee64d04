"""The policy: rules in order, the first that matches client and name decides."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nfqdpi.core.decision import Client
from nfqdpi.core.verdict import Verdict
from nfqdpi.policy.names import Pattern, PatternIndex, canonical

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_CLIENTS_REMEMBERED = 4096  # addresses whose groups are remembered; about 1 MB


@dataclass(frozen=True, slots=True)
class Rule:
    """``verdict`` for names that match any of ``patterns`` (none: every flow, also one without a name), asked for by
    a client in any of ``clients`` (None: everybody)."""

    name: str
    verdict: Verdict
    patterns: tuple[Pattern, ...] = ()
    clients: tuple[Network, ...] | None = None

    def covers(self, client: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
        return self.clients is None or any(client in network for network in self.clients)


@dataclass(frozen=True, slots=True)
class Ruling:
    """What the policy says of one name: ``rule`` is None where the default spoke."""

    verdict: Verdict
    rule: str | None = None
    list: str | None = None
    pattern: Pattern | None = None


class Policy:
    """Decides names. Never raises on any name."""

    def __init__(self, rules: Sequence[Rule] = (), default: Verdict = Verdict.ACCELERATE) -> None:
        self.rules = tuple(rules)
        self.default = Ruling(default)
        self._index = PatternIndex((p, n) for n, rule in enumerate(self.rules) for p in rule.patterns)
        self._nameless = [n for n, rule in enumerate(self.rules) if not rule.patterns]
        self._rules_of: dict[bytes, frozenset[int]] = {}

    @property
    def revision(self) -> object:
        """Another one whenever what the policy says has changed."""
        return self

    def decide(self, name: str | None, client: Client) -> Ruling:
        """The ruling for a name (as the wire had it; None: there was none) that a client asks for."""
        mine = self._rules_of.get(client.address)
        if mine is None:
            mine = self._remember(client.address)
        first, matched = len(self.rules), None
        for number in self._nameless:
            if number in mine:
                first = number
                break
        if name is not None:
            for number, pattern in self._index.matches(canonical(name)):
                if number < first and number in mine:
                    first, matched = number, pattern
        if first == len(self.rules):
            return self.default
        rule = self.rules[first]
        return Ruling(rule.verdict, rule.name, None, matched)

    def passed_over(self, name: str | None, client: bytes) -> Iterator[tuple[Rule, str]]:
        """For ``explain``: each rule above the deciding one, with why it did not decide."""
        mine = self._rules_of.get(client) or self._remember(client)
        matching = {n for n, _ in self._index.matches(canonical(name))} if name is not None else set()
        for number, rule in enumerate(self.rules):
            by_name = not rule.patterns or number in matching
            if by_name and number in mine:
                return
            yield rule, "the name does not match" if not by_name else "the client is in none of its groups"

    def _remember(self, client: bytes) -> frozenset[int]:
        address = ipaddress.ip_address(client)
        mine = frozenset(n for n, rule in enumerate(self.rules) if rule.covers(address))
        if len(self._rules_of) >= _CLIENTS_REMEMBERED:
            self._rules_of.pop(next(iter(self._rules_of)))
        self._rules_of[client] = mine
        return mine
