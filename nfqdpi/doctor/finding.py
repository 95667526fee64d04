"""What an examination says."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class Level(StrEnum):
    """How bad a finding is: ``fail`` where nfqdpi does not do its work."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(Struct, frozen=True):
    """One thing looked at. ``remedy`` is a command or a setting; empty where nothing is to be mended."""

    name: str
    level: Level
    meaning: str
    remedy: str = ""
