"""HTTP/1.x: what makes a line a request's, and what is said of one that is none."""

from __future__ import annotations

import re

from nfqdpi.core.classifier import Classification

VERSIONED = re.compile(rb"[ \t\x0b\x0c\r\x1c-\x1f\x85\xa0]HTTP/", re.IGNORECASE)  # in any word behind the first
PART = 5  # bytes, the most of it that may stand at a cut


def flawed(prefix: bytes, flaw: str) -> Classification:
    return Classification("http", flaw=flaw, length=len(prefix))
