"""A server that reads what clients upload, and a client that uploads: as much as there is, as fast as it goes."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from nfqdpi.lab.network import SERVER, Lab


@contextmanager
def sink(lab: Lab) -> Iterator[None]:
    """A server on port 80 that reads bodies as fast as they come and answers when it has all of one."""
    with lab.server.entered():
        listener = socket.create_server(("", 80))

    def accept() -> None:
        with suppress(OSError):
            while True:
                peer, _ = listener.accept()
                threading.Thread(target=_swallow, args=(peer,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def _swallow(peer: socket.socket) -> None:
    room = bytearray(1 << 20)
    with peer, suppress(ConnectionError):
        head, _, body = peer.recv(65536).partition(b"\r\n\r\n")
        left = int(head.lower().partition(b"content-length:")[2].split()[0]) - len(body)
        while left and (size := peer.recv_into(room)):
            left -= size
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


def upload(lab: Lab, size: int) -> None:
    """curl POSTs so many bytes by plain HTTP."""
    body = lab.state / "body"
    with body.open("wb") as file:
        os.truncate(file.fileno(), size)  # sparse: reading it costs no disk
    done = lab.client.run(["curl", "-qsS", "--max-time", "600", "-X", "POST", "-H", "Expect:", "-T", body, "-o",
                           "/dev/null", "-w", "%{http_code} %{size_upload}", "--connect-to", f"::{SERVER[4]}:",
                           "http://allowed.example/"], timeout=610)
    if done.stdout != f"200 {size}":
        raise RuntimeError(f"the upload ended with {done.stdout}")
