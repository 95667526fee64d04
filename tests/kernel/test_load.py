"""Uploads by plain HTTP, which strict mode reads packet by packet: the most that a client can ask of a worker."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

from nfqdpi.lab.network import Lab
from tests.kernel.daily import Gateway, ask, config
from tests.kernel.sink import sink, upload

CLIENTS = 6
SIZE = 30_000_000  # bytes each: together some five seconds of work


def test_a_busy_worker_is_not_taken_for_hung(lab: Lab, gateway: Gateway) -> None:
    """A queue that is not empty once in seconds costs no worker and no flow's record."""
    running = gateway(config(lab, workers=1))
    with sink(lab), ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(lambda _: upload(lab, SIZE), range(CLIENTS)))
    assert "killed" not in running.log.read_text()
    assert json.loads(ask(lab, running, "stats", "--json"))["total"]["reason_midstream"] == 0
