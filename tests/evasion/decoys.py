"""The matrix, plugins: what begins in the protocol of one that is enabled, and is another's in truth."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from nfqdpi.testing.dns import query
from nfqdpi.testing.http import request
from tests.evasion.case import BLOCKED, DECOY, Attempt, Handshake, Play, Server, Trick, page, whole
from tests.evasion.packets import DIES, How
from tests.evasion.stream import RawStream
from tests.evasion.witness import OTHER_PORT

PLUGIN = f"""\
from nfqdpi.core.classifier import NEED_MORE, NO_MATCH, Classification, Classifier

def classify(prefix):
    if not prefix.startswith(b"HAIL"[: len(prefix)]):
        return NO_MATCH
    line, end, _ = prefix.partition(b"\\n")
    return Classification("hail", length=len(line) + 1) if end else NEED_MORE

classifier = Classifier("hail", "hail", "1", 300, classify, ports=({OTHER_PORT},), elsewhere=False)
"""
CONFIG = """\
[plugin.dns]
enabled = true
[plugin.ssh]
enabled = true
"""

_PAUSE = 0.2  # s


def framed(message: bytes) -> bytes:
    """A message of DNS in a stream (RFC 7766, 8)."""
    return len(message).to_bytes(2) + message


def _pausing(cut: int, s: RawStream, text: bytes, _: bytes) -> None:
    s.open().send(text[:cut])
    time.sleep(_PAUSE)
    s.send(text[cut:])


def _answered(cut: int, s: RawStream, text: bytes, _: bytes) -> None:
    s.open().send(text[:cut])
    s.await_answer(seconds=1)
    s.send(text[cut:])


def _dying(s: RawStream, text: bytes, decoy: bytes) -> None:
    s.open().send(decoy, at=0, how=How(ttl=DIES))
    time.sleep(_PAUSE)
    s.send(text)


def _hello(name: str) -> Attempt:
    client = Handshake(name)
    return Attempt(client.hello, b"", client.talk, whole)


def _request(name: str) -> Attempt:
    return Attempt(request(name), b"", page(name), whole)


_ASKED: dict[Server, Callable[[str], Attempt]] = {
    Server.HTTP: _request, Server.STANDARD: _request, Server.STANDARD_ELSEWHERE: _request,
    Server.TLS: _hello, Server.TLS_ELSEWHERE: _hello,
}


def _in_front(decoy: bytes, server: Server, play: Play, name: str) -> list[Attempt]:
    honest = _ASKED[server](name)
    return [Attempt(decoy + honest.text, decoy, honest.talk, play)]


def _instead(decoy: bytes, server: Server, name: str) -> list[Attempt]:
    """The decoy where the text belongs; no server has it."""
    honest = _ASKED[server](name)
    return [Attempt(honest.text, decoy, honest.talk, _dying)]


def in_front(what: str, decoy: bytes) -> list[Trick]:
    """The decoy, and behind it what no server expects there."""
    ways: tuple[tuple[str, Play], ...] = (
        ("at once", whole), ("after a pause", partial(_pausing, len(decoy))),
        ("after an answer", partial(_answered, len(decoy))))
    return [trick for server in _ASKED for trick in (
        *(Trick(f"{what}, then the text {how}", server, partial(_in_front, decoy, server, play), "closed",
                names=(BLOCKED,)) for how, play in ways),
        Trick(f"{what}, which dies", server, partial(_instead, decoy, server), "closed", names=(BLOCKED,)))]


def a_method(word: str, cut: str, first: bytes = b"") -> list[Trick]:
    """What Python's server takes for a method, ``first`` on its connection or behind another's request; up to the
    ``cut`` at once."""
    def attempts(name: str) -> list[Attempt]:
        text = f"{word} / HTTP/1.1\r\nHost: {name}\r\n\r\n"
        end = len(first) + text.index(cut) + len(cut)
        return [Attempt(first + text.encode(), b"", page(name), partial(_pausing, end))]

    what = f"{word} for a method, in two behind {cut!r}" + ", behind a request" * bool(first)
    return [Trick(what, server, attempts, "works") for server in (Server.STANDARD, Server.STANDARD_ELSEWHERE)]


TRICKS = [
    *in_front("an SSH banner", b"SSH-2.0-any\r\n"),
    *in_front("a message of DNS", framed(query(DECOY))),
    *in_front("a plugin's line", b"HAIL\r\n"),
    *(trick for word in ("SSH-2.0-any", "HAIL") for cut in (word, "1.1\r\n", "Host: ", "\r\n\r\n")
      for first in (b"", request(DECOY)) for trick in a_method(word, cut, first)),
]
