"""What stands in the gateway while it is measured: nothing, the limit, nfqdpi; the peers are in `bench.peers`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from string import ascii_lowercase
from typing import Literal

from bench import peers
from bench.ground import BLOCKED, Ground, stop
from nfqdpi.lab.namespace import LabError

Mode = Literal["fast", "strict"]
Running = Callable[[Ground, Path, int], AbstractContextManager[None]]

_ENDINGS = ("com",) * 10 + ("net", "net", "org", "org", "de", "fr", "ru", "co.uk", "io", "xyz", "top", "info")


@dataclass(frozen=True, slots=True)
class Contender:
    """``running(ground, names, workers)`` has it stand in the gateway, blocking the names of a file. ``decides``: it is
    to block at all. ``needs``: programs and files without which it is left out."""

    name: str
    what: str
    running: Running
    decides: bool = True
    needs: tuple[str, ...] = ()

    @property
    def missing(self) -> tuple[str, ...]:
        return tuple(need for need in self.needs if not (shutil.which(need) or Path(need).exists()))


def names(ground: Ground, count: int) -> Path:
    """A file of so many names to block, none below another, the ten that load.c asks for among them."""
    path = ground.state / f"names-{count}"
    if not path.exists():
        random = Random(count)  # noqa: S311  what is random here need not be secret
        found = dict.fromkeys(BLOCKED)
        while len(found) < count:
            word = "".join(random.choices(ascii_lowercase, k=random.randint(4, 14)))
            found[f"{word}.{random.choice(_ENDINGS)}"] = None
        path.write_text("\n".join(found) + "\n")
    return path


@contextmanager
def _nothing(ground: Ground, names: Path, workers: int) -> Iterator[None]:
    yield


@contextmanager
def _conntrack(ground: Ground, names: Path, workers: int) -> Iterator[None]:
    with rules(ground, "*filter\n-A FORWARD -m conntrack --ctstate INVALID -j DROP\nCOMMIT\n"):
        yield


@contextmanager
def rules(ground: Ground, text: str) -> Iterator[None]:
    """Firewall rules of our own; they are the only ones."""
    ground.gateway.run(["iptables-restore"], stdin=text)
    try:
        yield
    finally:
        flush = "".join(f"*{table}\nCOMMIT\n" for table in ("mangle", "nat", "filter"))
        ground.gateway.run(["iptables-restore"], stdin=flush)


@contextmanager
def _rules_alone(ground: Ground, names: Path, workers: int, *, mode: Mode = "strict") -> Iterator[None]:
    config = configuration(ground, mode, names, workers)
    nfqdpi = [sys.executable, "-m", "nfqdpi", "rules"]
    ground.gateway.run([*nfqdpi, "install", "-c", config])
    try:
        yield
    finally:
        ground.gateway.run([*nfqdpi, "remove"])


@contextmanager
def _limit(ground: Ground, names: Path, workers: int, *, mode: Mode) -> Iterator[None]:
    program = ground.program("limit", "-lnetfilter_queue")
    with ExitStack() as stack:
        for queue in range(workers):
            process = ground.start(ground.gateway, [program, str(queue), mode, names], log=f"limit{queue}")
            stack.callback(stop, process)
        stack.enter_context(_rules_alone(ground, names, workers, mode=mode))
        yield


@contextmanager
def _nfqdpi(ground: Ground, names: Path, workers: int, *, mode: Mode, events: str = "all") -> Iterator[None]:
    config = configuration(ground, mode, names, workers, events)
    subprocess.run([sys.executable, "-m", "nfqdpi", "lists", "update", "-c", config], check=True, capture_output=True)
    process = ground.start(ground.gateway, [sys.executable, "-m", "nfqdpi", "run", "-c", config], log="nfqdpi")
    try:
        yield
    finally:
        stop(process)
        if "next one in" in (said := (ground.state / "nfqdpi.log").read_text()):
            raise LabError(f"a worker did not live through this:\n{said}")


def configuration(ground: Ground, mode: Mode, names: Path, workers: int, events: str = "all") -> Path:
    """What is not said is as it comes. ``events``: of which verdicts."""
    path = ground.state / f"{mode}-{events}.toml"
    path.write_text(f"""\
[inspect]
mode = "{mode}"
[queue]
workers = {workers}
[[list]]
name = "names"
path = "{names}"
format = "domains"
least = 0
[[rule]]
name = "listed"
action = "block"
lists = ["names"]
[state]
directory = "{ground.state}/nfqdpi-{names.name}"
[events]
file = "{ground.state}/eve.json"
verdicts = "{events}"
[control]
socket = "{ground.state}/control.sock"
""")
    return path


CONTENDERS = (
    Contender("none", "plain forwarding: no rule, no conntrack", _nothing, decides=False),
    Contender("conntrack", "conntrack alone, as every router with NAT has it", _conntrack, decides=False),
    Contender("rules", "nfqdpi's strict rules, and nobody who listens", _rules_alone, decides=False),
    Contender("limit", "the C program behind fast's rules", partial(_limit, mode="fast")),
    Contender("limit-strict", "the C program behind strict's rules", partial(_limit, mode="strict")),
    Contender("fast", "nfqdpi, fast mode", partial(_nfqdpi, mode="fast")),
    Contender("fast-blocked", "nfqdpi, fast mode, events of blocked flows only", partial(
        _nfqdpi, mode="fast", events="blocked")),
    Contender("strict", "nfqdpi, strict mode", partial(_nfqdpi, mode="strict")),
    Contender("string", "iptables -m string, ten names", peers.string, needs=("iptables",)),
    Contender("nginx", "nginx: stream with ssl_preread, http; REDIRECT", peers.nginx,
              needs=("nginx", "/usr/lib/nginx/modules/ngx_stream_module.so")),
    Contender("haproxy", "haproxy: req.ssl_sni, req.hdr(host); TPROXY", peers.haproxy, needs=("haproxy",)),
    Contender("squid", "squid: peek and splice; TPROXY", peers.squid, needs=("squid",)),
)
