"""The control socket, as the daemon serves it; ``ask`` is the other end, docs/control.md describes both.

Who asks is known from the kernel. Whoever connects may be slow, or means harm: a request has its time, a reply goes out
by pieces, a bad request ends the connection, and of those who only hold one, the oldest makes room for who comes next.
"""

from __future__ import annotations

import asyncio
import errno
import grp
import os
import pwd
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from struct import Struct
from typing import Any

import msgspec

from nfqdpi.config.model import Control as Settings
from nfqdpi.daemon.ask import CHANGES, VERSION, Request

_LONGEST_REQUEST = 4096  # bytes
_PATIENCE = 10.0  # s that a client may take for its next request
_REPLY = 60.0  # s that a client may take for a reply
_PIECE = 65536  # bytes of a reply that are handed to the kernel at a time
_MOST_CLIENTS, _MOST_OF_A_USER = 256, 128
_BACKLOG = 16  # and so many are let in at once, so that a newcomer is heard long before it is the oldest
_PENANCE = 0.25  # s until the answer to what is no request: so it takes time to be a nuisance

_FINAL = frozenset({"bad_request", "not_permitted"})  # refusals that end the connection

# --- socket(7), unix(7) ---
_CREDENTIALS = Struct("3i")  # struct ucred: pid, uid, gid
_SO_PEERGROUPS = 59
_GID = Struct("I")
_MOST_GROUPS = 1024 // _GID.size  # what Python lets getsockopt return


Reply = dict[str, Any]
Pieces = AsyncIterator[bytes]  # of the members of a reply, where it is too long to be made at once
Command = Callable[[], Reply | Awaitable[Reply] | Pieces]


def owners(settings: Settings) -> set[int]:
    """The user ids that may change things. Raises LookupError."""
    try:
        return {0, os.geteuid(), *([pwd.getpwnam(settings.owner).pw_uid] if settings.owner else ())}
    except KeyError:
        raise LookupError(f"[control] owner: there is no user {settings.owner!r}") from None


def readers(settings: Settings) -> set[int]:
    """The group ids, one or none, that may read. Raises LookupError."""
    try:
        return {grp.getgrnam(settings.group).gr_gid} if settings.group else set()
    except KeyError:
        raise LookupError(f"[control] group: there is no group {settings.group!r}") from None


class _Client:
    """Somebody who is connected. ``busy``: a request of theirs is being worked on."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("socket")
        self.writer = writer
        self.busy = False
        _, self.uid, gid = _CREDENTIALS.unpack(
            peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        self.groups = {gid}
        with suppress(OSError):  # ERANGE: in more groups than that
            groups = peer.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MOST_GROUPS * _GID.size)
            self.groups |= {group for (group,) in _GID.iter_unpack(groups)}


class Control:
    """Serves ``commands``: name -> function that gives the reply, at once, by and by, or in pieces. Raises LookupError
    where the owner or the group does not exist."""

    def __init__(self, settings: Settings, commands: Mapping[str, Command]) -> None:
        self._path = settings.socket
        self._mode = settings.mode
        self._commands = commands
        self._owners = owners(settings)
        self._readers = readers(settings)
        self._server: asyncio.Server | None = None
        self._clients: dict[_Client, None] = {}  # the oldest first

    async def start(self) -> None:
        """Listen. A socket that nobody listens on any more is replaced; OSError, with the path, where it cannot be made
        or another daemon answers on it."""
        if not self._path:
            return
        try:
            await self._listen()
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._path) from error

    async def _listen(self) -> None:
        Path(self._path).parent.mkdir(parents=True, exist_ok=True)
        _make_room(Path(self._path))
        before = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(self._serve, self._path, limit=_LONGEST_REQUEST,
                                                           backlog=_BACKLOG)
        finally:
            os.umask(before)
        for group in self._readers:
            try:
                os.chown(self._path, -1, group)
            except PermissionError as error:
                raise OSError(error.errno, "[control] group: the daemon's user must be in it") from error
        Path(self._path).chmod(self._mode)

    def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()
            Path(self._path).unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = _Client(writer)
        if self._admit(client):
            try:
                await self._converse(client, reader)
            except (TimeoutError, ValueError, ConnectionError):
                pass  # too slow, too long, or gone: its own affair
            except asyncio.CancelledError:
                pass  # the daemon ends, which asyncio (3.11) would report as an error of ours
            finally:
                self._clients.pop(client, None)
        if writer.transport.get_write_buffer_size():
            writer.transport.abort()  # it does not read
        writer.close()

    def _admit(self, client: _Client) -> bool:
        """There is room for it, if need be in the place of another of the same user, or of the user with the most."""
        by_user = Counter(other.uid for other in self._clients)
        crowd = None
        if by_user[client.uid] >= _MOST_OF_A_USER:
            crowd = client.uid
        elif len(self._clients) >= _MOST_CLIENTS:
            crowd = by_user.most_common(1)[0][0]
        if crowd is not None:
            oldest = next((other for other in self._clients if other.uid == crowd and not other.busy), None)
            if oldest is None:
                return False
            del self._clients[oldest]
            oldest.writer.transport.abort()
        self._clients[client] = None
        return True

    async def _converse(self, client: _Client, reader: asyncio.StreamReader) -> None:
        while line := await asyncio.wait_for(reader.readline(), _PATIENCE):
            if client not in self._clients:
                return  # it had to go, with half a request
            reply = await self._answer(client, line)
            async with asyncio.timeout(_REPLY):
                async for piece in _pieces(reply):
                    client.writer.write(piece)
                    await client.writer.drain()
                    await asyncio.sleep(0)  # others' turn: draining alone waits for nobody who reads fast
            if isinstance(reply, dict) and reply.get("code") in _FINAL:
                return

    async def _answer(self, client: _Client, line: bytes) -> Reply | Pieces:
        try:
            request = msgspec.json.decode(line, type=Request)
        except msgspec.DecodeError as error:
            return await _refusal("bad_request", f"not a request: {error}")
        changes = request.command in CHANGES
        if client.uid not in self._owners and (changes or not client.groups & self._readers):
            return await _refusal("not_permitted", f"user {client.uid} may not {'change' if changes else 'read'} this")
        command = self._commands.get(request.command)
        if command is None or request.v != VERSION:
            return await _refusal("unknown", f"no command {request.command!r} in version {request.v}")
        client.busy = True
        reply = command()
        if isinstance(reply, Awaitable):
            reply = await reply
        client.busy = False
        return reply


async def _refusal(code: str, error: str) -> Reply:
    await asyncio.sleep(_PENANCE)
    return {"error": error, "code": code}


async def _pieces(reply: Reply | Pieces) -> Pieces:
    """The line that goes out."""
    if isinstance(reply, dict):
        line = msgspec.json.encode({"v": VERSION, **reply}) + b"\n"
        for start in range(0, len(line), _PIECE):
            yield line[start : start + _PIECE]
    else:
        yield b'{"v":%d,' % VERSION
        async for piece in reply:
            yield piece
        yield b"}\n"


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
