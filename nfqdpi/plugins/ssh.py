"""SSH: the identification string that a client begins with (RFC 4253, 4.2).

There is no name in it, so rules go by protocol. Attributes: ``software`` and ``version`` (of the protocol).
"""

from __future__ import annotations

import re

import msgspec

from nfqdpi.core.classifier import NEED_MORE, NO_MATCH, Answer, Classification, Classifier
from nfqdpi.core.plugin import Plugin

_LONGEST = 255  # bytes of the string, with CR and LF
_BEGINS = b"SSH-"
# A version's "-" is not allowed, but clients have it (JSch); of line ends, servers take a bare LF as well.
_BANNER = re.compile(rb"SSH-([0-9.]+)-([!-~]+)(?: [ -~]*)?\r?\n")


def classify(prefix: bytes) -> Answer:
    """A client's first line. Servers may say other lines first, clients may not."""
    if not (prefix.startswith(_BEGINS) or _BEGINS.startswith(prefix)):
        return NO_MATCH
    end = prefix.find(b"\n", 0, _LONGEST) + 1
    if not end:
        if len(prefix) < _LONGEST:
            return NEED_MORE
        return Classification("ssh", flaw=f"no line end within {_LONGEST} bytes", length=_LONGEST)
    banner = _BANNER.fullmatch(prefix, 0, end)
    if banner is None:
        return Classification("ssh", flaw="not an identification string", length=end)
    version, software = (part.decode("ascii") for part in banner.groups())
    return Classification("ssh", attributes={"software": software, "version": version}, length=end)


class Settings(msgspec.Struct, frozen=True):
    """None."""


classifier = Classifier("ssh", "ssh", "1", needs=_LONGEST, classify=classify, ports=(22,))
plugin = Plugin(lambda _: (classifier,), Settings, enabled=False)
