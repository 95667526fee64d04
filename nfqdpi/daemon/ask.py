"""Asking the daemon over its control socket: one JSON request a line, one JSON reply a line (docs/control.md)."""

from __future__ import annotations

import errno
import socket
from io import IOBase
from struct import Struct
from typing import Any

import msgspec

VERSION = 1
CHANGES = frozenset({"reload", "by_hand"})  # what changes something, and may take long

_ANSWER = 5  # s for the daemon to answer at all
_WORK = 300.0  # s that it may take for what changes the policy: a reload may have millions of names to compile
_READ = 1 << 18  # bytes of a reply at a time; all that a socket holds
_TIMEVAL = Struct("@ll")


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
            # Python's own timeout would have connect() fail, not wait, where others stand in line.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _TIMEVAL.pack(_ANSWER, 0))
            client.connect(path)
            client.settimeout(_ANSWER)
            replies = client.makefile("rb", _READ)
            if command in CHANGES:  # whether it lives is known before it is waited for
                _exchange(client, replies, "status")
                client.settimeout(_WORK)
            return _exchange(client, replies, command)
    except PermissionError:
        raise
    except (TimeoutError, BlockingIOError) as error:  # the second: its backlog is full
        raise Hung(f"the daemon is there and does not answer on {path}") from error
    except (OSError, msgspec.DecodeError) as error:
        raise NotRunning(f"no daemon answers on {path}") from error


def _exchange(client: socket.socket, replies: IOBase, command: str) -> dict[str, Any]:
    client.sendall(msgspec.json.encode(Request(command)) + b"\n")
    reply: dict[str, Any] = msgspec.json.decode(replies.readline())
    if reply.get("code") == "not_permitted":
        raise PermissionError(errno.EACCES, reply["error"])
    return reply
