"""The server side: real applications that write down what reached them, by the client's port.

An nginx for HTTP, Python's own server (which takes nearly anything for a request's head), OpenSSL for TLS (one that
takes the first ClientHello and one that always wants a second), and a plain TCP application that takes anything for a
request that has an empty line behind it.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
import threading
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from nfqdpi.lab.namespace import Namespace
from nfqdpi.lab.network import SERVER, Family

SWAPPED: dict[Family, str] = {4: "198.51.100.3", 6: "2001:db8:2::3"}  # TLS on port 80, HTTP on 443
STANDARD: dict[Family, str] = {4: "198.51.100.6", 6: "2001:db8:2::6"}  # Python's own HTTP server
PLAIN: dict[Family, str] = {4: "198.51.100.4", 6: "2001:db8:2::4"}  # the plain application on both
OTHER_PORT = 7000  # TLS at the server's own address, Python's own HTTP server at its; queued where a plugin reads it
RETRY: dict[Family, str] = {4: "198.51.100.5", 6: "2001:db8:2::5"}  # HelloRetryRequest on port 443
_PREFIX: dict[Family, int] = {4: 24, 6: 64}

_TIMEOUT = 30.0  # seconds that a server waits for its client
_HEAD_END = re.compile(rb"\r?\n[ \t]*\r?\n")
_PLAIN_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

_NGINX = """\
worker_processes 1;
user www-data;
pid {here}/pid;
error_log {here}/error.log;
events {{ worker_connections 8192; }}
http {{
    log_format json escape=json '{{"port":$remote_port,"host":"$host","field":"$http_host","request":"$request",'
        '"status":$status}}';
    access_log {here}/access.log json;
    client_body_temp_path {here}/body;
    proxy_temp_path {here}/proxy;
    fastcgi_temp_path {here}/fastcgi;
    uwsgi_temp_path {here}/uwsgi;
    scgi_temp_path {here}/scgi;
    large_client_header_buffers 64 64k;
    ignore_invalid_headers off;
    client_max_body_size 0;
    server {{
        {listen}
        location = /switch {{ return 200 "HTTP/1.1 101 Switching Protocols\r\n\r\n"; }}
        location / {{ return 200 "hello from $host\\n"; }}
    }}
}}
"""


class _Named(ssl.SSLObject):
    """A server's end that knows whose it is."""

    client_port = 0


