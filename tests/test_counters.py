"""A worker's page of counters, and how long verdicts took."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from nfqdpi.daemon.counters import LATENCIES, LATENCY_BUCKETS, Counters


@given(st.lists(st.lists(st.floats(0, 20) | st.sampled_from([us / 1e6 for us in LATENCIES]))))
def test_latencies_fall_into_the_first_bucket_that_fits(batches: list[list[float]]) -> None:
    """A bucket's bound belongs to it; what fits none is longer; nothing is counted twice, whatever the batches."""
    counters = Counters()
    truth = dict.fromkeys(LATENCY_BUCKETS, 0)
    for batch in batches:
        counters.add_latencies(batch)
        for seconds in batch:
            truth[next((f"latency_le_{us}us" for us in LATENCIES if seconds <= us / 1e6), "latency_longer")] += 1
    read = counters.read()
    assert {name: read[name] for name in LATENCY_BUCKETS} == truth
    assert abs(read["latency_us"] - sum(map(sum, batches)) * 1e6) <= len(batches)


def test_a_worker_writes_what_the_supervisor_reads() -> None:
    """The page is one and the same on both sides of a fork."""
    counters = Counters()
    if (pid := os.fork()) == 0:
        counters["packets"] = 7
        os._exit(0)
    os.waitpid(pid, 0)
    assert counters["packets"] == counters.read()["packets"] == 7
