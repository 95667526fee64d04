"""What a row of the matrix is: a trick, and what must come of it."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from nfqdpi.lab.network import SERVER, Family
from nfqdpi.testing.http import request
from tests.evasion.stream import RawStream
from tests.evasion.witness import OTHER_PORT, PLAIN, RETRY, STANDARD, SWAPPED

BLOCKED, ALLOWED, DECOY = "blocked.example", "allowed.example", "another.example"  # of one length

FAMILIES: tuple[Family, ...] = (4, 6)


class Server(StrEnum):
    """Which application is asked: its address and port are in ``WHERE``."""

    HTTP = "http"
    TLS = "tls"
    RETRY = "tls, retry"
    HTTP_ON_443 = "http on 443"
    TLS_ON_80 = "tls on 80"
    STANDARD = "python's http"
    PLAIN = "plain"
    PLAIN_ON_443 = "plain on 443"
    STANDARD_ELSEWHERE = f"python's http on {OTHER_PORT}"
    TLS_ELSEWHERE = f"tls on {OTHER_PORT}"


WHERE = {
    Server.HTTP: (SERVER, 80), Server.TLS: (SERVER, 443), Server.RETRY: (RETRY, 443),
    Server.HTTP_ON_443: (SWAPPED, 443), Server.TLS_ON_80: (SWAPPED, 80),
    Server.STANDARD_ELSEWHERE: (STANDARD, OTHER_PORT), Server.TLS_ELSEWHERE: (SERVER, OTHER_PORT),
    Server.STANDARD: (STANDARD, 80), Server.PLAIN: (PLAIN, 80), Server.PLAIN_ON_443: (PLAIN, 443),
}

# Opens the stream and sends the text in its own way; the decoy is as long, and of a name that is allowed.
Play = Callable[[RawStream, bytes, bytes], None]
# Called whenever something has arrived; true when the client has what it asked for.
Talk = Callable[[RawStream], bool]
# What becomes of the allowed name by the same trick: it works, or it fails closed.
Fate = Literal["works", "closed"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One flow: the client's whole honest ``text``, a ``decoy``, and the ``talk`` that follows."""

    text: bytes
    decoy: bytes
    talk: Talk
    play: Play


@dataclass(frozen=True, slots=True)
class Trick:
    """A row. ``attempts`` makes its flows from the name that is asked for; ``allowed`` is what the row states of the
    allowed name. ``names``: which are tried (a trick without a name in it has nothing to block). ``wait``: seconds that
    it sleeps on purpose."""

    what: str
    server: Server
    attempts: Callable[[str], Iterable[Attempt]]
    allowed: Fate
    families: tuple[Family, ...] = FAMILIES
    names: tuple[str, ...] = (BLOCKED, ALLOWED)
    wait: float = 0


@dataclass(frozen=True, slots=True)
class Case:
    """A row for one family and one name."""

    trick: Trick
    family: Family
    name: str

    def __str__(self) -> str:
        return f"{self.trick.server} v{self.family} {self.name.partition('.')[0]}: {self.trick.what}"


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of a case. ``wrong`` is empty where that is what must come of it."""

    client: str
    server: str
    verdict: str
    reason: str
    wrong: str = ""


def cases(tricks: Sequence[Trick]) -> list[Case]:
    """Each row for each family and name, the ones that sleep longest first."""
    rows = sorted(tricks, key=lambda trick: -trick.wait)
    return [Case(trick, family, name) for trick in rows for family in trick.families for name in trick.names]


def whole(stream: RawStream, text: bytes, decoy: bytes) -> None:
    """As an honest client does it."""
    stream.open().send(text)


# --- who talks ---


def page(name: str, times: int = 1) -> Talk:
    """So many answers of nginx's for the name."""
    return lambda stream: stream.got.lower().count(f"\r\n\r\nhello from {name}\n".encode()) >= times


def accepted(times: int = 1) -> Talk:
    """So many answers of the plain application's."""
    return lambda stream: stream.got.count(b"HTTP/1.1 200") >= times


def server_hello(stream: RawStream) -> bool:
    """The server took a ClientHello made by hand, with which no handshake can be finished."""
    return stream.got[:1] == b"\x16" and stream.got[5:6] == b"\x02"


def get(play: Play, *fields: str) -> Callable[[str], list[Attempt]]:
    """A plain request for the name."""
    return lambda name: [Attempt(request(name, *fields), request(DECOY, *fields), page(name), play)]


def shake(play: Play, **settings: object) -> Callable[[str], list[Attempt]]:
    """A whole handshake of OpenSSL's for the name."""

    def attempts(name: str) -> list[Attempt]:
        client = Handshake(name, **settings)  # type: ignore[arg-type]
        return [Attempt(client.hello, Handshake(DECOY, **settings).hello, client.talk, play)]  # type: ignore[arg-type]

    return attempts


def both(what: str, play: Play, allowed: Fate, families: tuple[Family, ...] = FAMILIES, wait: float = 0) -> list[Trick]:
    """The trick for a request and for a handshake."""
    return [Trick(what, Server.HTTP, get(play), allowed, families, wait=wait),
            Trick(what, Server.TLS, shake(play), allowed, families, wait=wait)]


class Handshake:
    """OpenSSL's client without a socket."""

    def __init__(self, name: str | None, *, version: ssl.TLSVersion | None = None) -> None:
        settings = ssl.create_default_context()
        settings.check_hostname, settings.verify_mode = False, ssl.CERT_NONE
        if version is not None:
            settings.maximum_version = version
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = settings.wrap_bio(self._in, self._out, server_hostname=name)
        self._fed = 0
        self._told = b""
        self._step()
        self.hello = self._out.read()

    def talk(self, stream: RawStream) -> bool:
        """Go on as far as the server's bytes reach; true once it has said something under TLS."""
        self._in.write(stream.got[self._fed :])
        self._fed = len(stream.got)
        self._step()
        if data := self._out.read():
            stream.send(data)
        return bool(self._told)

    def _step(self) -> None:
        try:
            self._tls.do_handshake()
            self._told += self._tls.read()
        except ssl.SSLError:  # wants more, or has been told off
            return
