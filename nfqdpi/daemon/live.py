"""Flows that run already follow the policy: the ones that it blocks now are cut, the ones that it blocked are freed.

A flow is cut by its mark: the filter table then resets whoever sends next. The kernel says which flows there are and
what their marks are; the record says what they are for.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from itertools import islice
from typing import NamedTuple

from nfqdpi.config import Config
from nfqdpi.core.decision import Policy
from nfqdpi.core.memo import Memo
from nfqdpi.core.verdict import MarkField, Reason, Verdict
from nfqdpi.daemon.record import Decided, Record, unpack
from nfqdpi.kernel.conntrack import Conntrack, passages
from nfqdpi.kernel.ctnetlink import mark_attributes
from nfqdpi.kernel.netlink import Netlink
from nfqdpi.kernel.passage import Passage, named

RUNNING = (Verdict.ACCELERATE, Verdict.INSPECT, Verdict.CONFIRM)
_BLOCKED = frozenset((Verdict.BLOCK, Verdict.BLOCK_SILENT))
_BY_POLICY = frozenset((Reason.RULE, Reason.DEFAULT))
_REMEMBERED = 4096  # flows; all of a full record would take 80 MB
_AT_A_TIME = 1000  # flows, some milliseconds; then whatever else the supervisor has to do


class Settled(NamedTuple):
    """How many flows were cut, and freed."""

    cut: int = 0
    freed: int = 0


class Now(NamedTuple):
    """What would be decided of a flow now, and by which rule."""

    verdict: Verdict
    rule: str | None


class LiveFlows:
    """Brings tracked flows in line with a policy."""

    def __init__(self, record: Record, field: MarkField) -> None:
        self._record = record
        self._field = field
        self._unknown: set[bytes] = set()  # accelerated flows that nobody remembered, the last time

    async def cut(self, policy: Policy) -> int:
        """Cut the flows on record that the policy blocks now; how many there were. Quick, for it asks the kernel only
        for the few that are not accelerated: those behind DNAT it does not find. Raises OSError."""
        marks: defaultdict[Verdict, list[bytes]] = defaultdict(list)
        judge = _judge(policy, {})
        known = self._record.flows()  # before the kernel is asked: what is younger has a mark that was not looked at
        undecided = {key: state async for state, flows in by_and_by(self._field, (Verdict.INSPECT, Verdict.CONFIRM))
                     for key, _, _ in flows}
        for number, (key, packed) in enumerate(known.items(), 1):
            decided = unpack(packed)
            if decided.reason in _BY_POLICY and decided.before is Verdict.UNSEEN and decided.state not in _BLOCKED:
                now = judge[decided]
                if now.verdict in _BLOCKED:
                    self._record.put(key, decided.now_by(now.rule, undecided.get(key) or _confirmed(decided)))
                    marks[now.verdict].append(named(key))
            if number % _AT_A_TIME == 0:
                await asyncio.sleep(0)
        found = 0
        with Netlink() as kernel:
            for verdict, bodies in marks.items():
                for start in range(0, len(bodies), _AT_A_TIME):
                    some = bodies[start : start + _AT_A_TIME]
                    found += Conntrack(kernel).mark_named(some, self._field, verdict)
                    await asyncio.sleep(0)
        return found

    async def settle(self, policy: Policy, config: Config) -> Settled:
        """Judge all flows again that the kernel lists. One that nobody remembers is cut, where the configuration wants
        it, the second time that it is met: its event may be on its way the first time. Raises OSError."""
        judge = _judge(policy, config.exceptions)
        cutting = config.policy.untracked == "cut"
        unknown: set[bytes] = set()
        cut = freed = 0
        with Netlink() as kernel:
            conntrack = Conntrack(kernel)
            async for state, flows in by_and_by(self._field, (*RUNNING, *_BLOCKED)):
                marks: defaultdict[Verdict, list[bytes]] = defaultdict(list)
                for key, body, _ in flows:
                    decided = self._record.get(key)
                    if decided is None:
                        if state is Verdict.ACCELERATE:
                            unknown.add(key)
                            if cutting and key in self._unknown:
                                marks[Verdict.BLOCK].append(body)
                        continue
                    now = judge[decided]
                    if (now.verdict in _BLOCKED) is not (state in _BLOCKED):
                        wanted = self._change(key, decided, state, now)
                        if wanted is not state:
                            marks[wanted].append(body)
                for verdict, bodies in marks.items():
                    changed = conntrack.mark_named(bodies, self._field, verdict)
                    cut, freed = (cut + changed, freed) if verdict.blocks else (cut, freed + changed)
        self._unknown = unknown
        return Settled(cut, freed)

    def _change(self, key: bytes, decided: Decided, state: Verdict, now: Now) -> Verdict:
        """The state that a flow is to have which is blocked and should not be, or the other way round."""
        if now.verdict.blocks:
            self._record.put(key, decided.now_by(now.rule, state))
            return now.verdict
        if decided.before is Verdict.UNSEEN and not decided.verdict.blocks:
            return state  # it was not the policy that blocked it
        # What was blocked before it reached its server is judged anew, should anything come of it yet.
        self._record.put(key, decided.now_by(now.rule))
        return decided.before


def _confirmed(decided: Decided) -> Verdict:
    """The state of a flow that is no more undecided: the server's answer confirms a hello. What it says to a request to
    leave HTTP decides nothing here: a flow that may have stayed there is never accelerated (E12)."""
    if decided.state is not Verdict.CONFIRM:
        return decided.state
    return Verdict.INSPECT if decided.protocol == "http" else decided.verdict


def _judge(policy: Policy, exceptions: Mapping[Reason, Verdict]) -> Memo[Decided, Now]:
    """What the policy says now of flows; many are for the same, and asked for once."""
    return Memo(lambda decided: judged(decided, policy, exceptions), _REMEMBERED)


def judged(decided: Decided, policy: Policy, exceptions: Mapping[Reason, Verdict]) -> Now:
    """What the policy says now of a flow that was decided: as the engine would, asked for its names."""
    outcomes = [policy.decide(name, decided.client, decided.protocol) for name in decided.names or (None,)]
    outcome = next((one for one in outcomes if one.verdict.blocks), outcomes[0])
    if decided.reason in _BY_POLICY:
        return Now(outcome.verdict, outcome.rule)
    if decided.reason in (Reason.NO_NAME, Reason.UNKNOWN_PROTOCOL):
        return Now(exceptions[decided.reason] if outcome.rule is None else outcome.verdict, outcome.rule)
    if decided.verdict.blocks or outcome.rule is None or not outcome.verdict.blocks:
        return Now(decided.verdict, None)  # an exception: evidence against the flow, or a lack of it
    return Now(outcome.verdict, outcome.rule)


async def by_and_by(field: MarkField, states: Iterable[Verdict]) -> AsyncIterator[tuple[Verdict, list[Passage]]]:
    """The flows in these states, some at a time."""
    for state in states:
        async for flows in lots(passages(mark_attributes(field, state))):
            yield state, flows


async def lots(found: Iterator[Passage]) -> AsyncIterator[list[Passage]]:
    """The same, some at a time: between two lots the loop turns."""
    while flows := list(islice(found, _AT_A_TIME)):
        yield flows
        await asyncio.sleep(0)
