"""greeting: a client begins with a line, "GREETING host.example". Yours will be another protocol: begin here."""

from __future__ import annotations

import re

import msgspec

from nfqdpi.core.classifier import NEED_MORE, NO_MATCH, Answer, Classification, Classifier
from nfqdpi.core.plugin import Plugin

_BEGINS = b"GREETING "
_LINE = re.compile(rb"GREETING ([a-z0-9.-]{1,253})\r?\n")
_LONGEST = 300  # bytes that a line may have


def classify(prefix: bytes) -> Answer:
    """What the bytes are that a client has sent so far. It is asked again when there are more, as long as it answers
    NEED_MORE, and must not change its mind after that."""
    if not (prefix.startswith(_BEGINS) or _BEGINS.startswith(prefix)):
        return NO_MATCH
    end = prefix.find(b"\n", 0, _LONGEST) + 1
    if not end:
        return NEED_MORE
    line = _LINE.fullmatch(prefix, 0, end)
    if line is None:
        return Classification("greeting", flaw="not a greeting", length=end)
    return Classification("greeting", (line[1].decode("ascii"),), length=end)


class Settings(msgspec.Struct, frozen=True):
    """[plugin.greeting] in the configuration; each key needs a default. ``enabled`` and ``ports`` are there already."""


def make(_: Settings) -> tuple[Classifier, ...]:
    """What the plugin offers, with these settings."""
    return (Classifier("greeting", "greeting", "1", needs=_LONGEST, classify=classify, ports=(7070,)),)


plugin = Plugin(make, Settings)
