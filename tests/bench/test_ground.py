"""The benchmark's own network and programs, in the real kernel."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import pytest

from bench.contenders import CONTENDERS, names
from bench.ground import Ground
from nfqdpi.kernel.privileges import missing
from nfqdpi.lab import needs

pytestmark = pytest.mark.kernel
FLOWS = 100


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    if lacking := missing(*needs.CAPABILITIES):
        pytest.fail(f"needs root (no {', '.join(lacking)}): sudo ./dev test, or leave out: -m 'not kernel'")
    with Ground(f"nfqdpi-lab-testbench{os.getpid()}") as built:
        yield built


@pytest.mark.parametrize("kind", ["http", "curl", "chromium"])
@pytest.mark.parametrize("name", ["limit", "limit-strict", "fast", "strict", "string"])
def test_who_is_to_block_blocks(ground: Ground, name: str, kind: str) -> None:
    """One flow in ten asks for a blocked name; all others are answered."""
    contender = next(one for one in CONTENDERS if one.name == name)
    with contender.running(ground, names(ground, 20), 2):
        load = ground.load(ground.request(kind), FLOWS, "-b", 10)
    assert (load.answered, load.refused, load.through, load.failed) == (90, 10, 0, 0)


@pytest.mark.parametrize(("name", "marks"), [("limit", {"2", "3"}), ("limit-strict", {"2", "3"})])
def test_the_limit_gives_the_same_marks(ground: Ground, name: str, marks: set[str]) -> None:
    """ACCELERATE and BLOCK, as they stand in conntrack once the flows are through."""
    contender = next(one for one in CONTENDERS if one.name == name)
    ground.forget()
    with contender.running(ground, names(ground, 20), 1):
        ground.load(ground.request("curl"), FLOWS, "-b", 10)
        tracked = ground.gateway.run(["conntrack", "-L"]).stdout
    assert set(re.findall(r"mark=(\d+)", tracked)) == marks


def test_plain_forwarding_blocks_nothing(ground: Ground) -> None:
    """What goes through is seen."""
    load = ground.load(ground.request("http"), FLOWS, "-b", 10)
    assert (load.answered, load.through) == (90, 10)


def test_flows_are_held_open_without_sockets(ground: Ground) -> None:
    """For conntrack they are established long after both ends have let go."""
    contender = next(one for one in CONTENDERS if one.name == "conntrack")
    ground.forget()
    with contender.running(ground, names(ground, 20), 1):
        ground.hold(FLOWS)
        assert ground.gateway.run(["conntrack", "-L"]).stdout.count("ESTABLISHED") == FLOWS


def test_many_pairs_of_addresses_are_busy(ground: Ground) -> None:
    """So that --queue-balance spreads the flows over the queues."""
    contender = next(one for one in CONTENDERS if one.name == "conntrack")
    ground.forget()
    with contender.running(ground, names(ground, 20), 1):
        ground.load(ground.request("http"), FLOWS)
        tracked = ground.gateway.run(["conntrack", "-L"]).stdout
    assert len(set(re.findall(r"(src=10\.1\S+ dst=\S+)", tracked))) == FLOWS
