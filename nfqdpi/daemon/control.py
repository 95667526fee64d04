"""The control socket, as the daemon serves it; ``ask`` is the other end, docs/control.md describes both.

Who asks is known from the kernel. A client may be slow, or mean harm: a request has its time, a reply goes out by
pieces, and a refusal ends the connection.
"""

from __future__ import annotations

import asyncio
import grp
import os
import pwd
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from nfqdpi.config.model import Control as Settings
from nfqdpi.daemon.ask import CHANGES, VERSION, Request
from nfqdpi.daemon.door import Client, Door

_PATIENCE = 10.0  # s that a client may take for its next request
_REPLY = 60.0  # s that a client may take for a reply
_PIECE = 65536  # bytes of a reply that are handed to the kernel at a time


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


class Control:
    """Serves ``commands``: name -> function that gives the reply, at once, by and by, or in pieces. Raises LookupError
    where the owner or the group does not exist."""

    def __init__(self, settings: Settings, commands: Mapping[str, Command]) -> None:
        self._path = settings.socket
        self._mode = settings.mode
        self._commands = commands
        self._owners = owners(settings)
        self._readers = readers(settings)
        self._door = Door(self._serve)

    async def start(self) -> None:
        """Listen. A socket that nobody listens on any more is replaced; OSError, with the path, where it cannot be made
        or another daemon answers on it."""
        if not self._path:
            return
        try:
            self._door.open(Path(self._path), self._readers, self._mode)
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._path) from error

    def stop(self) -> None:
        """Listen no more."""
        self._door.close()

    async def _serve(self, client: Client) -> None:
        while True:
            async with asyncio.timeout(_PATIENCE):
                line = await client.line()
            if not line:
                return
            reply = await self._answer(client, line)
            async with asyncio.timeout(_REPLY):
                async for piece in _pieces(reply):
                    await client.send(piece)
                    await asyncio.sleep(0)  # others' turn: sending alone waits for nobody who reads fast
            if isinstance(reply, dict) and "code" in reply:
                return

    async def _answer(self, client: Client, line: bytes) -> Reply | Pieces:
        try:
            request = msgspec.json.decode(line, type=Request)
        except msgspec.DecodeError as error:
            return _refusal("bad_request", f"not a request: {error}")
        changes = request.command in CHANGES
        if client.uid not in self._owners and (changes or not client.groups & self._readers):
            return _refusal("not_permitted", f"user {client.uid} may not {'change' if changes else 'read'} this")
        command = self._commands.get(request.command)
        if command is None or request.v != VERSION:
            return _refusal("unknown", f"no command {request.command!r} in version {request.v}")
        client.busy = True
        reply = command()
        if isinstance(reply, Awaitable):
            reply = await reply
        client.busy = False
        return reply


def _refusal(code: str, error: str) -> Reply:
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
