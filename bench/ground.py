"""What is measured on: client, gateway and server, each in a network namespace, on many addresses.

    client 10.1.0.0/16 ── lan0 gateway wan0 ── server 10.2.0.0/16

Client and server answer to every address of their networks, so that --queue-balance, which hashes the address pair,
spreads the flows. There is no hop between that could hide what the gateway costs.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from resource import RLIMIT_NOFILE, getrlimit, setrlimit
from typing import Self

from nfqdpi.lab import claim
from nfqdpi.lab.namespace import LabError, Namespace

HERE = Path(__file__).parent
HELLOS = HERE.parent / "tests" / "data" / "hellos"
SERVERS = tuple(f"10.2.0.{n}" for n in range(1, 65))  # as load.c has them
BLOCKED = tuple(f"b{n:06}.example" for n in range(10))
_READY_TIMEOUT = 120.0  # seconds; a million names take some to compile
_CONNTRACK: Mapping[str, int] = {f"netfilter__nf_conntrack_tcp_timeout_{state}": 5  # seconds: rounds follow each other
                                 for state in ("time_wait", "close", "fin_wait", "last_ack")}


@dataclass(frozen=True, slots=True)
class Request:
    """A client's first bytes, as a file for load.c that asks for names a server would answer, and one for blocked."""

    port: int
    allowed: Path
    blocked: Path


@dataclass(frozen=True, slots=True)
class Load:
    """What became of the flows: answered by the server, refused in its place, let through though blocked, lost."""

    answered: int
    refused: int
    through: int
    failed: int
    seconds: float
    p50_us: float
    p99_us: float

    @property
    def flows(self) -> int:
        return self.answered + self.refused + self.through + self.failed


