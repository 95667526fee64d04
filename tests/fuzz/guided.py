"""One target under libFuzzer: ``python -m tests.fuzz.guided TARGET [LIBFUZZER-ARGUMENT...]``."""

from __future__ import annotations

import sys

import atheris

# First of all: what is instrumented is what gets imported here.
with atheris.instrument_imports(include=["nfqdpi"]):
    from tests.fuzz.targets import TARGETS

if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    # libFuzzer calls itself by its first argument, through a shell, to go on behind an input that crashed a merge.
    atheris.Setup([f"{sys.executable} -m tests.fuzz.guided {name}", *arguments], TARGETS[name])
    atheris.Fuzz()
