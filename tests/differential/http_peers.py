"""Other readers of HTTP: for each, what requests it finds in a client's bytes, and the host that it would serve."""

from __future__ import annotations

import io
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import cast

import h11
import httptools

_CONFIG = """
daemon off; master_process off; pid {here}/pid; error_log {here}/error.log crit;
events {{ worker_connections 64; }}
http {{
    access_log off; lingering_close off; keepalive_requests 1000000; client_max_body_size 0;
    client_body_temp_path {here}/body; proxy_temp_path {here}/proxy; fastcgi_temp_path {here}/fastcgi;
    uwsgi_temp_path {here}/uwsgi; scgi_temp_path {here}/scgi;
    server {{ listen unix:{here}/socket; location / {{ return 200 "<$host>\\n"; }} }}
}}
"""
_START = 10.0  # seconds
_AUTHORITY = re.compile(rb"[a-zA-Z][a-zA-Z0-9+.-]*://(?:[^/?#]*@)?([^/?#]*)")


class Nginx:
    """A running nginx that answers each request with the host that it took."""

    def __init__(self, here: Path) -> None:
        self._socket = str(here / "socket")

    def hosts(self, data: bytes) -> list[bytes]:
        """The virtual host of each request answered."""
        answers = b""
        with socket.socket(socket.AF_UNIX) as talk:
            talk.settimeout(_START)
            talk.connect(self._socket)
            try:
                talk.sendall(data)
                talk.shutdown(socket.SHUT_WR)
                while piece := talk.recv(1 << 16):
                    answers += piece
            except (ConnectionResetError, BrokenPipeError):
                pass  # it had enough; what it had answered before is there
        return re.findall(rb"(?m)^<(.*)>\n", answers)


@contextmanager
def nginx(here: Path) -> Iterator[Nginx]:
    """Start it, with all that it writes in the folder."""
    (here / "nginx.conf").write_text(_CONFIG.format(here=here))
    process = subprocess.Popen(["nginx", "-p", here, "-c", here / "nginx.conf"], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + _START
        while not (here / "socket").exists():
            assert time.monotonic() < deadline, "nginx does not start"
            time.sleep(0.01)
        yield Nginx(here)
    finally:
        process.terminate()
        process.wait()


def h11_hosts(data: bytes) -> list[bytes]:
    """h11 as a server, which refuses what it does not understand."""
    hosts: list[bytes] = []
    reader = h11.Connection(h11.SERVER)
    reader.receive_data(data)
    try:
        while True:
            match reader.next_event():
                case h11.Request() as request:
                    hosts += _served(request.target, [value for name, value in request.headers if name == b"host"])
                case h11.EndOfMessage() if reader.their_state is h11.DONE:
                    reader.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                    reader.send(h11.EndOfMessage())
                    if reader.our_state is not h11.DONE:
                        return hosts
                    reader.start_next_cycle()
                case h11.Data():
                    pass
                case _:
                    return hosts
    except h11.RemoteProtocolError:
        return hosts


class _Listener:
    """What llhttp calls."""

    def __init__(self) -> None:
        self.hosts: list[bytes] = []
        self._url = b""
        self._named: list[bytes] = []

    def on_message_begin(self) -> None:
        self._url, self._named = b"", []

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"host":
            self._named.append(value)

    def on_headers_complete(self) -> None:
        self.hosts += _served(self._url, self._named)


def llhttp_hosts(data: bytes) -> list[bytes]:
    """llhttp, the parser of Node.js."""
    listener = _Listener()
    with suppress(httptools.HttpParserError, httptools.HttpParserUpgrade):
        httptools.HttpRequestParser(listener).feed_data(data)
    return listener.hosts


class _Standard(BaseHTTPRequestHandler):
    """Python's own, which takes nearly everything."""

    protocol_version = "HTTP/1.1"

    def __init__(self, data: bytes) -> None:
        self.rfile, self.wfile = io.BufferedReader(cast("io.RawIOBase", io.BytesIO(data))), io.BytesIO()
        self.hosts: list[bytes] = []
        self.client_address = ("", 0)
        self.close_connection = False
        while not self.close_connection:
            self.close_connection = True
            self.handle_one_request()

    def parse_request(self) -> bool:
        # A request by a method for which nobody can write a "do_METHOD" is answered by 501, and ends the connection.
        if super().parse_request() and self.command.isascii() and f"do_{self.command}".isidentifier():
            named = [value.encode("latin-1") for value in self.headers.get_all("host", [])]
            self.hosts += _served(self.path.encode("latin-1"), named)
            # A subclass that reads bodies at all reads them by this field.
            length = self.headers.get("content-length", "0")
            self.rfile.read(int(length) if length.isdecimal() and length.isascii() else 0)
        else:
            self.close_connection = True
        return False

    def log_message(self, *_: object) -> None:
        """Nothing."""


def standard_hosts(data: bytes) -> list[bytes]:
    """http.server."""
    return _Standard(data).hosts


def _served(target: bytes, named: list[bytes]) -> list[bytes]:
    """The host that an application would take: the target's, or the first that was named; b"" where there is none."""
    authority = _AUTHORITY.match(target)
    return [authority[1] if authority else named[0] if named else b""]
