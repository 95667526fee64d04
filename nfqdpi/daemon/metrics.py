"""GET /metrics, for Prometheus: the least of HTTP/1.1 (RFC 9112) that a scraper needs, and nothing else."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from http import HTTPStatus
from time import monotonic

from nfqdpi.config.values import Listen
from nfqdpi.kernel.firewall import FirewallError

_PATIENCE = 5.0  # s that a client may take to ask, and again to take the answer
_MOST_CLIENTS = 8
_LONGEST_REQUEST = 8192  # bytes, header fields included
_FRESH = 1.0  # s that a text may be old: however many ask, the counters are read once

_Answer = tuple[HTTPStatus, str]


class Metrics:
    """Serves ``text`` at ``listen``; "": nowhere. ``troubles``: why it does not, a line each."""

    def __init__(self, listen: Listen, text: Callable[[], str]) -> None:
        self.troubles: list[str] = []
        self._listen = listen
        self._text = text
        self._server: asyncio.Server | None = None
        self._clients = 0
        self._answer: _Answer = (HTTPStatus.SERVICE_UNAVAILABLE, "")
        self._made = -_FRESH  # when, in monotonic seconds

    async def start(self) -> None:
        """Listen. Where that cannot be, it is a trouble, and no reason to let traffic go unjudged."""
        if not self._listen:
            return
        address, port = self._listen.place
        try:
            self._server = await asyncio.start_server(self._serve, address, port, limit=_LONGEST_REQUEST)
        except OSError as error:
            self.troubles = [f"no metrics on {self._listen}: {os.strerror(error.errno or 0)}"]

    def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.set_write_buffer_limits(0)  # drained means sent
        self._clients += 1
        try:
            if self._clients <= _MOST_CLIENTS:
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _PATIENCE)
                writer.write(_response(*self._reply(head.partition(b"\r\n")[0])))
                await asyncio.wait_for(writer.drain(), _PATIENCE)
        except (TimeoutError, EOFError, asyncio.LimitOverrunError, ConnectionError):
            writer.transport.abort()  # too slow, too long, or gone: its own affair
        finally:
            self._clients -= 1
            writer.close()

    def _reply(self, request: bytes) -> _Answer:
        match request.split(b" "):
            case [b"GET", target, b"HTTP/1.0" | b"HTTP/1.1"] if target.partition(b"?")[0] == b"/metrics":
                return self._current()
            case [b"GET", _, b"HTTP/1.0" | b"HTTP/1.1"]:
                return HTTPStatus.NOT_FOUND, "there is /metrics\n"
            case [_, _, b"HTTP/1.0" | b"HTTP/1.1"]:
                return HTTPStatus.METHOD_NOT_ALLOWED, "there is GET\n"
            case _:
                return HTTPStatus.BAD_REQUEST, "not HTTP/1.1\n"

    def _current(self) -> _Answer:
        if monotonic() - self._made > _FRESH:
            try:
                self._answer = HTTPStatus.OK, self._text()
            except (OSError, FirewallError) as error:
                self._answer = HTTPStatus.SERVICE_UNAVAILABLE, f"the counters cannot be read: {error}\n"
            self._made = monotonic()
        return self._answer


def _response(status: HTTPStatus, text: str) -> bytes:
    body = text.encode(errors="replace")
    fields = ["Content-Type: text/plain; version=0.0.4; charset=utf-8", f"Content-Length: {len(body)}",
              "Connection: close", *(["Allow: GET"] if status is HTTPStatus.METHOD_NOT_ALLOWED else [])]
    return "\r\n".join([f"HTTP/1.1 {status} {status.phrase}", *fields, "", ""]).encode() + body
