"""What a policy is made of. Workers and supervisor make theirs of the same, each for itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from nfqdpi import assemble
from nfqdpi.config import Config
from nfqdpi.lists.compile import open_index
from nfqdpi.policy.clients import ClientGroup
from nfqdpi.policy.model import Policy
from nfqdpi.policy.overrides import Override


class Makings(NamedTuple):
    """Small, whatever the policy's size: ``names`` is the file of the compiled lists, which everybody maps (None: there
    are none). ``clients``: who goes by which name; ``spent``: the rules whose limits are reached today."""

    config: Config
    names: Path | None = None
    overrides: tuple[Override, ...] = ()
    clients: Mapping[str, ClientGroup] = {}
    spent: frozenset[str] = frozenset()

    def policy(self, now: float) -> Policy:
        """The policy, as of ``now`` in seconds since 1970. Raises OSError where the file cannot be mapped, and
        ValueError where the configuration cannot be meant."""
        names = open_index(self.names) if self.names is not None else None
        policy = assemble.policy(self.config, names, self.overrides, self.clients)
        policy.set_time(now, self.spent)
        return policy
