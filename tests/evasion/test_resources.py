"""What an attacker can make the gateway hold, and what becomes of the others meanwhile."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nfqdpi.lab import gauges
from tests.evasion import flood
from tests.evasion.case import BLOCKED, FAMILIES, Case
from tests.evasion.matrix import CASES
from tests.evasion.stage import USUAL, Setting, Stage, leaked

pytestmark = pytest.mark.flood

HALF_OPEN = 50_000  # flows of each family
PARTS = 5
MOST_GROWTH = 192 << 20  # bytes of a worker: 128 MiB of flows, as the README states, and what the allocator adds
QUEUE_LENGTH = 64
TIMES = 5

HONEST = [case for case in CASES if "as an honest client" in case.trick.what]
FLOODED = [case for case in HONEST if case.name == BLOCKED]


def ask(stage: Stage, command: str) -> dict[str, Any]:
    """What the daemon answers."""
    args: list[str | Path] = [sys.executable, "-m", "nfqdpi", command, "--json", "-c", stage.daemon.config]
    answer: dict[str, Any] = json.loads(stage.lab.gateway.run(args).stdout)
    return answer


def memory(stage: Stage) -> list[int]:
    """What each worker holds, in bytes."""
    pids = [worker["pid"] for worker in ask(stage, "status")["workers"]]
    held = [re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text()) for pid in pids]
    return [int(found[1]) * 1024 for found in held if found]


def played(stage: Stage, cases: list[Case]) -> list[str]:
    """What went wrong with each of these cases."""
    return [f"{case}: {wrong}" for case, seen in stage.start(cases).items() if (wrong := seen.result().wrong)]


@pytest.fixture
def gateway(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """A stage of the test's own, in the setting that is its parameter."""
    with Stage(request.param) as standing:
        yield standing


def short_queue(fail: str) -> Setting:
    return Setting(f"fail {fail}", f'[queue]\nlength = {QUEUE_LENGTH}\n[fail]\ndefault = "{fail}"\n')


@pytest.mark.parametrize("gateway", [USUAL], indirect=True, ids=["defaults"])
def test_a_hundred_thousand_unfinished_hellos(gateway: Stage) -> None:
    """They cost a bounded number of megabytes, and no other client's flow its verdict."""
    before = memory(gateway)
    step = HALF_OPEN // PARTS
    for first in range(0, HALF_OPEN, step):
        for family in FAMILIES:
            flood.half_open(gateway, family, range(first, first + step))
        assert played(gateway, HONEST) == []
    grown = [now - then for then, now in zip(before, memory(gateway), strict=True)]
    print(f"a worker grew by {max(grown) >> 20} MiB at the most")
    assert max(grown) < MOST_GROWTH
    assert leaked(gateway.witnesses.everything()) == ""


@pytest.mark.parametrize("gateway", [short_queue("closed")], indirect=True, ids=["closed"])
def test_a_full_queue_fails_closed(gateway: Stage) -> None:
    """With fail-closed nothing passes unjudged, however full the queue is."""
    with flood.bursting(gateway):
        for _ in range(TIMES):
            assert played(gateway, FLOODED) == []
    assert flood.dropped(gateway.lab.gateway) > QUEUE_LENGTH
    assert leaked(gateway.witnesses.everything()) == ""


@pytest.mark.parametrize("gateway", [short_queue("open")], indirect=True, ids=["open"])
def test_a_full_queue_fails_open_and_says_so(gateway: Stage) -> None:
    """With fail-open what finds the queue full passes, and is counted."""
    with flood.bursting(gateway) as bursts:
        for _ in range(TIMES):
            played(gateway, FLOODED)
    passed = sum(burst.sent for burst in bursts) - gauges.queued(gateway.lab.gateway)
    assert passed > 0
    assert ask(gateway, "stats")["total"]["bypassed"] > passed / 2
