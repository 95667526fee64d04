"""A server application that writes down what it was given: the witness of every security-relevant claim."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

from nfqdpi.lab.namespace import Namespace
from nfqdpi.lab.network import SERVER, Family, Lab

_PATIENCE = 5.0  # s
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class Heard:
    """One accepted connection: the bytes that the application read, and how it ended ("open", "closed", "reset")."""

    data: bytes = b""
    end: str = "open"
    ended: threading.Event = field(default_factory=threading.Event)


class Origin:
    """Listens on port 80 of the lab's server and answers each request head with 200."""

    def __init__(self, server: Namespace, port: int = 80) -> None:
        self.heard: list[Heard] = []
        self._listeners = []
        with server.entered():
            for family, kind in ((4, socket.AF_INET), (6, socket.AF_INET6)):
                listener = socket.socket(kind, socket.SOCK_STREAM)
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind((SERVER[family], port))  # type: ignore[index]
                listener.listen(256)
                self._listeners.append(listener)
        self._threads = [threading.Thread(target=self._accept, args=(one,), daemon=True) for one in self._listeners]
        for thread in self._threads:
            thread.start()

    def accepted(self, number: int = 0) -> Heard:
        """The connection of this number; the client may know of it before the application does."""
        deadline = time.monotonic() + _PATIENCE
        while len(self.heard) <= number and time.monotonic() < deadline:
            time.sleep(0.005)
        return self.heard[number]

    @property
    def read(self) -> bytes:
        """Everything that any connection brought."""
        return b"".join(heard.data for heard in self.heard)

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                peer, _ = listener.accept()
                heard = Heard()
                self.heard.append(heard)
                threading.Thread(target=self._serve, args=(peer, heard), daemon=True).start()

    def _serve(self, peer: socket.socket, heard: Heard) -> None:
        answered = 0
        try:
            while data := peer.recv(65536):
                heard.data += data
                while heard.data.count(b"\r\n\r\n") > answered:
                    peer.sendall(_ANSWER)
                    answered += 1
            heard.end = "closed"
        except ConnectionResetError:
            heard.end = "reset"
        except OSError:
            heard.end = "closed"
        finally:
            heard.ended.set()
            peer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for listener in self._listeners:
            listener.shutdown(socket.SHUT_RDWR)  # wakes its thread, which close alone does not
            listener.close()
        for thread in self._threads:
            thread.join()


class Visitor:
    """A client's TCP connection to the origin from inside the lab's client namespace."""

    def __init__(self, client: Namespace, family: Family, port: int = 80, timeout: float = 5,
                 source_port: int = 0, server: str = "") -> None:
        with client.entered():
            self.socket = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_STREAM)
        self.socket.settimeout(timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if source_port:
                self.socket.bind(("" if family == 4 else "::", source_port))
            self.socket.connect((server or SERVER[family], port))
        except OSError:
            self.socket.close()
            raise
        self.port = self.socket.getsockname()[1]

    def ask(self, host: str, *, pieces: int = 1) -> str:
        """Send a request for the host; "ok", "reset" or "silence"."""
        request = f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        size = -(-len(request) // pieces)
        try:
            for start in range(0, len(request), size):
                self.socket.sendall(request[start : start + size])
            return "ok" if self.socket.recv(65536).startswith(b"HTTP/1.1 200") else "closed"
        except (ConnectionResetError, BrokenPipeError):
            return "reset"
        except TimeoutError:
            return "silence"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


def visit(lab: Lab, host: str = "allowed.example", timeout: float = 5) -> str:
    try:
        with Visitor(lab.client, 4, timeout=timeout) as visitor:
            return visitor.ask(host)
    except TimeoutError:
        return "silence"


class Load:
    """Clients that fetch allowed pages in a loop; ``failed`` counts those that did not get theirs."""

    def __init__(self, lab: Lab, clients: int = 4) -> None:
        self.done = self.failed = 0
        self._going = True
        self._threads = [threading.Thread(target=self._fetch, args=(lab,)) for _ in range(clients)]

    def has_done(self, pages: int) -> bool:
        return self.done >= pages

    def _fetch(self, lab: Lab) -> None:
        while self._going:
            if visit(lab) == "ok":
                self.done += 1
            else:
                self.failed += 1

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._going = False
        for thread in self._threads:
            thread.join()
