"""The kept corpus: a text file a target, an input a line in base64, shortest first."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from tests.fuzz.seeds import SEEDS

_FOLDER = Path(__file__).parent / "corpus"


def load(target: str) -> list[bytes]:
    """Every kept input, behind the seeds."""
    path = _FOLDER / f"{target}.txt"
    kept = path.read_text("ascii").split("\n")[:-1] if path.exists() else []
    return [*SEEDS[target](), *map(b64decode, kept)]


def store(target: str, inputs: Iterable[bytes]) -> int:
    """Keep these inputs and no others; the size of the file in bytes."""
    _FOLDER.mkdir(exist_ok=True)
    lines = [b64encode(data).decode() + "\n" for data in sorted(set(inputs), key=lambda data: (len(data), data))]
    return (_FOLDER / f"{target}.txt").write_text("".join(lines), "ascii")


def spread(inputs: Iterable[bytes], folder: Path) -> None:
    """Each input in a file of its own, as libFuzzer wants it."""
    folder.mkdir(parents=True, exist_ok=True)
    for data in inputs:
        (folder / sha256(data).hexdigest()[:20]).write_bytes(data)


def gathered(folder: Path) -> list[bytes]:
    """The inputs in a folder's files."""
    return [path.read_bytes() for path in sorted(folder.iterdir())]
