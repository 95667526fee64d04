"""What stands for HTTP/3 at the lab's server: every datagram to UDP port 443 goes back as it came."""

from __future__ import annotations

import select
import socket
import threading
from typing import Self

from nfqdpi.lab.namespace import Namespace
from nfqdpi.lab.network import SERVER

_PORT = 443


class Echo:
    """Answers on both of the server's addresses for the length of a ``with`` block."""

    def __init__(self, server: Namespace) -> None:
        self._sockets = []
        self._end, self._ended = socket.socketpair()
        for family, address in SERVER.items():
            with server.entered():
                listening = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
            listening.bind((address, _PORT))
            self._sockets.append(listening)
        self._thread = threading.Thread(target=self._answer, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def _answer(self) -> None:
        while self._ended not in (ready := select.select([self._ended, *self._sockets], [], [])[0]):
            for listening in ready:
                datagram, client = listening.recvfrom(65536)
                listening.sendto(datagram, client)

    def __exit__(self, *_: object) -> None:
        self._end.close()
        self._thread.join()
        for one in (self._ended, *self._sockets):
            one.close()
