"""Writes down the ClientHellos of the programs on this machine: `sudo .venv/bin/python -m tests.data.capture_hellos`.

Each program asks the lab's server for a page by way of a relay on the router, which keeps a copy of the first flight.
The samples are kept as they are (`hellos/*.bin`): `tests/plugins/test_hellos.py` says what stands in them.
"""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nfqdpi.lab.cases import LONG_ALPN
from nfqdpi.lab.namespace import LabError
from nfqdpi.lab.network import SERVER, Lab
from nfqdpi.lab.web import WebServer
from tests.kernel import browser

HERE = Path(__file__).parent / "hellos"
NAME = "allowed.example"
RELAY = "203.0.113.1"  # the router's address on the gateway's side
PYTHON = f"""
import socket, ssl
settings = ssl.create_default_context()
settings.check_hostname, settings.verify_mode = False, ssl.CERT_NONE
with socket.create_connection(({RELAY!r}, 443)) as tcp, settings.wrap_socket(tcp, server_hostname={NAME!r}) as tls:
    tls.sendall(b"HEAD / HTTP/1.0\\r\\n\\r\\n")
    tls.recv(1000)
"""


class Relay:
    """Carries connections to the server and keeps the client's first record of each."""

    def __init__(self, lab: Lab) -> None:
        self.hellos: list[bytes] = []
        self._lab = lab
        with lab.router.entered():
            self._listener = socket.create_server((RELAY, 443))
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                hello = client.recv(5, socket.MSG_WAITALL)
                hello += client.recv(int.from_bytes(hello[3:]), socket.MSG_WAITALL)
                self.hellos.append(hello)
                with self._lab.router.entered():
                    server = socket.create_connection((SERVER[4], 443))
                server.sendall(hello)
                for one, other in ((client, server), (server, client)):
                    threading.Thread(target=_pump, args=(one, other), daemon=True).start()


def _pump(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while data := one.recv(65536):
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)


def programs(lab: Lab, web: WebServer) -> Iterator[tuple[str, Callable[[], object]]]:
    """A sample's name, and what makes a program send it."""
    def run(*command: str | Path) -> Callable[[], object]:
        return lambda: lab.client.run(command, stdin="HEAD / HTTP/1.0\r\n\r\n")

    def chromium(*options: str) -> Callable[[], object]:
        return lambda: browser.load(lab.client, f"https://{NAME}/", RELAY, web.certificate, *options)

    ticket = lab.state / "ticket"
    curl = ("curl", "-qsS", "--cacert", web.ca, "--connect-to", f"::{RELAY}:", f"https://{NAME}/")
    openssl = ("openssl", "s_client", "-ign_eof", "-connect", f"{RELAY}:443", "-servername", NAME, "-CAfile", web.ca)
    yield "chromium", chromium()
    yield "chromium-http1", chromium("--disable-http2")
    yield "curl", run(*curl)
    yield "curl-http1", run(*curl, "--http1.1")
    yield "curl-tls12", run(*curl, "--tls-max", "1.2")
    yield "openssl", run(*openssl, "-sess_out", ticket)
    yield "openssl-resumed", run(*openssl, "-sess_in", ticket)
    yield "openssl-tls12", run(*openssl, "-tls1_2")
    yield "openssl-long", run(*openssl, "-alpn", LONG_ALPN)
    yield "openssl-nameless", run("openssl", "s_client", "-ign_eof", "-connect", f"{RELAY}:443", "-noservername")
    yield "python", run(sys.executable, "-c", PYTHON)
    # It finds the name by the hosts file, as wget does, and gives up on the unknown authority after the handshake.
    yield "firefox", run("firefox-esr", "--headless", "--profile", lab.state, "--screenshot", lab.state / "page.png",
                         f"https://{NAME}/")
    yield "gnutls", run("wget", "-qO-", "--no-check-certificate", f"https://{NAME}/")


@contextmanager
def _hosts(lab: Lab) -> Iterator[None]:
    """For programs that can only be told where a name lives by the system's own file."""
    directory = Path("/etc/netns", lab.client.name)
    directory.mkdir(parents=True)
    try:
        (directory / "hosts").write_text(f"{RELAY} {NAME}\n")
        yield
    finally:
        (directory / "hosts").unlink()
        directory.rmdir()


def main() -> None:
    wanted = sys.argv[1:]
    with Lab() as lab, _hosts(lab):
        web = WebServer(lab.server, lab.state / "web", [NAME])
        relay = Relay(lab)
        for sample, send in programs(lab, web):
            relay.hellos.clear()
            if wanted and sample not in wanted:
                continue
            try:
                send()
            except LabError as error:
                print(f"{sample}: {error}")
            if relay.hellos:
                (HERE / f"{sample}.bin").write_bytes(relay.hellos[0])
                print(f"{sample}: {len(relay.hellos[0])} bytes")
        relay.close()


if __name__ == "__main__":
    main()
