"""How long packets wait for a verdict beside a load: one worker, and segments on a flow that it watches."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from struct import Struct

from bench.ground import SERVERS, Ground, Load, stop
from nfqdpi.lab.cases import Mode

_PORT = 8080
_EACH = 0.001  # s between two segments
_STAMP = Struct("=d")
_LONGEST = 10**6  # s of a load
_CONFIG = """
[queue]
workers = 1
ports = [80, {port}]
[inspect]
mode = "{mode}"
[state]
directory = "{state}/state"
[[rule]]
name = "watch"
action = "inspect"
domains = ["probe.example"]
[events]
file = "{state}/eve.json"
[control]
socket = "{state}/control.sock"
"""


class Probe:
    """Segments with the time at which they were sent, from the client to a server."""

    def __init__(self, ground: Ground) -> None:
        self.delays: list[float] = []  # s
        with ground.server.entered(), socket.create_server((SERVERS[0], _PORT)) as listener:
            with ground.client.entered():
                self._near = socket.create_connection((SERVERS[0], _PORT))
            self._far, _ = listener.accept()
        self._near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head = b"POST / HTTP/1.1\r\nHost: probe.example\r\nContent-Length: 1000000000\r\n\r\n"
        self._near.sendall(head)
        self._far.recv(len(head), socket.MSG_WAITALL)
        threading.Thread(target=self._hear, daemon=True).start()
        threading.Thread(target=self._send, daemon=True).start()

    def take(self) -> list[float]:
        taken, self.delays = self.delays, []
        return taken

    def _send(self) -> None:
        while True:
            self._near.sendall(_STAMP.pack(time.monotonic()))
            time.sleep(_EACH)

    def _hear(self) -> None:
        while stamp := self._far.recv(_STAMP.size, socket.MSG_WAITALL):
            self.delays.append(time.monotonic() - _STAMP.unpack(stamp)[0])


@contextmanager
def daemon(ground: Ground, more: str = "", mode: Mode = "fast") -> Iterator[Path]:
    """One that judges the ground's traffic; its configuration, which ends with ``more``."""
    config = ground.state / "nfqdpi.toml"
    config.write_text(_CONFIG.format(port=_PORT, mode=mode, state=ground.state) + more)
    running = ground.start(ground.gateway, [sys.executable, "-m", "nfqdpi", "run", "-c", config], log="nfqdpi")
    try:
        yield config
    finally:
        stop(running)


@contextmanager
def even_load(ground: Ground, flows: int, rate: int) -> Iterator[Future[Load]]:
    """Flows are opened, so many a second. They end with the block: what became of them is told where they were over
    by then."""
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(ground.load, ground.request("http"), flows, "-r", rate, timeout=_LONGEST)
        time.sleep(1)
        try:
            yield loading
        finally:
            for pid in ground.client.pids():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)


def compare(quiet: Sequence[float], other: Sequence[float], title: str = "", cause: str = "it") -> None:
    """Print the delays without and with what may cause longer ones."""
    for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
        without, having = (sorted(delays)[int(len(delays) * share)] * 1e6 for delays in (quiet, other))
        print(f"{title}{name}: {without:.0f} us without, {having:.0f} us with {cause}: ratio {having / without:.3f}")
    print(f"{title}{len(quiet)} and {len(other)} segments", flush=True)
