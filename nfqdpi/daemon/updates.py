"""List updates by the daemon: in a process of their own, each when it is due."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import time

from nfqdpi.config import Config
from nfqdpi.config.model import DomainList
from nfqdpi.daemon.child import in_child
from nfqdpi.lists.store import Store
from nfqdpi.lists.update import Outcome, Result, due, update


async def update_due(config: Config, say: Callable[[str], None]) -> bool:
    """Ask the sources whose time has come; True where a list that rules may name is another now. Raises OSError and
    ChildError."""
    sources = due(config.list, Store(config.state.directory), time())
    if not sources:
        return False
    results = await in_child(_update, sources, config.state.directory)
    for result in results:
        if result.problem:
            say(f"list {result.name!r}: not updated: {result.problem}")
    return any(result.outcome is Outcome.NEW for result in results)


def _update(sources: Sequence[DomainList], directory: str) -> list[Result]:
    return list(update(sources, Store(directory), lambda name, share: None))