class Witnesses:
    """All of them, in the lab's server. ``said(port)`` is what they wrote down of the client with that port."""

    def __init__(self, server: Namespace, here: Path) -> None:
        self._said: dict[int, list[str]] = defaultdict(list)
        self._listeners: list[socket.socket] = []
        self._access_log = here / "access.log"
        self._read = 0
        self._lock = threading.Lock()
        here.mkdir()
        server.configure(*(f"addr add {address}/{_PREFIX[family]} dev eth0" + " nodad" * (family == 6)
                           for table in (SWAPPED, PLAIN, RETRY, STANDARD) for family, address in table.items()))
        self._start_nginx(server, here)
        server.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-days", "30", "-subj", "/CN=nfqdpi lab", "-keyout", here / "key.pem", "-out", here / "cert.pem"])
        usual, retry = (self._tls(here) for _ in range(2))
        retry.set_ecdh_curve("secp384r1")  # no client sends a share for this group first
        for addresses, port, serve in ((SERVER, 443, self._over(usual)), (SWAPPED, 80, self._over(usual)),
                                       (RETRY, 443, self._over(retry)), (PLAIN, 80, self._plainly),
                                       (PLAIN, 443, self._plainly), (STANDARD, 80, self._standard),
                                       (STANDARD, OTHER_PORT, self._standard), (SERVER, OTHER_PORT, self._over(usual))):
            for family in SERVER:
                self._listen(server, family, addresses[family], port, serve)

    def said(self, port: int) -> list[str]:
        """One line a request or hello, oldest first."""
        with self._lock, self._access_log.open("rb") as log:
            log.seek(self._read)
            lines = log.read().splitlines(keepends=True)
            for line in lines:
                if line.endswith(b"\n"):
                    self._read += len(line)
                    entry = json.loads(line)
                    self._said[entry["port"]].append(
                        f"{entry['request']!r} Host {entry['field']!r} of {entry['host']}: {entry['status']}")
            return list(self._said.get(port, ()))

    def everything(self) -> list[str]:
        """What any of them ever wrote down."""
        self.said(0)
        return [line for lines in self._said.values() for line in lines]

    def close(self) -> None:
        for listener in self._listeners:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes its thread, which close alone does not
            listener.close()

    def _start_nginx(self, server: Namespace, here: Path) -> None:
        addresses = [(SERVER, 80), (SWAPPED, 443)]
        listen = "\n".join(f"listen {address if family == 4 else f'[{address}]'}:{port} backlog=4096;"
                           for table, port in addresses for family, address in table.items())
        config = here / "nginx.conf"
        config.write_text(_NGINX.format(here=here, listen=listen))
        server.run(["nginx", "-p", here, "-c", config, "-e", here / "error.log"])  # returns once it listens

    def _tls(self, here: Path) -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(here / "cert.pem", here / "key.pem")
        made.sslobject_class = _Named
        made.sni_callback = self._note_name
        return made

    def _note_name(self, peer: ssl.SSLSocket | ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        assert isinstance(peer, _Named)
        self._said[peer.client_port].append(f"SNI {name}")

    def _listen(self, server: Namespace, family: Family, address: str, port: int,
                serve: Callable[[socket.socket, int], None]) -> None:
        with server.entered():
            listener = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(4096)
        self._listeners.append(listener)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    peer, came_from = listener.accept()
                    peer.settimeout(_TIMEOUT)
                    threading.Thread(target=attend, args=(peer, came_from[1]), daemon=True).start()

        def attend(peer: socket.socket, client_port: int) -> None:
            with suppress(OSError, ssl.SSLError), peer:
                serve(peer, client_port)

        threading.Thread(target=accept, daemon=True).start()

    def _over(self, tls: ssl.SSLContext) -> Callable[[socket.socket, int], None]:
        def serve(peer: socket.socket, client_port: int) -> None:
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            end = tls.wrap_bio(incoming, outgoing, server_side=True)
            assert isinstance(end, _Named)
            end.client_port = client_port
            greeted = False
            while data := peer.recv(65536):
                incoming.write(data)
                try:
                    end.do_handshake()
                    if not greeted:
                        self._said[client_port].append(f"a whole handshake, {end.version()}")
                        end.write(b"hello over TLS")
                        greeted = True
                except ssl.SSLWantReadError:
                    pass
                finally:
                    peer.sendall(outgoing.read())

        return serve

    def _standard(self, peer: socket.socket, client_port: int) -> None:
        """A server that takes any method, and reads the body of a POST and of nothing else."""
        said = self._said[client_port]

        class Page(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                said.append(f"{self.requestline!r} Host {self.headers.get('host')!r}")
                page = f"hello from {self.headers.get('host')}\n".encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(page)))
                self.end_headers()
                self.wfile.write(page)

            def __getattr__(self, name: str) -> Callable[[], None]:
                if name.startswith("do_"):
                    return self.do_GET
                raise AttributeError(name)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("content-length") or 0))
                self.do_GET()

            def log_message(self, *_: object) -> None:
                """Nothing."""

        Page(peer, ("", client_port), None)  # type: ignore[arg-type]  # it asks its server for nothing

    def _plainly(self, peer: socket.socket, client_port: int) -> None:
        """Answers each head, and writes down each as a line."""
        heard = b""
        while data := peer.recv(65536):
            *heads, heard = _HEAD_END.split(heard + data)
            for head in filter(None, heads):
                self._said[client_port].append(repr(head))
                peer.sendall(_PLAIN_ANSWER)
