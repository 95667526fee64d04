"""The policy in force, and every way in which it changes: reload, changes by hand, the clock, limits, lists, clients.

Each change goes the same way: make the new policy beside the old one, hand it to every worker, wait until all decide by
it, then judge the flows that run already.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from time import time
from typing import Any

from nfqdpi import assemble
from nfqdpi.config import Config, ConfigError
from nfqdpi.daemon.child import ChildError, in_child
from nfqdpi.daemon.limits import Clock
from nfqdpi.daemon.live import LiveFlows, Settled
from nfqdpi.daemon.makings import Makings
from nfqdpi.daemon.record import Record
from nfqdpi.daemon.restart import differences, kept
from nfqdpi.daemon.troubles import Troubles
from nfqdpi.daemon.updates import update_due
from nfqdpi.lists.compile import clean, compile_lists
from nfqdpi.policy.model import Policy
from nfqdpi.policy.overrides import Override
from nfqdpi.state import State, StateError

_LOOK = 10.0  # s between two looks at what tells nobody when it changes: lists, leases, the state, the clock
_AGAIN = 0.6  # s after which flows are judged again: packets that waited in a queue have put old marks over ours

_MOST_BLOCKS = 64  # in force at once, of those that observers ask for
_DOMAIN = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)+")
_TROUBLE = (OSError, ValueError, StateError, ChildError)

# The troubles that there may be.
_CLIENTS = "the names of clients stay as they were"
_STATE = "changes by hand and limits stay as they were"
_USED = "the time used is not counted"
_LISTS = "lists stay as they were"
_FLOWS = "running flows could not be judged again"
_ALL = "the policy stays as it was"


class PolicyError(Exception):
    """There is no policy to start with; the message says why."""


class Governor:
    """``read`` gives the configuration as the files have it now (or raises ConfigError), ``govern`` hands makings to
    the workers, ``say`` is given a line for the operator."""

    def __init__(self, config: Config, record: Record, *, read: Callable[[], Config],
                 govern: Callable[[Makings], Awaitable[None]], say: Callable[[str], None]) -> None:
        self.policy = Policy()
        self.makings = Makings(config)
        self._read = read
        self._govern = govern
        self._say = say
        self._troubles = Troubles(say)
        self._changing = asyncio.Lock()
        self._state = State(config.state.directory)
        self._live = LiveFlows(record, config.field)
        self._clock = Clock(self._state, record, config.field)
        self._blocks: list[float] = []  # until when those are in force that observers asked for
        self._again: asyncio.Task[None] | None = None
        self._updates: asyncio.Task[None] | None = None

    @property
    def troubles(self) -> list[str]:
        """What is wrong now, a line each."""
        config, overrides = self.makings.config, self.makings.overrides
        return [
            *self._troubles,
            *(f"list {name!r} has not been fetched yet: rules match none of its names"
              for name in assemble.lists(config) if name not in self.policy.lists),
            # Names of clients come and go with their leases.
            *(f"{change.name!r} does nothing: {why}" for change in overrides
              if (why := assemble.nobody(change, config, None))),
        ]

    @property
    def limits(self) -> list[dict[str, Any]]:
        """For the control socket: each rule that has a limit, and how much of it is used today."""
        return [{"rule": rule.name, "used_s": round(used), "limit_s": float(limit)}
                for rule, limit, used in self._clock.used(self.policy)]

    @property
    def sweeping(self) -> list[dict[str, Any]]:
        """For the control socket: the changes by hand that are about every name, such as a pause."""
        return [{"action": change.action, "client": change.client, "group": change.group, "until": change.until}
                for change in self.makings.overrides if change.pattern is None]

    async def start(self) -> None:
        """Make the first policy; nobody has it yet. Without what cannot be read it is better than none. Raises
        PolicyError."""
        try:
            async with self._changing:  # a signal may want a reload already
                makings = await self._compiled(self.makings)
                self._rule(makings, makings.policy(time()))
        except _TROUBLE as error:
            raise PolicyError(str(error)) from error

    async def follow(self) -> None:
        """Bring in every change that comes by itself, until cancelled."""
        try:
            self._updates = asyncio.create_task(self._update())
            while True:
                now = time()
                wait = min(self.policy.next_change(now) - now, self._clock.pause(self.policy), _LOOK)
                await asyncio.sleep(max(wait, 0.01))
                with self._troubles.trying(_ALL, Exception):  # the next look may go better, and must not fail to come
                    await self._look()
        finally:
            for task in (self._again, self._updates):
                if task is not None:
                    task.cancel()
            try:
                self._clock.save()
            except (StateError, PermissionError) as error:
                self._say(str(error))

    async def reload(self) -> dict[str, Any]:
        """Read the configuration again, and put it in force. For the control socket: ``problems``, with which all stays
        as it was; ``restart``: keys whose new values only a start reads; ``troubles``: what is wrong nonetheless; flows
        ``cut`` and ``freed``."""
        async with self._changing:
            try:
                wanted = self._read()
                config = kept(wanted, self.makings.config)
                makings = self.makings._replace(config=config, clients=assemble.known_clients(config))
                settled = await self._adopt(await self._compiled(makings))
            except ConfigError as error:
                return {"problems": error.problems}
            except _TROUBLE as error:
                return {"problems": [str(error)]}
            return {"problems": [], "restart": differences(wanted, self.makings.config), "troubles": self.troubles,
                    **settled._asdict()}

    async def by_hand(self) -> dict[str, Any]:
        """The changes by hand are others now. For the control socket, as ``reload``."""
        async with self._changing:
            try:
                makings = await self._fresh(self.makings, self.policy)
                if why := self._troubles.why(_STATE):
                    return {"problems": [why]}
                settled = await self._adopt(makings)
            except _TROUBLE as error:
                return {"problems": [str(error)]}
            return {"problems": [], "troubles": self.troubles, **settled._asdict()}

    async def block(self, domain: str, client: str, seconds: float) -> list[str]:
        """A change by hand that no hand makes: no name below the domain for a client, for so many seconds. What is
        wrong, where it cannot be."""
        if not _DOMAIN.fullmatch(domain):
            return ["this is no domain"]  # off the wire, and a pattern's characters mean something
        now = time()
        self._blocks = [until for until in self._blocks if until > now]
        if len(self._blocks) >= _MOST_BLOCKS:  # each makes a policy, and clients' addresses may be forged
            return [f"{_MOST_BLOCKS} such changes are in force"]
        self._blocks.append(now + seconds)
        try:
            change = Override(0, "block", domain, client, None, now, now + seconds)
            await asyncio.to_thread(self._state.add, change)
        except _TROUBLE as error:
            return [str(error)]
        problems: list[str] = (await self.by_hand())["problems"]
        return problems

    async def _look(self) -> None:
        async with self._changing:
            if self._clock.pause(self.policy) <= 0:
                with self._troubles.trying(_USED, *_TROUBLE):
                    await self._clock.look(self.policy)
            makings = await self._fresh(self.makings, self.policy)
            if makings != self.makings or self.policy.set_time(time(), makings.spent):
                await self._adopt(makings)
        if self._updates is None or self._updates.done():
            self._updates = asyncio.create_task(self._update())

    async def _update(self) -> None:
        """Bring lists up to date whose time has come."""
        with self._troubles.trying(_LISTS, *_TROUBLE):
            if await update_due(self.makings.config, self._say):
                async with self._changing:
                    await self._adopt(await self._compiled(self.makings))

    async def _compiled(self, makings: Makings) -> Makings:
        """The same of the lists as they are stored now, and of all else that changes without a reload."""
        makings = makings._replace(names=await _names(makings.config))
        return await self._fresh(makings, makings.policy(time()))

    async def _fresh(self, makings: Makings, policy: Policy) -> Makings:
        """The makings, of which the policy is made, with all that changes without a reload. What cannot be read stays
        as it was, and keeps nothing else from changing."""
        if makings.names is not None and not makings.names.exists():  # the next worker could not begin
            makings = makings._replace(names=await _names(makings.config))
        now = time()
        clients, overrides, spent = makings.clients, makings.overrides, makings.spent
        with self._troubles.trying(_CLIENTS, *_TROUBLE):
            clients = assemble.known_clients(makings.config)
        with self._troubles.trying(_STATE, *_TROUBLE):
            overrides = self._state.overrides(now)
            spent = self._clock.spent(policy.rules, makings.config, now)
        return makings._replace(clients=clients, overrides=overrides, spent=spent)

    async def _adopt(self, makings: Makings) -> Settled:
        """From here on, this decides; of new flows and of those that run already."""
        policy = makings.policy(time())
        await self._govern(makings)
        self._rule(makings, policy)
        if self._again is not None:
            self._again.cancel()
        settled = await self._settle(await self._cut())
        self._again = asyncio.create_task(self._settle_again())
        return settled

    async def _cut(self) -> int:
        try:
            return await self._live.cut(self.policy)
        except OSError:
            return 0  # what comes next says so

    async def _settle(self, cut: int = 0) -> Settled:
        """``cut``: flows that were cut already."""
        settled = Settled()
        with self._troubles.trying(_FLOWS, *_TROUBLE):  # new flows are decided by the new policy all the same
            settled = await self._live.settle(self.policy, self.makings.config)
        return settled._replace(cut=settled.cut + cut)

    def _rule(self, makings: Makings, policy: Policy) -> None:
        self.makings, self.policy = makings, policy
        with suppress(OSError):
            clean(makings.config.state.directory, makings.names)

    async def _settle_again(self) -> None:
        await asyncio.sleep(_AGAIN)
        await self._settle()


async def _names(config: Config) -> Path | None:
    """The file of the compiled lists that rules name, as they are stored now."""
    lists = assemble.lists(config)
    return await in_child(compile_lists, config.state.directory, lists) if lists else None