class Ground:
    """The namespaces and a server in them; on leaving, all of it goes. Raises LabError."""

    def __init__(self, name: str = "") -> None:
        self.name = name or f"{claim.PREFIX}bench{os.getpid()}"
        self.client, self.gateway, self.server = (
            Namespace(f"{self.name}-{role}") for role in ("client", "gateway", "server"))
        self.state = claim.STATE / self.name
        self._lock = -1
        self._serving: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        most = getrlimit(RLIMIT_NOFILE)[1]
        setrlimit(RLIMIT_NOFILE, (most, most))  # of all that we start: sockets are files
        self._lock = claim.claim(self.name)
        try:
            self._build()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        claim.release(self.name, self._lock)
        for process in self._serving:  # it ended with its namespace
            process.wait()

    def _build(self) -> None:
        for namespace in (self.client, self.gateway, self.server):
            namespace.add()
            namespace.configure("link set lo up")
        for (namespace, network), link in zip(((self.client, 1), (self.server, 2)), ("lan0", "wan0"), strict=True):
            namespace.configure(f"link add eth0 type veth peer name {link} netns {self.gateway.name}")
            self.gateway.configure(f"addr add 10.{network}.255.1/16 dev {link}", f"link set {link} up")
            namespace.configure(f"addr add 10.{network}.255.2/16 dev eth0", "link set eth0 up",
                                f"route add default via 10.{network}.255.1",
                                f"route add local 10.{network}.0.0/17 dev lo")
            self.gateway.configure(f"route add 10.{network}.0.0/17 via 10.{network}.255.2")
            # TIME_WAIT must not end the run: ports are used again, and there is room for all of them.
            namespace.set(ipv4__tcp_tw_reuse=1, ipv4__tcp_max_tw_buckets=1 << 20, ipv4__tcp_max_syn_backlog=1 << 16,
                          core__somaxconn=1 << 16)
        self.gateway.set(ipv4__ip_forward=1, ipv4__tcp_tw_reuse=1, ipv4__tcp_max_tw_buckets=1 << 20, **_CONNTRACK)
        self._serving.append(self.start(self.server, [self.program("serve")]))

    def program(self, name: str, *libraries: str) -> Path:
        """One of the C programs, compiled."""
        program = self.state / name
        if not program.exists():
            subprocess.run(["gcc", "-O2", "-Wall", "-o", program, HERE / f"{name}.c", *libraries], check=True)
        return program

    def start(self, namespace: Namespace, command: Sequence[str | Path], ready: str = "ready",
              log: str = "") -> subprocess.Popen[bytes]:
        """Start a program and wait until it says that it is ready. Raises LabError where it does not."""
        path = self.state / f"{log or Path(command[0]).name}.log"
        path.unlink(missing_ok=True)
        process = namespace.popen(command, log=path)
        deadline = time.monotonic() + _READY_TIMEOUT
        while ready not in (said := path.read_text(errors="backslashreplace")):
            if process.poll() is not None or time.monotonic() > deadline:
                stop(process)
                raise LabError(f"{command[0]} is not ready:\n{said.rstrip()}")
            time.sleep(0.005)
        return process

    def request(self, kind: str) -> Request:
        """``http``, or the name of a ClientHello among the tests' data."""
        if kind == "http":
            template, port = b"GET / HTTP/1.1\r\nHost: allowed.example\r\nUser-Agent: bench\r\n\r\n", 80
        else:
            template, port = (HELLOS / f"{kind}.bin").read_bytes(), 443
        return self._request(kind, template, port)

    def post(self, size: int) -> Request:
        """A request of plain HTTP whose body has so many bytes."""
        head = f"POST / HTTP/1.1\r\nHost: allowed.example\r\nContent-Length: {size}\r\n\r\n"
        return self._request(f"post{size}", head.encode(), 80)

    def _request(self, kind: str, template: bytes, port: int) -> Request:
        request = Request(port, self.state / f"{kind}.allowed", self.state / f"{kind}.blocked")
        for path, letter in ((request.allowed, b"x"), (request.blocked, b"b")):
            path.write_bytes(template.replace(b"allowed.example", letter + b"000000.example"))
        return request

    def load(self, request: Request, flows: int, *options: str | int, timeout: float = 120) -> Load:
        """Drive the client to its end: see load.c for the options."""
        done = self.client.run([self.program("load"), "-p", str(request.port), "-n", str(flows), *map(str, options),
                                request.allowed, request.blocked], timeout=timeout)
        return Load(**json.loads(done.stdout))

    def hold(self, flows: int) -> None:
        """So many flows of plain HTTP are answered and then stay as they are, until `forget`. Raises LabError."""
        request = self._request("hold", b"GET /hold HTTP/1.1\r\nHost: allowed.example\r\n\r\n", 80)
        load = self.load(request, flows, "-H", timeout=600)
        if load.answered != flows:
            raise LabError(f"{flows} flows could not be held open: {load}")

    def forget(self) -> None:
        """No flow of earlier rounds is left in conntrack."""
        self.gateway.run(["conntrack", "-F"])

    def spread(self) -> None:
        """Every process on every CPU, packets handled where they are sent: all that there is, for the highest rate."""
        cpus = range(os.cpu_count() or 1)
        os.sched_setaffinity(0, cpus)  # and so of the client, which we start
        for namespace in (self.client, self.server, self.gateway):
            self._place(namespace, cpus, 0)

    def part(self) -> int:
        """The gateway, its packets and its processes, alone on the last CPU, which is returned: what that CPU does is
        the gateway's. Client and server have the others."""
        last = (os.cpu_count() or 1) - 1
        others = range(max(1, last))
        os.sched_setaffinity(0, others)
        for namespace in (self.client, self.server):
            self._place(namespace, others, sum(1 << cpu for cpu in others))
        self._place(self.gateway, {last}, 1 << last)
        return last

    def _place(self, namespace: Namespace, cpus: Collection[int], steer: int) -> None:
        """``steer``: the CPUs that handle what the namespace's links receive (rps_cpus); 0: whichever sent it."""
        namespace.run(["sh", "-c", f"for f in /sys/class/net/[elw]*[0-9]/queues/rx-*/rps_cpus; do echo {steer:x} >$f; "
                                   "done"])
        for pid in namespace.pids():
            for task in Path(f"/proc/{pid}/task").iterdir():
                os.sched_setaffinity(int(task.name), cpus)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a program that `start` started, and what it started."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
