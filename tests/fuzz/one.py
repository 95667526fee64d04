"""Reproduces a crash: ``python -m tests.fuzz.one TARGET FILE``, without the fuzzer and with a plain traceback."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.fuzz.targets import TARGETS

if __name__ == "__main__":
    TARGETS[sys.argv[1]](Path(sys.argv[2]).read_bytes())
