"""``./dev fuzz [SECONDS] [TARGET...]``: each target for so long, from the seeds and the kept corpus on."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from tests.fuzz import corpus
from tests.fuzz.targets import TARGETS

WORK = Path(".fuzz")  # corpora as they grow, logs, crashes; not in the repository
_SECONDS = 60
_LONGEST = {"engine": 256}  # bytes of an input; a script of so many has 60 moves
_LONGEST_ELSE = 4096
_HANG = 10  # seconds

_USAGE = f"usage: ./dev fuzz [SECONDS] [TARGET...]   targets: {' '.join(TARGETS)}"


@dataclass(frozen=True, slots=True)
class Run:
    """What became of a target: ``crashes`` are the files of inputs that raised, hung, or took too much memory."""

    target: str
    executions: int
    seconds: float
    crashes: list[Path]
    exit_code: int


def fuzz(target: str, seconds: int) -> Run:
    """Run libFuzzer; what it says goes to a log."""
    inputs, crashes = WORK / target, WORK / "crashes"
    longest = _LONGEST.get(target, _LONGEST_ELSE)
    corpus.spread(corpus.load(target), inputs)
    crashes.mkdir(exist_ok=True)
    before = set(crashes.iterdir())
    started = perf_counter()
    with (WORK / f"{target}.log").open("w") as log:
        done = subprocess.run(
            [sys.executable, "-m", "tests.fuzz.guided", target, inputs, f"-max_total_time={seconds}",
             f"-timeout={_HANG}", f"-max_len={longest}", f"-artifact_prefix={crashes}/{target}-",
             "-print_final_stats=1"],
            stdout=log, stderr=log, check=False)
    said = (WORK / f"{target}.log").read_text("utf-8", "replace")
    executed = re.search(r"stat::number_of_executed_units: *(\d+)", said)
    return Run(target, int(executed[1]) if executed else 0, perf_counter() - started,
               sorted(set(crashes.iterdir()) - before), done.returncode)


def slowest(target: str) -> tuple[float, int]:
    """(milliseconds, bytes) of the input that takes longest, not instrumented, the best of three times."""
    def took(data: bytes) -> float:
        started = perf_counter()
        TARGETS[target](data)
        return perf_counter() - started

    inputs = corpus.gathered(WORK / target)
    slow = sorted(inputs, key=took)[-5:]
    seconds, data = max(((min(took(data) for _ in range(3)), data) for data in slow), key=lambda pair: pair[0])
    return seconds * 1e3, len(data)


def main(arguments: list[str]) -> int:
    """The exit code: 1 for a crash, 2 for a wrong use, 5 where the fuzzer itself failed."""
    seconds = int(arguments.pop(0)) if arguments and arguments[0].isdigit() else _SECONDS
    if unknown := set(arguments) - set(TARGETS):
        print(f"no such target: {' '.join(sorted(unknown))}\n{_USAGE}", file=sys.stderr)
        return 2
    code = 0
    for target in arguments or TARGETS:
        run = fuzz(target, seconds)
        if run.crashes:
            code = 1
            for path in run.crashes:
                print(f"{target}: CRASH, kept in {path}")
                print(f"  reproduce: {sys.executable} -m tests.fuzz.one {target} {path}", flush=True)
        elif run.exit_code:
            code = code or 5
            print(f"{target}: the fuzzer failed with {run.exit_code}: see {WORK / target}.log", flush=True)
        else:
            ms, size = slowest(target)
            rate = run.executions / run.seconds
            print(f"{target}: {run.executions} executions in {run.seconds:.0f} s, {rate:.0f}/s; "
                  f"slowest input {ms:.2f} ms for {size} bytes", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
