"""The control socket among clients of every kind."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from nfqdpi.config.model import Control as Settings
from nfqdpi.daemon import control as module
from nfqdpi.daemon import door
from nfqdpi.daemon.ask import VERSION, NotRunning, ask
from nfqdpi.daemon.control import Control, readers

USER, GROUP = "nobody", "nogroup"  # Debian's


@contextmanager
def listening(settings: Settings, **commands: Callable[[], Any]) -> Iterator[str]:
    """The control socket in a thread of its own; where it is."""
    loop, control = asyncio.new_event_loop(), Control(settings, commands)
    loop.run_until_complete(control.start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield settings.socket
    finally:
        asyncio.run_coroutine_threadsafe(end(control), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def end(control: Control) -> None:
    """As asyncio.run ends: no client is left."""
    control.stop()
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0)  # for what they have closed


@pytest.fixture
def path(tmp_path: Path) -> Iterator[str]:
    with listening(Settings(str(tmp_path / "socket")), status=lambda: {"well": True}, flows=rows) as where:
        yield where


async def rows() -> AsyncIterator[bytes]:
    """A reply of some 20 MB."""
    yield b'"rows":['
    for number in range(2000):
        yield (b"," if number else b"") + b'"' + b"x" * 10_000 + b'"'
    yield b"]"


def connect(path: str) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.connect(path)
    client.settimeout(10)
    return client


def answer(path: str, request: bytes) -> dict[str, Any]:
    with connect(path) as client:
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        reply: dict[str, Any] = json.loads(client.makefile("rb").readline())
    return reply


def test_several_requests_of_one_client(path: str) -> None:
    """A client may ask again on the same connection; each reply has the version."""
    with connect(path) as client, client.makefile("rb") as replies:
        for _ in range(3):
            client.sendall(b'{"v": 1, "command": "status"}\n')
            assert json.loads(replies.readline()) == {"v": VERSION, "well": True}


@pytest.mark.parametrize(("request_", "code"), [
    (b"\n", "bad_request"), (b"GET / HTTP/1.1\r\n\r\n", "bad_request"), (b"[]\n", "bad_request"),
    (b'{"command": 7}\n', "bad_request"), (b'{"v": 1}\n', "bad_request"), (b"[" * 4000 + b"\n", "bad_request"),
    (b'{"command": "\\ud800"}\n', "bad_request"), (b'{"command": "status", "v": 2}\n', "unknown"),
    (b'{"command": "dance"}\n', "unknown"),
])
def test_what_is_no_request(path: str, request_: bytes, code: str) -> None:
    """It is told so, which ends the connection; the next client is served."""
    with connect(path) as client, client.makefile("rb") as replies:
        client.sendall(request_)
        reply = json.loads(replies.readline())
        assert (reply["v"], reply["code"]) == (VERSION, code)
        assert replies.read() == b""
    assert ask(path, "status")["well"]


@pytest.mark.parametrize("request_", [
    b"\xff\xfe\n", b'{"command": "\xff"}\n', b"x" * 100_000 + b"\n", b"x" * 100_000, b"",
])
def test_what_is_no_text(path: str, request_: bytes) -> None:
    """Bytes that are no UTF-8, a line without an end or none at all harm nobody."""
    with connect(path) as client:
        client.sendall(request_)
        client.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError):  # what it did not read
            client.recv(1000)
    assert ask(path, "status")["well"]


def test_a_crowd_of_half_requests(path: str) -> None:
    """However many hold a connection without asking, the next who asks is served: the oldest has had to go."""
    with ExitStack() as crowd:
        clients = []
        for _ in range(200):
            clients.append(crowd.enter_context(connect(path)))
            clients[-1].send(b'{"comm')
        assert ask(path, "status")["well"]
        assert gone(clients[0])


def test_a_crowd_of_bad_requests(path: str) -> None:
    """Those who have asked badly keep nobody out, not even of their own user."""
    with ExitStack() as crowd:
        for _ in range(200):
            crowd.enter_context(connect(path)).send(b"bad\n")
            assert ask(path, "status")["well"]


def test_a_crowd_is_let_in_by_and_by(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """When as many as may stand in line have been let in, the next one waits."""
    monkeypatch.setattr(door, "PAUSE", 60)
    for _ in range(door.BACKLOG):
        assert ask(path, "status")["well"]
    with connect(path) as client:
        client.sendall(b'{"command": "status"}\n')
        client.settimeout(0.1)
        with pytest.raises(TimeoutError):
            client.recv(1)


def gone(client: socket.socket) -> bool:
    """The daemon has ended the connection."""
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def test_those_who_do_not_read(path: str) -> None:
    """Replies that nobody reads hold nobody up; one that is read comes whole."""
    with ExitStack() as crowd:
        for _ in range(40):
            crowd.enter_context(connect(path)).sendall(b'{"command": "flows"}\n')
        assert ask(path, "status")["well"]
        assert len(ask(path, "flows")["rows"]) == 2000


def test_a_slow_client_is_given_up(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who takes too long for a request, or trickles it, is let go."""
    monkeypatch.setattr(module, "_PATIENCE", 0.2)
    with connect(path) as client:
        client.send(b'{"command"')
        assert client.recv(1) == b""
    monkeypatch.setattr(module, "_REPLY", 0.2)
    with connect(path) as client:
        client.sendall(b'{"command": "flows"}\n')
        threading.Event().wait(0.5)
        assert len(client.makefile("rb").read()) < 10_000_000


