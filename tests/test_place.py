"""What is known of a worker's place."""

from __future__ import annotations

import pytest

from nfqdpi.daemon.place import Place
from nfqdpi.kernel.queues import Queue

OURS, OTHERS = (Queue(0, port, 0, 2, 65535, 0, 0, 0) for port in (100, 200))


@pytest.mark.parametrize("found", [None, OTHERS])
def test_a_queue_is_lost_at_the_second_look(found: Queue | None) -> None:
    """At the first, its worker may be ending: then the queue goes before the process."""
    place = Place(0)
    assert [place.deaf(queue) for queue in (OURS, found, OURS, found, found)] == [False, False, False, False, True]
