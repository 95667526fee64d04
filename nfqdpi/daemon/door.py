"""The control socket's door: who is let in, how many, and who has to go.

Whoever connects may only want to be a nuisance. They are let in some at a time, and of those who only hold a connection
the oldest makes room for who comes next. Sockets are read as they are: streams and transports take several times as
long for a request that is none.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from pathlib import Path
from struct import Struct

LONGEST = 4096  # bytes of a line
BACKLOG = 16  # who stand in line; whoever comes then waits in connect()
PAUSE = 0.05  # s when so many have been let in: a crowd gets little of our time, and wakes us seldom, since each time
#               would disturb a worker; and who has a request is heard long before it is the oldest
_MOST_CLIENTS, _MOST_OF_A_USER = 256, 128
_PATIENCE = 10.0  # s for another daemon to let us in

# --- socket(7), unix(7) ---
_CREDENTIALS = Struct("3i")  # struct ucred: pid, uid, gid
_SO_PEERGROUPS = 59
_GID = Struct("I")
_MOST_GROUPS = 1024 // _GID.size  # what Python lets getsockopt return


class Client:
    """Somebody who is connected. ``busy``: a request of theirs is being worked on."""

    def __init__(self, peer: socket.socket) -> None:
        self.peer = peer
        self.busy = False
        self._heard = b""  # and not yet asked for
        _, self.uid, gid = _CREDENTIALS.unpack(
            peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        self.groups = {gid}
        with suppress(OSError):  # ERANGE: in more groups than that
            groups = peer.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MOST_GROUPS * _GID.size)
            self.groups |= {group for (group,) in _GID.iter_unpack(groups)}

    async def line(self) -> bytes:
        """The next one; what there is of it where the client has ended, or nothing. Raises ConnectionError: it is too
        long, or the client is gone."""
        loop = asyncio.get_running_loop()
        while b"\n" not in self._heard and len(self._heard) <= LONGEST:
            if not (more := await loop.sock_recv(self.peer, LONGEST)):
                break
            self._heard += more
        line, end, self._heard = self._heard.partition(b"\n")
        if len(line) > LONGEST:
            raise ConnectionError
        return line + end

    async def send(self, data: bytes) -> None:
        """Wait until the kernel has all of it. Raises ConnectionError."""
        await asyncio.get_running_loop().sock_sendall(self.peer, data)


class Door:
    """``serve`` is given each client that is let in, which has to go when that is done."""

    def __init__(self, serve: Callable[[Client], Awaitable[None]]) -> None:
        self._serve = serve
        self._path: Path | None = None
        self._task: asyncio.Task[None] | None = None
        self._clients: defaultdict[int, dict[Client, asyncio.Task[None]]] = defaultdict(dict)  # by user, oldest first

    def open(self, path: Path, groups: Iterable[int], mode: int) -> None:
        """Listen. Raises OSError."""
        path.parent.mkdir(parents=True, exist_ok=True)
        _make_room(path)
        listener = socket.socket(socket.AF_UNIX)
        listener.setblocking(False)
        before = os.umask(0o177)
        try:
            listener.bind(str(path))
            listener.listen(BACKLOG)
        finally:
            os.umask(before)
        for group in groups:
            try:
                os.chown(path, -1, group)
            except PermissionError as error:
                raise OSError(error.errno, "[control] group: the daemon's user must be in it") from error
        path.chmod(mode)
        self._path = path
        self._task = asyncio.create_task(self._let_in(listener))

    def close(self) -> None:
        """Listen no more."""
        if self._path is not None and self._task is not None:
            self._task.cancel()
            self._path.unlink(missing_ok=True)

    async def _let_in(self, listener: socket.socket) -> None:
        """A backlog at a time: while it is there, accepting waits for nothing, and what they ask is heard at once."""
        loop = asyncio.get_running_loop()
        with listener:
            while True:
                with suppress(OSError):  # no descriptor is left
                    for _ in range(BACKLOG):
                        peer, _ = await loop.sock_accept(listener)
                        client = Client(peer)
                        if self._admit(client):
                            self._clients[client.uid][client] = loop.create_task(self._attend(client))
                        else:
                            peer.close()
                await asyncio.sleep(PAUSE)

    def _admit(self, client: Client) -> bool:
        """There is room for it, if need be in the place of another of the same user, or of the user with the most."""
        crowd = self._clients[client.uid]
        if len(crowd) < _MOST_OF_A_USER:
            if sum(map(len, self._clients.values())) < _MOST_CLIENTS:
                return True
            crowd = max(self._clients.values(), key=len)
        oldest = next((other for other in crowd if not other.busy), None)
        if oldest is None:
            return False
        crowd.pop(oldest).cancel()
        return True

    async def _attend(self, client: Client) -> None:
        try:
            with client.peer:
                await self._serve(client)
        except (TimeoutError, ConnectionError):
            pass  # too slow, too long, or gone: its own affair
        finally:
            self._clients[client.uid].pop(client, None)


def _make_room(path: Path) -> None:
    """Remove the socket that a daemon left which is no more; nothing else that stands there."""
    try:
        with socket.socket(socket.AF_UNIX) as other:
            other.settimeout(_PATIENCE)
            other.connect(str(path))
    except FileNotFoundError:
        return
    except ConnectionRefusedError:
        if not path.is_socket():
            raise FileExistsError(errno.EEXIST, "it is there, and no socket") from None
        path.unlink()
    else:
        raise OSError(errno.EADDRINUSE, "another daemon answers here")
