"""Two sockets that exchange datagrams through the gateway."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from nfqdpi.lab.network import SERVER, Family, Lab

_PATIENCE = 5.0  # s that either waits for a datagram


@contextmanager
def both_ends(lab: Lab, port: int, family: Family = 4) -> Iterator[tuple[socket.socket, socket.socket]]:
    """The client's, which has the server's for its peer, and the server's, on this port."""
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    with lab.client.entered():
        client = socket.socket(kind, socket.SOCK_DGRAM)
    with lab.server.entered():
        server = socket.socket(kind, socket.SOCK_DGRAM)
    with client, server:
        server.bind((SERVER[family], port))
        client.connect((SERVER[family], port))
        for end in (client, server):
            end.settimeout(_PATIENCE)
        yield client, server
