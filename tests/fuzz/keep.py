"""Keeps what fuzzing has found: ``python -m tests.fuzz.keep [TARGET...]`` writes, for each target, the fewest and
shortest inputs that reach all that its grown corpus reaches."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.fuzz import corpus
from tests.fuzz.__main__ import WORK
from tests.fuzz.seeds import SEEDS
from tests.fuzz.targets import TARGETS


def keep(target: str) -> int:
    """Minimise; the size of what is kept."""
    with TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "tests.fuzz.guided", target, "-set_cover_merge=1", folder, WORK / target],
                       check=True, capture_output=True)
        seeds = set(SEEDS[target]())
        return corpus.store(target, set(corpus.gathered(Path(folder))) - seeds)


if __name__ == "__main__":
    for name in sys.argv[1:] or TARGETS:
        print(f"{name}: {keep(name)} bytes")
