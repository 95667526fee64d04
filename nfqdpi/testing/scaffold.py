"""A package for a new plugin: ``greeting``, which works, under another name."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from nfqdpi.testing.capture import pcap_of
from nfqdpi.testing.flows import FromServer, flow

_MODEL = "greeting"


def write(folder: Path, name: str) -> list[Path]:
    """The files, written into a new folder. ``name``: small letters, digits and underscores. Raises FileExistsError."""
    folder.mkdir()
    written = [*_copied(files("nfqdpi.testing") / _MODEL, folder, name), folder / "tests" / f"{name}.pcap"]
    written[-1].write_bytes(pcap_of(_packets(name.upper().encode())))
    return written


def _copied(source: Traversable, folder: Path, name: str) -> list[Path]:
    written = []
    for part in sorted(source.iterdir(), key=lambda part: part.name):
        target = folder / part.name.replace(_MODEL, name)
        if part.is_file():
            text = part.read_text(encoding="utf-8")
            target.write_text(text.replace(_MODEL, name).replace(_MODEL.upper(), name.upper()), encoding="utf-8")
            written.append(target)
        elif part.name != "__pycache__":
            target.mkdir()
            written += _copied(part, target, name)
    return written


def _packets(word: bytes) -> list[bytes]:
    """What the expectation file tells of."""
    allowed, blocked = word + b" allowed.example\n", word + b" www.blocked.example\r\n"
    welcome = FromServer(b"welcome\n")
    return [*flow(allowed, welcome, port=7070, sport=40001), *flow(blocked, port=7070, sport=40002),
            *flow(allowed, welcome, port=7070, sport=40003, six=True)]
