"""The guard: how many instructions the engine takes for a flow, against a committed baseline.

Counted by valgrind on a fixed transcript, so the same on a busy machine as on a quiet one. What start-up takes is taken
off by the difference of two runs. The counts hold for one Python build: another has a baseline of its own.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

from nfqdpi.build import compiled
from nfqdpi.lab.cases import Mode

TOLERANCE = 0.03  # of the baseline's count
_FEW, _MANY = 200, 700  # pairs of flows
_BASELINE = Path(__file__).with_name("baseline.json")
_COUNTED = re.compile(r"I\s+refs:\s+([\d,]+)")

Counts = Mapping[str, float]


def check(*, write: bool = False) -> int:
    """Print the comparison; the exit code: 0 no slower, 1 slower, 2 no baseline for this Python."""
    known: dict[str, dict[str, float]] = json.loads(_BASELINE.read_text()) if _BASELINE.exists() else {}
    counts = {mode: instructions(mode) for mode in get_args(Mode)}
    if write:
        _BASELINE.write_text(json.dumps({**known, python(): counts}, indent=1, sort_keys=True) + "\n")
    elif python() not in known:
        print(f"no baseline for {python()}: {', '.join(f'{mode} {count:.0f}' for mode, count in counts.items())}; "
              "--set-baseline makes one")
        return 2
    slower = False
    for mode, count, before, change in compare(counts, counts if write else known[python()]):
        print(f"{mode:8}{count:10,.0f} instructions for a flow, {before:,.0f} in the baseline: {change:+.1%}")
        slower |= change > TOLERANCE
    print(f"slower by more than {TOLERANCE:.0%}" if slower else "no slower")
    return int(slower)


def compare(counts: Counts, baseline: Counts) -> list[tuple[str, float, float, float]]:
    """(mode, count, count of the baseline, share by which it has grown)."""
    return [(mode, count, baseline[mode], count / baseline[mode] - 1) for mode, count in counts.items()]


def instructions(mode: Mode) -> float:
    """For one flow, half of them HTTP, half TLS."""
    return (_run(mode, _MANY) - _run(mode, _FEW)) / (_MANY - _FEW) / 2


def python() -> str:
    """What the counts hold for."""
    kind = " compiled" if compiled() else ""
    return f"{platform.python_implementation()} {platform.python_version()} {platform.machine()}{kind}"


def _run(mode: Mode, flows: int) -> int:
    # Without the random seed of hashes the dictionaries, and so the counts, are the same each time.
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    command = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null",
               sys.executable, "-m", "bench.transcript", mode, str(flows)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    found = _COUNTED.search(done.stderr)
    if done.returncode or found is None:
        raise RuntimeError(f"valgrind: {done.stderr.strip()}")
    return int(found[1].replace(",", ""))
