"""What is known of a worker's place."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

import pytest

from nfqdpi.daemon.place import Place
from nfqdpi.kernel.queues import Queue

OURS, OTHERS = (Queue(0, port, 0, 2, 65535, 0, 0, 0) for port in (100, 200))


@pytest.mark.parametrize("found", [None, OTHERS])
def test_a_queue_is_lost_at_the_second_look(found: Queue | None) -> None:
    """At the first, its worker may be ending: then the queue goes before the process."""
    place = Place(0)
    assert [place.deaf(queue) for queue in (OURS, found, OURS, found, found)] == [False, False, False, False, True]


LOOP = "while True: pass"
LAST = """
import os
os.sched_setaffinity(0, {cpus})
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
while True: pass
"""


@contextmanager
def working(program: str) -> Iterator[Place]:
    """A process as a worker that has just had its last heartbeat."""
    ours, theirs = socket.socketpair()
    with ours, theirs, subprocess.Popen([sys.executable, "-c", program]) as process:
        try:
            place = Place(0)
            place.counters["heartbeat_ms"] = round(monotonic() * 1000)
            place.born(process.pid, ours, 0)
            place.ready.set()
            assert not place.hangs
            yield place
        finally:
            process.kill()


def test_who_waits_for_a_processor_does_not_hang() -> None:
    """Who loops or is stopped, does; on a busy machine, too."""
    cpus = {min(os.sched_getaffinity(0))}
    busy = f"import os\nos.sched_setaffinity(0, {cpus})\n{LOOP}"
    with working(busy), working(LOOP) as loop, working(LOOP) as stopped, working(LAST.format(cpus=cpus)) as last:
        os.kill(stopped.pid, signal.SIGSTOP)
        deadline = monotonic() + 30
        while not (loop.hangs and stopped.hangs) and monotonic() < deadline:
            assert not last.hangs
            time.sleep(0.05)
        assert (loop.hangs, stopped.hangs, last.hangs) == (True, True, False)
