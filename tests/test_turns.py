"""Who is interrupted, and who is not."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from types import FrameType, SimpleNamespace

import pytest

from nfqdpi.core.plugin import Overrun
from nfqdpi.daemon import turns
from nfqdpi.daemon.turns import Turns

PATIENCE = 0.01  # s
TICK = 0.005


class Worker(SimpleNamespace):
    """Whose code runs, at which packet, and what a clock says; another clock than the one that ticks."""

    name: str = "bad"
    packets: int = 1
    now: float = 1000.0
    waited: float = 0.0

    def running(self, _: FrameType | None) -> tuple[str, float]:
        return self.name, PATIENCE

    def tick(self, *, after: float = TICK) -> None:
        self.now += after
        signal.raise_signal(signal.SIGALRM)


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    """Its clock ticks when it is told."""
    worker = Worker()
    monkeypatch.setattr(turns, "monotonic", lambda: worker.now)
    monkeypatch.setattr(turns, "waited_for_cpu", lambda: worker.waited)
    before = signal.getsignal(signal.SIGALRM)
    clock = Turns(worker.running, lambda: worker.packets)
    clock.start()
    signal.setitimer(signal.ITIMER_REAL, 0)
    yield worker
    clock.stop()
    signal.signal(signal.SIGALRM, before)


def test_out_of_patience(worker: Worker) -> None:
    """A plugin has its patience for a packet, from the first tick that finds it there."""
    worker.tick()
    worker.tick()
    with pytest.raises(Overrun, match="more than 10 ms for a packet"):
        worker.tick()


@pytest.mark.parametrize(("change", "value"), [("packets", 2), ("name", "another")])
def test_in_time(worker: Worker, change: str, value: object) -> None:
    """What counts is one plugin at one packet: not two packets, nor two plugins."""
    for first in (vars(Worker)[change], value) * 5:
        setattr(worker, change, first)
        worker.tick()
        worker.tick()


def test_others_had_the_cpu(worker: Worker) -> None:
    """However long others have it: the kernel tells of those beside us, and a hypervisor nothing."""
    worker.tick()
    for _ in range(5):
        worker.waited += 1.0
        worker.tick(after=1.0)
    worker.tick(after=1.0)


def test_nothing_ticks_while_nothing_is_done() -> None:
    """An idle worker wakes for nothing, and a plugin that has it next is interrupted all the same."""
    before = signal.getsignal(signal.SIGALRM)
    worker = Worker(name="")
    clock = Turns(worker.running, lambda: worker.packets)
    try:
        clock.start()
        clock.rest()
        signal.raise_signal(signal.SIGALRM)
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
        clock.go_on()
        worker.name = "bad"
        with pytest.raises(Overrun):
            _loop()
    finally:
        clock.stop()
        signal.signal(signal.SIGALRM, before)


def _loop() -> None:
    while True:
        pass
