"""A web server on the loopback that answers as a test says."""

from __future__ import annotations

import hashlib
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

Answer = Callable[[BaseHTTPRequestHandler], None]


class Server:
    """``answers``: a path's answer; ``asked``: the requests that came, each with its headers."""

    def __init__(self, scheme: str, port: int) -> None:
        self.base = f"{scheme}://127.0.0.1:{port}"
        self.answers: dict[str, Answer] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []

    def give(self, path: str, body: bytes, *, headers: dict[str, str] | None = None, status: int = 200) -> str:
        """The path's whole answer, with an ETag, which a client may name. Its URL."""
        tag = f'"{hashlib.sha256(body).hexdigest()[:8]}"'

        def answer(request: BaseHTTPRequestHandler) -> None:
            known = request.headers.get("If-None-Match") == tag
            request.send_response(304 if known else status)
            for key, value in {"ETag": tag, "Content-Length": str(len(body)), **(headers or {})}.items():
                request.send_header(key, value)
            request.end_headers()
            if not known:
                request.wfile.write(body)

        self.answers[path] = answer
        return self.base + path

    def redirect(self, path: str, to: str) -> str:
        """Sends the client elsewhere. Its URL."""
        return self.give(path, b"", headers={"Location": to}, status=302)


@contextmanager
def serving(certificate: Path | None = None) -> Iterator[Server]:
    """A server on a port that was free; with a certificate (and its key, in one file), by TLS."""

    class Request(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.asked.append((self.path, dict(self.headers)))
            server.answers[self.path](self)

        def log_message(self, *_: object) -> None:
            pass

    class Web(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            pass  # a client that hangs up is what some tests are about

    with Web(("127.0.0.1", 0), Request) as web:
        if certificate is not None:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(certificate)
            web.socket = tls.wrap_socket(web.socket, server_side=True, do_handshake_on_connect=False)
        server = Server("https" if certificate else "http", web.server_port)
        thread = threading.Thread(target=web.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            web.shutdown()
            thread.join()