@pytest.mark.kernel
@pytest.mark.parametrize(("settings", "gid", "code"), [
    (Settings(), 0, ("not_permitted", "not_permitted")),
    (Settings(group=GROUP), 0, ("not_permitted", "not_permitted")),
    (Settings(group=GROUP), None, (None, "not_permitted")),
    (Settings(owner=USER), 0, (None, None)),
])
def test_who_may_what(tmp_path: Path, settings: Settings, gid: int | None, code: tuple[str | None, str | None]) -> None:
    """The group may read; the owner, root and the daemon's user may change; nobody else may anything, whatever the
    socket's mode lets by."""
    import msgspec

    for directory in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        directory.chmod(0o755)
    settings = msgspec.structs.replace(settings, socket=str(tmp_path / "socket"), mode=0o666)
    with listening(settings, status=dict, reload=dict) as path:
        stat = Path(path).stat()
        assert (stat.st_mode & 0o777, {stat.st_gid}) == (0o666, readers(settings) or {os.getegid()})
        assert ask(path, "reload") == {"v": VERSION}
        account = pwd.getpwnam(USER)
        replies = [as_user(account.pw_uid, account.pw_gid if gid is None else gid, path, command)
                   for command in ("status", "reload")]
    assert tuple(reply.get("code") for reply in replies) == code


def as_user(uid: int, gid: int, path: str, command: str) -> dict[str, Any]:
    """What another user is answered."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
        os.write(theirs, json.dumps(answer(path, json.dumps({"command": command}).encode() + b"\n")).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(theirs)
    with os.fdopen(ours) as told:
        reply: dict[str, Any] = json.load(told)
    return reply


@pytest.mark.parametrize("settings", [Settings(owner="nobody-at-all"), Settings(group="nobody-at-all")])
def test_who_does_not_exist(settings: Settings) -> None:
    """An unknown owner or group is told by its name."""
    with pytest.raises(LookupError, match=r"\[control\] (owner|group): there is no (user|group) 'nobody-at-all'"):
        Control(settings, {})


def test_a_refusal_is_an_exception_of_its_own(tmp_path: Path) -> None:
    """For the command line, a refusal is a PermissionError, and silence is NotRunning."""
    def refuse() -> dict[str, str]:
        return {"error": "no", "code": "not_permitted"}

    with listening(Settings(str(tmp_path / "socket")), status=refuse) as path, pytest.raises(PermissionError):
        ask(path, "status")
    with pytest.raises(NotRunning):
        ask(str(tmp_path / "socket"), "status")
