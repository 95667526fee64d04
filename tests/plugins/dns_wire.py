"""DNS messages, and what a policy says of them."""

from __future__ import annotations

from dataclasses import dataclass

from nfqdpi.core.verdict import Verdict
from nfqdpi.testing.dns import *  # noqa: F403


@dataclass(frozen=True, slots=True)
class Advice:
    """What the policy says of a message."""

    verdict: Verdict
    redirect: tuple[bytes, ...] = ()
