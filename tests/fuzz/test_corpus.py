"""What fuzzing has found stays found: every kept input and every seed, without the fuzzer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz import corpus
from tests.fuzz.__main__ import main
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("target", TARGETS)
def test_kept_inputs(target: str) -> None:
    """No input raises."""
    inputs = corpus.load(target)
    assert len(inputs) > 5
    for data in inputs:
        TARGETS[target](data)


def test_the_corpus_is_small() -> None:
    """It is in the repository: less than 300 kB in all."""
    assert sum(path.stat().st_size for path in (Path(__file__).parent / "corpus").iterdir()) < 300_000


def test_a_crash_is_reproduced_by_the_command_that_is_printed(tmp_path: Path) -> None:
    """Without the fuzzer: an input that is well runs through, and one that is not ends in its traceback."""
    command = [sys.executable, "-m", "tests.fuzz.one"]
    sample = tmp_path / "sample"
    sample.write_bytes(b"\0\0GET / HTTP/1.1\r\n\r\n")
    subprocess.run([*command, "http", sample], check=True)
    failed = subprocess.run([*command, "http", tmp_path / "missing"], capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert "FileNotFoundError" in failed.stderr


def test_an_unknown_target(capsys: pytest.CaptureFixture[str]) -> None:
    """A usage error says which targets there are."""
    assert main(["5", "nothing"]) == 2
    assert "no such target: nothing" in capsys.readouterr().err
