"""What the supervisor and a worker say to each other."""

from __future__ import annotations

import socket
from contextlib import ExitStack

from nfqdpi.daemon.channel import Parcel, receive

_LATER: list[socket.socket] = []  # who receives while another one does


class Interrupted:
    """Makings in whose middle another worker reads the same parcel."""

    def __reduce__(self) -> tuple[object, tuple[()]]:
        return _meanwhile, ()


def _meanwhile() -> object:
    return receive(_LATER.pop()) if _LATER else None


def test_a_parcel_is_read_by_all_workers_at_once() -> None:
    """Each has its own place in the one memory."""
    with ExitStack() as ends:
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2)]
        for end in (end for pair in pairs for end in pair):
            ends.enter_context(end)
        long = [b"x" * 60_000, *range(40_000)]  # more than any reader takes at once
        parcel = Parcel(7, [Interrupted(), *long])
        for supervisor, _ in pairs:
            parcel.send(supervisor)
        parcel.close()
        (_, first), (_, second) = pairs
        _LATER.append(second)
        assert receive(first) == (7, [(7, [None, *long]), *long])
