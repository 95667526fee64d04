"""What is measured on: a daemon or none in the lab's gateway, what its workers were handed, and their CPU time."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nfqdpi.lab import gauges
from nfqdpi.lab.daemon import daemon
from nfqdpi.lab.network import SERVER, Family, Lab
from nfqdpi.lab.scenario import config_text

Way = Literal["none", "fast", "strict"]
WAYS: tuple[Way, ...] = ("none", "fast", "strict")
HELLO = Path(__file__).parents[1] / "tests" / "data" / "hellos" / "chromium.bin"  # two segments, as browsers send today
REQUEST = b"GET / HTTP/1.1\r\nHost: allowed.example\r\nUser-Agent: bench\r\n\r\n"
_TICK = 1 / os.sysconf("SC_CLK_TCK")  # seconds
_PARALLEL = 64  # connections at a time


@dataclass(frozen=True, slots=True)
class Cost:
    """What something took: wall seconds, packets through the queues, CPU seconds of the workers."""

    seconds: float
    queued: int
    cpu: float


def measure(lab: Lab, way: Way, work: Callable[[], float]) -> Cost:
    """The cost of some work, which tells its own seconds, under a fresh daemon in this mode, or under none."""
    with daemon(lab, config_text(lab, way)) if way != "none" else nullcontext():
        workers = _workers(lab) if way != "none" else []
        queued, cpu = gauges.queued(lab.gateway), _cpu(workers)
        seconds = work()
        if way != "none" and _workers(lab) != workers:
            raise RuntimeError(f"{way}: a worker was replaced under load; see {lab.state}/daemon.log")
        return Cost(seconds, gauges.queued(lab.gateway) - queued, _cpu(workers) - cpu)


def _workers(lab: Lab) -> list[int]:
    command = [sys.executable, "-m", "nfqdpi", "status", "--json", "-c", str(lab.state / "nfqdpi.toml")]
    status = json.loads(lab.gateway.run(command, check=False).stdout)
    return [worker["pid"] for worker in status["workers"]]


def _cpu(pids: list[int]) -> float:
    """User and system time of the processes, in seconds (proc(5), stat)."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(of[11]) + int(of[12]) for of in fields) * _TICK


def build_visitor(directory: Path) -> Path:
    """Compile the client."""
    program = directory / "visit"
    subprocess.run(["gcc", "-O2", "-Wall", "-o", program, Path(__file__).with_name("visit.c")], check=True)
    return program


def visit(lab: Lab, visitor: Path, family: Family, port: int, count: int) -> float:
    """Seconds for so many connections; raises RuntimeError if one in a thousand stays without an answer."""
    request = HELLO.read_bytes() if port == 443 else REQUEST
    arguments = SERVER[family], str(port), str(count), str(_PARALLEL)
    command = ["ip", "netns", "exec", lab.client.name, str(visitor), *arguments]
    done = subprocess.run(command, input=request, capture_output=True, check=True)
    answered, failed, seconds = done.stdout.split()
    if int(failed) > count / 1000:
        raise RuntimeError(f"port {port}: {int(failed)} of {count} connections failed, {int(answered)} were answered")
    return float(seconds)


@contextmanager
def sink(lab: Lab) -> Iterator[None]:
    """A server on port 80 that reads bodies as fast as they come and answers when it has all of one."""
    with lab.server.entered():
        listener = socket.create_server(("", 80))

    def accept() -> None:
        with suppress(OSError):
            while True:
                peer, _ = listener.accept()
                threading.Thread(target=_swallow, args=(peer,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def _swallow(peer: socket.socket) -> None:
    room = bytearray(1 << 20)
    with peer, suppress(ConnectionError):
        head, _, body = peer.recv(65536).partition(b"\r\n\r\n")
        left = int(head.lower().partition(b"content-length:")[2].split()[0]) - len(body)
        while left and (size := peer.recv_into(room)):
            left -= size
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


def upload(lab: Lab, size: int) -> float:
    """Seconds that curl takes to POST so many bytes by plain HTTP."""
    body = lab.state / "body"
    with body.open("wb") as file:
        os.truncate(file.fileno(), size)  # sparse: reading it costs no disk
    started = time.monotonic()
    done = lab.client.run(["curl", "-qsS", "--max-time", "600", "-X", "POST", "-H", "Expect:", "-T", body, "-o",
                           "/dev/null", "-w", "%{http_code} %{size_upload}", "--connect-to", f"::{SERVER[4]}:",
                           "http://allowed.example/"], timeout=610)
    if done.stdout != f"200 {size}":
        raise RuntimeError(f"the upload ended with {done.stdout}")
    return time.monotonic() - started
