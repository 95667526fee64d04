"""Messages read several at a time."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator

import pytest

from nfqdpi.kernel.inbox import Inbox

MOST, LONGEST = 4, 1000


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    sending, receiving = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with sending, receiving:
        yield sending, receiving


def test_all_that_wait_come_in_their_order(ends: tuple[socket.socket, socket.socket]) -> None:
    """At most so many at a time, each with its own length; then none, which is no error, on a socket that would wait,
    too."""
    sending, receiving = ends
    inbox = Inbox(receiving.fileno(), MOST, LONGEST)
    sent = [os.urandom(length) for length in (1, LONGEST, 0, 16, 999, 7)]
    for message in sent:
        sending.send(message)
    assert [inbox.read() for _ in range(3)] == [sent[:MOST], sent[MOST:], []]
    sending.send(b"another")
    assert inbox.read() == [b"another"]


def test_a_message_that_is_too_long_is_cut(ends: tuple[socket.socket, socket.socket]) -> None:
    """What is over is lost, and neither in the next one's place nor in the next one."""
    sending, receiving = ends
    inbox = Inbox(receiving.fileno(), MOST, LONGEST)
    sending.send(b"a" * (LONGEST + 1))
    sending.send(b"b")
    assert inbox.read() == [b"a" * LONGEST, b"b"]


def test_an_error_is_raised_once() -> None:
    """It comes before the messages that wait, which are not lost by it."""
    with (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other,
          socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours):
        other.bind(("127.0.0.1", 0))
        ours.connect(other.getsockname())
        inbox = Inbox(ours.fileno(), MOST, LONGEST)
        ours.send(b"")
        other.sendto(b"answer", ours.getsockname())
        other.close()
        ours.send(b"nobody is there")
        with pytest.raises(OSError, match="refused") as raised:
            inbox.read()
        assert raised.value.errno == errno.ECONNREFUSED
        assert inbox.read() == [b"answer"]
        assert inbox.read() == []
