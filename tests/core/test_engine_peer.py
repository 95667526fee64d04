"""The promise itself: whatever a client sends, and whatever of it arrives, no server reads a blocked name.

The client sends pieces of two texts that lie over one another, one asking for the allowed name and one for the blocked;
of those that the engine passes, it chooses which the server gets (low TTL, bad checksum, MD5 option ... do just that).
"""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from nfqdpi.testing.http import request
from nfqdpi.testing.tls import RETRY, hello, server_hello
from tests.core.transcript import ALLOWED, BLOCKED, Talk, engine


class Server:
    """Keeps the first copy of each byte, as Linux does, and reads what has no gap in front."""

    def __init__(self) -> None:
        self._got: dict[int, int] = {}

    def take(self, offset: int, payload: bytes) -> None:
        """A segment arrives."""
        self._got = dict(enumerate(payload, offset)) | self._got

    @property
    def read(self) -> bytes:
        """The stream so far."""
        end = 0
        while end in self._got:
            end += 1
        return bytes(self._got[n] for n in range(end))

    def hosts(self) -> Iterator[str]:
        """The host of each request (the texts below need no better parser)."""
        rest = self.read
        while b"\r\n\r\n" in rest:
            head, _, rest = rest.partition(b"\r\n\r\n")
            fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
            yield fields["Host"]
            rest = rest[int(fields.get("Content-Length", 0)) :]


def asking(name: str) -> bytes:
    """Three requests; the body of the second looks like one."""
    return (request(name) + request(name, "Content-Length: 43", method="POST") + request(name)
            + request(name, "Upgrade: x") + request(name))


REQUESTS = (asking(ALLOWED), asking(BLOCKED))
HELLOS = (hello(ALLOWED) * 2, hello(BLOCKED) * 2, hello(ALLOWED) + hello(BLOCKED))
places = st.sampled_from([0, 0, 1, 20, 42, 43, 60, 80, 100, 111, 143, 190, 191, 192, 193, 200, 250])
pieces = st.tuples(st.integers(0, 2), places, st.sampled_from([1, 5, 20, 43, 60, 100, 192, 400]), st.booleans())


def passed(said: str) -> bool:
    """The packet goes on to the server, or would if the client let it."""
    return not said.startswith(("drop", "block"))


@settings(max_examples=300)
@given(st.lists(pieces, max_size=14))
def test_no_server_reads_a_blocked_host(script: list[tuple[int, int, int, bool]]) -> None:
    """HTTP, with requests behind requests and behind a body; the server refuses to upgrade."""
    flow, server = Talk(engine()), Server()
    flow.opens()
    for which, at, length, arrives in script:
        payload = REQUESTS[which % 2][at : at + length]
        if payload and passed(flow.client(payload, at=at)) and arrives:
            server.take(at, payload)
        assert BLOCKED not in server.hosts()


@settings(max_examples=300)
@given(st.lists(pieces, max_size=14), st.integers(0, 2))
def test_no_server_reads_a_blocked_server_name(script: list[tuple[int, int, int, bool]], retries: int) -> None:
    """TLS; the server answers each ClientHello that it gets whole, first by asking for another."""
    flow, server, size, answered = Talk(engine()), Server(), len(HELLOS[0]) // 2, 0
    flow.opens()
    for which, at, length, arrives in script:
        payload = HELLOS[which][at : at + length]
        if payload and passed(flow.client(payload, at=at)) and arrives:
            server.take(at, payload)
        hellos = [server.read[n : n + size] for n in (0, size)]
        assert hello(BLOCKED) not in hellos
        if answered < 2 and hellos[answered] == hello(ALLOWED):
            said = flow.server(server_hello(RETRY if answered < retries else bytes(32)), acks=len(server.read))
            assert said.startswith(("inspect", "accelerate", "block"))
            answered += 1
            if said.startswith("accelerate"):
                break
