"""The control socket: one JSON request a line, one JSON reply a line. Root's alone."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

VERSION = 1

_LONGEST_REQUEST = 65536  # bytes
_PATIENCE = 10.0  # s that a client may take for its next request, or to take a reply
_ANSWER = 5.0  # s for the daemon to answer at all
_WORK = 300.0  # s that it may take for what changes the policy: a reload may have millions of names to compile
_MOST_CLIENTS = 32
_LONG = frozenset({"reload", "by_hand"})


class Request(msgspec.Struct):
    """``v``: the protocol's version; ``command``: what is asked."""

    command: str
    v: int = VERSION


class NotRunning(Exception):  # noqa: N818  a state of the machine, not of the program
    """Nobody answers on the control socket."""


class Hung(NotRunning):
    """A daemon is there, and gives no answer."""


def ask(path: str, command: str) -> dict[str, Any]:
    """The reply to a command, for the command line. Raises NotRunning; Hung where a daemon is there and says nothing;
    PermissionError where we may not."""
    if not path:
        raise NotRunning("[control] socket is switched off, so a daemon cannot be asked")
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(_ANSWER)
            client.connect(path)
            replies = client.makefile("rb")
            if command in _LONG:  # whether it lives is known before it is waited for
                _exchange(client, replies, "status")
                client.settimeout(_WORK)
            return _exchange(client, replies, command)
    except PermissionError:
        raise
    except (TimeoutError, BlockingIOError) as error:  # the second: its backlog is full
        raise Hung(f"the daemon is there and does not answer on {path}") from error
    except (OSError, msgspec.DecodeError) as error:
        raise NotRunning(f"no daemon answers on {path}") from error


def _exchange(client: socket.socket, replies: BinaryIO, command: str) -> dict[str, Any]:
    client.sendall(msgspec.json.encode(Request(command)) + b"\n")
    reply: dict[str, Any] = msgspec.json.decode(replies.readline())
    return reply


Reply = dict[str, Any]


class Control:
    """Serves ``commands``: name -> function that gives the reply, at once or by and by."""

    def __init__(self, path: str, commands: Mapping[str, Callable[[], Reply | Awaitable[Reply]]]) -> None:
        self._path = path
        self._commands = commands
        self._server: asyncio.Server | None = None
        self._clients = 0

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
            self._server = await asyncio.start_unix_server(self._serve, self._path, limit=_LONGEST_REQUEST)
        finally:
            os.umask(before)

    def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()
            Path(self._path).unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients += 1
        try:
            while self._clients <= _MOST_CLIENTS:
                line = await asyncio.wait_for(reader.readline(), _PATIENCE)
                if not line:
                    break
                writer.write(msgspec.json.encode(await self._reply(line)) + b"\n")
                await asyncio.wait_for(writer.drain(), _PATIENCE)
        except (TimeoutError, ValueError, ConnectionError):
            pass  # too slow, too long, or gone: its own affair
        finally:
            self._clients -= 1
            writer.close()

    async def _reply(self, line: bytes) -> Reply:
        try:
            request = msgspec.json.decode(line, type=Request)
        except msgspec.DecodeError as error:
            return {"v": VERSION, "error": f"not a request: {error}"}
        command = self._commands.get(request.command)
        if command is None or request.v != VERSION:
            return {"v": VERSION, "error": f"no command {request.command!r} in version {request.v}"}
        reply = command()
        return {"v": VERSION, **(reply if isinstance(reply, dict) else await reply)}


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
