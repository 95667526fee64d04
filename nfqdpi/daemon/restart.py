"""What only a start reads: a reload keeps it as it is, and says what would be different."""

from __future__ import annotations

import msgspec

from nfqdpi.config import Config

_AT_START = ("queue", "marks", "inspect", "fail", "state", "events", "control", "service")


def kept(wanted: Config, running: Config) -> Config:
    """The configuration, but for the sections that only a start reads."""
    return msgspec.structs.replace(wanted, **{section: getattr(running, section) for section in _AT_START})


def differences(wanted: Config, running: Config) -> list[str]:
    """The keys whose values differ in those sections: "queue.length"."""
    return [f"{section}.{key}" for section in _AT_START
            for key in getattr(wanted, section).__struct_fields__
            if getattr(getattr(wanted, section), key) != getattr(getattr(running, section), key)]
