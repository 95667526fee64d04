"""The policy: rules in order, the first that matches client, time and name decides.

Sets of rules are masks: bit n is rule n. A name has a mask (patterns, lists), a client has one (groups), the moment has
one (schedules, limits); the lowest bit that all three share is the rule that decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import inf

from nfqdpi.core.decision import Client, Outcome
from nfqdpi.core.memo import Memo
from nfqdpi.core.verdict import Reason, Verdict
from nfqdpi.policy.clients import ClientGroup
from nfqdpi.policy.index import NameIndex
from nfqdpi.policy.names import Pattern, PatternIndex, canonical
from nfqdpi.policy.schedule import Schedule

_REMEMBERED = 4096  # clients whose rules are remembered, about 1 MB; and sets of lists, of which there are a handful


@dataclass(frozen=True, slots=True)
class Rule:
    """``verdict`` for names that match any of ``patterns`` or stand on any of ``lists`` (with neither: every flow, also
    one without a name), asked for by a client in any of ``groups`` (None: everybody), while ``schedule`` is active and
    before ``until`` (seconds since 1970). A rule with a ``limit`` (seconds a day) matches once that much is used.
    ``protocols``: only flows that speak one of them. ``redirect``: addresses of 4 or 16 bytes that DNS answers with.
    ``log``: its verdicts are worth an event."""

    name: str
    verdict: Verdict
    patterns: tuple[Pattern, ...] = ()
    lists: tuple[str, ...] = ()
    groups: tuple[ClientGroup, ...] | None = None
    schedule: Schedule | None = None
    limit: float | None = None
    until: float = inf
    protocols: frozenset[str] = frozenset()
    redirect: tuple[bytes, ...] = ()
    log: bool = True
    enabled: bool = True


class Policy:
    """Decides names. Never raises on any name. ``interface_name`` gives the name to an interface's index, "" where
    there is none. Until ``set_time`` is called, no schedule is active and no limit reached.

    ``revision`` is another object whenever what the policy says has changed; ``lists`` are those that there are."""

    def __init__(self, rules: Sequence[Rule] = (), default: Verdict = Verdict.ACCELERATE,
                 names: NameIndex | None = None, interface_name: Callable[[int], str] = lambda index: "") -> None:
        self.rules = tuple(rules)
        self.lists = names.lists if names is not None else ()
        self.default = Outcome(default, Reason.DEFAULT)
        self.revision = object()
        self._lists_of = names.lists_of if names is not None else lambda name: 0
        self._interface_name = interface_name
        self._patterns = PatternIndex((p, n) for n, rule in enumerate(self.rules) for p in rule.patterns)
        self._nameless = self._mask(lambda rule: not rule.patterns and not rule.lists)
        self._lists = [names.numbers(rule.lists) if names is not None else 0 for rule in self.rules]
        self._spoken = self._mask(lambda rule: bool(rule.protocols))
        self._limited = self._mask(lambda rule: rule.limit is not None)
        self._timely = self._mask(lambda rule: rule.enabled and rule.schedule is None)  # but for the limits
        self._active = self._timely & ~self._limited
        self._spent: frozenset[str] = frozenset()
        self._settled = (-inf, -inf)  # from when to when nothing changes by itself
        self._rules_of = Memo(self._for_client, _REMEMBERED)
        self._listing = Memo(self._for_lists, _REMEMBERED)
        self._outcomes = Memo(self._outcome, _REMEMBERED)
        self._speaking = Memo(self._for_protocol, _REMEMBERED)

    def decide(self, name: str | None, client: Client, protocol: str = "") -> Outcome:
        """What becomes of a name (as the wire had it; None: there was none) that a client asks for in a protocol."""
        rules, lists = self._naming(name)
        hits = rules & self._active
        if not hits:
            return self.default  # as for most names, which need not pay for more
        hits &= self._rules_of[client]
        if hits & self._spoken:
            hits &= self._speaking[protocol]
        return self._outcomes[hits & -hits, lists] if hits else self.default

    def uses(self, name: str | None, client: Client, protocol: str = "") -> tuple[Rule, ...]:
        """The rules on whose limits the client's time with this name counts, reached or not: those that are in force by
        their schedules, match, and are above the first rule that decides without a limit."""
        hits = self._naming(name)[0] & self._rules_of[client] & self._timely & self._speaking[protocol]
        unlimited = hits & ~self._limited
        above = (unlimited & -unlimited) - 1
        counted = hits & self._limited & above
        return tuple(rule for number, rule in enumerate(self.rules) if counted >> number & 1)

    def passed_over(self, name: str | None, client: Client, protocol: str = "") -> Iterator[tuple[Rule, str]]:
        """For ``explain``: each rule above the deciding one, with why it did not decide."""
        by_name, by_client, by_protocol = self._naming(name)[0], self._rules_of[client], self._speaking[protocol]
        for number, rule in enumerate(self.rules):
            bit = 1 << number
            if by_name & by_client & by_protocol & self._active & bit:
                return
            if not rule.enabled:
                yield rule, "it is not enabled"
            elif not by_name & bit:
                yield rule, "the name does not match"
            elif not by_client & bit:
                yield rule, "the client is in none of its groups"
            elif not by_protocol & bit:
                yield rule, f"it is for {', '.join(sorted(rule.protocols))} only"
            elif not self._timely & bit:
                yield rule, "it has ended" if self._settled[0] >= rule.until else "its schedule is not active"
            else:
                yield rule, "its limit is not reached"

    def set_time(self, now: float, spent: frozenset[str] = frozenset()) -> bool:
        """``now`` in seconds since 1970; ``spent``: the names of the rules whose limits are reached today. True where
        what the policy says has changed."""
        since, until = self._settled
        if since <= now < until and spent == self._spent:
            return False
        schedules = {rule.schedule: rule.schedule.active(now) for rule in self.rules if rule.schedule is not None}
        self._timely = self._mask(lambda rule: rule.enabled and now < rule.until and (
            rule.schedule is None or schedules[rule.schedule]))
        active = self._timely & self._mask(lambda rule: rule.limit is None or rule.name in spent)
        self._settled, self._spent = (now, self.next_change(now)), spent
        if active == self._active:
            return False
        self._active, self.revision = active, object()
        return True

    def next_change(self, now: float) -> float:
        """When what it says may change next by itself, in seconds since 1970; infinity where it never does."""
        schedules = {rule.schedule for rule in self.rules if rule.enabled and rule.schedule is not None}
        return min((*(schedule.next_edge(now) for schedule in schedules),
                    *(rule.until for rule in self.rules if rule.until > now)), default=inf)

    def _naming(self, name: str | None) -> tuple[int, int]:
        """The rules that match the name, whoever asks, and the lists that it is on."""
        if name is None:
            return self._nameless, 0
        name = canonical(name)
        rules = self._nameless | self._patterns.matches(name)
        lists = self._lists_of(name)
        return (rules | self._listing[lists], lists) if lists else (rules, 0)

    def _for_client(self, client: Client) -> int:
        interface = self._interface_name(client.interface) if client.interface else ""
        return self._mask(lambda rule: rule.groups is None or any(g.contains(client, interface) for g in rule.groups))

    def _for_protocol(self, protocol: str) -> int:
        return self._mask(lambda rule: not rule.protocols or protocol in rule.protocols)

    def _for_lists(self, lists: int) -> int:
        return sum(1 << number for number, named in enumerate(self._lists) if named & lists)

    def _outcome(self, of: tuple[int, int]) -> Outcome:
        """By the bit of a rule, and the lists that the name is on: the first of the rule's is told."""
        first, lists = of
        number = first.bit_length() - 1
        rule, on = self.rules[number], lists & self._lists[number]
        return Outcome(rule.verdict, Reason.RULE, rule.name, self.lists[(on & -on).bit_length() - 1] if on else None,
                       rule.redirect)

    def _mask(self, of: Callable[[Rule], bool]) -> int:
        return sum(1 << number for number, rule in enumerate(self.rules) if of(rule))
