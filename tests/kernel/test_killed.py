"""A short run of ``python -m tests.kernel.killed``."""

from __future__ import annotations

from nfqdpi.lab.network import Lab
from tests.kernel.killed import kill_and_start
from tests.kernel.origin import Origin


def test_a_start_after_a_kill_has_a_whole_policy(lab: Lab, origin: Origin) -> None:
    """At whatever moment of an update, a compilation or a swap the supervisor was killed."""
    kill_and_start(lab, 4)
