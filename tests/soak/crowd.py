"""Well-behaved clients in numbers: what each asks for, and what it must get of it whatever the link does.

Nine of ten visits ask for an allowed name and must end well; the tenth asks for a blocked one and must end in a reset.
"""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from nfqdpi.lab import clients
from nfqdpi.lab.cases import LONG_ALPN
from nfqdpi.lab.namespace import LabError
from nfqdpi.lab.network import SERVER, Family, Lab
from nfqdpi.lab.web import WebServer
from tests.kernel import browser

ALLOWED, BLOCKED = "allowed.example", "blocked.example"
_PATIENCE = 90.0  # seconds: six SYNs may get lost in a row
_PROGRAMS, _BROWSERS = 32, 4  # at a time
_SMALL_SEGMENT = 300  # bytes
_BODY = b"x" * 20_000


@dataclass(frozen=True, slots=True)
class Visit:
    """One client's turn; ``number`` picks its family, its name and its way of asking."""

    lab: Lab
    web: WebServer
    number: int

    @property
    def family(self) -> Family:
        return 4 if (self.number + self.number // 10) % 2 else 6  # blocked names in both

    @property
    def name(self) -> str:
        return BLOCKED if self.number % 10 == 0 else ALLOWED

    @property
    def expected(self) -> str:
        return "reset" if self.name == BLOCKED else "ok"

    def pick(self, *ways: tuple[str, ...]) -> tuple[str, ...]:
        return ways[self.number // 2 % len(ways)]


def by_curl(visit: Visit) -> str:
    """Plain and TLS, HTTP/1.1 and 2."""
    scheme, *options = visit.pick(("http",), ("https",), ("https", "--http1.1"), ("https", "--tls-max", "1.2"))
    answer = clients.curl(visit.lab.client, f"{scheme}://{visit.name}/", visit.family, visit.web.ca, *options,
                          timeout=_PATIENCE)
    return _end(answer)


def by_openssl(visit: Visit) -> str:
    """Hellos of one and of two segments, TLS 1.2 and 1.3, and one that the server answers by HelloRetryRequest."""
    options = visit.pick((), ("-alpn", LONG_ALPN), ("-tls1_2",), ("-groups", "X448:P-256"))
    answer = clients.openssl(visit.lab.client, visit.name, visit.family, visit.web.ca, *options, timeout=_PATIENCE)
    return _end(answer)


def by_chromium(visit: Visit) -> str:
    """A page over TLS, with a profile that was never used."""
    scheme, = visit.pick(("https",), ("https",), ("http",))
    page = browser.load(visit.lab.client, f"{scheme}://{visit.name}/", SERVER[visit.family],
                        visit.web.certificate, timeout=_PATIENCE)
    if page.error:
        return "reset" if page.error == "ERR_CONNECTION_RESET" else page.error
    return "ok" if page.text == f"hello from {visit.name}" else page.text


def by_keep_alive(visit: Visit) -> str:
    """Plain HTTP: five requests on a connection in small segments, two of them pipelined behind an upload."""
    get = f"GET / HTTP/1.1\r\nHost: {visit.name}\r\nCookie: {'c' * 2000}\r\n\r\n".encode()
    post = f"POST / HTTP/1.1\r\nHost: {visit.name}\r\nContent-Length: {len(_BODY)}\r\n\r\n".encode() + _BODY
    with _connect(visit, 80) as tcp:
        for request, answers in ((get, 1), (get, 1), (post + get + get, 3)):
            tcp.sendall(request)
            _read_answers(tcp, visit.name, answers)
    return "ok"


def by_python(visit: Visit) -> str:
    """TLS by Python, two requests in it; small segments, so that the hello comes in several."""
    settings = ssl.create_default_context(cafile=str(visit.web.ca))
    with _connect(visit, 443) as tcp, settings.wrap_socket(tcp, server_hostname=visit.name) as tls:
        for _ in range(2):
            tls.sendall(f"GET / HTTP/1.1\r\nHost: {visit.name}\r\n\r\n".encode())
            _read_answers(tls, visit.name, 1)
    return "ok"


def _end(answer: clients.Answer) -> str:
    known = answer.outcome in ("ok", "reset")
    return answer.outcome if known else f"{answer.outcome} {answer.detail} on port {answer.port}"


def _connect(visit: Visit, port: int) -> socket.socket:
    with visit.lab.client.entered():
        tcp = socket.socket(socket.AF_INET if visit.family == 4 else socket.AF_INET6)
    tcp.settimeout(_PATIENCE)
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _SMALL_SEGMENT)
    try:
        tcp.connect((SERVER[visit.family], port))
    except OSError:
        tcp.close()
        raise
    return tcp


def _read_answers(stream: socket.socket, name: str, count: int) -> None:
    body = f"hello from {name}\n".encode()
    read = b""
    while read.count(body) < count:
        try:
            data = stream.recv(65536)
        except TimeoutError:
            raise EOFError(f"silence after {len(read)} bytes on port {stream.getsockname()[1]}") from None
        if not data:
            raise EOFError(f"closed after {len(read)} bytes on port {stream.getsockname()[1]}")
        read += data


WAYS: dict[str, Callable[[Visit], str]] = {
    "curl": by_curl, "openssl": by_openssl, "keep-alive": by_keep_alive, "python": by_python, "chromium": by_chromium,
}


@dataclass
class Tally:
    """How a crowd fared. ``wrong`` has a line for each visit that did not end as it must."""

    way: str
    visits: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    ends: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Count a later part of the same crowd in."""
        self.visits += other.visits
        self.seconds += other.seconds
        self.slowest = max(self.slowest, other.slowest)
        self.ends += other.ends
        self.wrong += other.wrong


def send(lab: Lab, web: WebServer, way: str, numbers: range) -> Tally:
    """Let a crowd visit the server."""
    tally = Tally(way)
    started = time.monotonic()
    with ThreadPoolExecutor(_BROWSERS if way == "chromium" else _PROGRAMS) as pool:
        for visit, end, seconds in pool.map(lambda number: _visit(way, Visit(lab, web, number)), numbers):
            tally.visits += 1
            tally.ends[f"{visit.name} {end}"] += 1
            tally.slowest = max(tally.slowest, seconds)
            if end != visit.expected:
                tally.wrong.append(f"{way} {visit.number}, IPv{visit.family}, {visit.name}: {end}, {seconds:.1f} s")
    tally.seconds = time.monotonic() - started
    return tally


def _visit(way: str, visit: Visit) -> tuple[Visit, str, float]:
    started = time.monotonic()
    try:
        end = WAYS[way](visit)
    except (ConnectionResetError, BrokenPipeError):
        end = "reset"
    except (OSError, EOFError, LabError) as error:
        end = f"{type(error).__name__}: {error}"
    return visit, end, time.monotonic() - started


def wrongly_blocked(lab: Lab) -> list[dict[str, Any]]:
    """Events that block anything but the blocked name."""
    events = (json.loads(line) for line in (lab.state / "eve.json").read_text().splitlines())
    return [event for event in events if event["verdict"]["action"] == "block"
            and BLOCKED not in (event.get("tls", {}).get("sni"), event.get("http", {}).get("hostname"))]


def got_through(web: WebServer) -> list[dict[str, Any]]:
    """Requests that a server application took for the blocked name."""
    return [request for request in web.requests() if BLOCKED in (request["host"], request["sni"])]
