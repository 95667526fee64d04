"""Messages are heard together, and none too late."""

from __future__ import annotations

import asyncio
import socket

import pytest

from nfqdpi.daemon.gathering import listen


def test_messages_gather() -> None:
    """The first is heard at once, those that come right after it together, and nothing once the ear is closed."""
    heard: list[int] = []

    async def talk() -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)

        def hear() -> bool:
            count = 0
            try:
                while ours.recv(10):
                    count += 1
            except BlockingIOError:
                heard.append(count)
            return False

        with theirs:
            listen(ours, hear, 0.2)
            for count in (1, 2):
                for _ in range(count):
                    theirs.send(b"x")
                while len(heard) < count:
                    await asyncio.sleep(0)
            ours.close()
            await asyncio.sleep(0.25)

    asyncio.run(talk())
    assert heard == [1, 2]


def test_what_is_left_over_does_not_wait() -> None:
    """Whoever has not heard all is asked again at once, after others had their turn."""
    times = 0

    async def talk() -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

        def hear() -> bool:
            nonlocal times
            times += 1
            ours.recv(10)
            return times < 3

        with ours, theirs:
            for _ in range(3):
                theirs.send(b"x")
            listen(ours, hear, 3600.0)
            async with asyncio.timeout(10):
                while times < 3:
                    await asyncio.sleep(0)

    asyncio.run(talk())


def test_an_ear_outlives_what_is_raised(caplog: pytest.LogCaptureFixture) -> None:
    """The loop tells of it, and the next message is heard."""
    heard: list[bytes] = []

    async def talk() -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

        def hear() -> bool:
            heard.append(ours.recv(10))
            raise ValueError(heard[-1])

        with ours, theirs:
            listen(ours, hear, 0.001)
            for _ in range(2):
                theirs.send(b"x")
            while len(heard) < 2:
                await asyncio.sleep(0)

    asyncio.run(talk())
    assert [record.name for record in caplog.records] == ["asyncio"] * 2
