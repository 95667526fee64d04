"""A day in fast motion: a million flows through reloads, rotations, killed workers, flushed rules, changes by hand.

`./dev day`, or `python -m tests.soak.day --help`. Each hour has all of these, but the flush: every fifth has that. What
clients saw, what event files tell, what the daemon has counted, and what the kernel let out without a verdict must
agree in the end. The table comes last; exit code 1 if a line of it does not come out.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from bench.ground import BLOCKED, Ground, Load, stop
from nfqdpi.lab.namespace import LabError
from tests.soak.ledger import Entry, Hour, Told, balance

_HOUR = 40_000  # flows: some 20 s
_FLUSH = 5  # hours from one to the next: until the rules are back, nothing is judged
_FLUSH_TAKES = 10  # s, and a little less: so long a quarter of an hour's flows are spread
_KINDS = ("http", "curl")
_MAX_FLOWS = 8192  # so that the workers' tables are full within the first hours
_AT_A_TIME = 32  # flows of each kind
_EVERY = 10  # flows: one of them asks for a blocked name
_BACK = 20.0  # s that the rules may be gone
_SETTLE = 1.0  # s after the last flow, until the last event is written
_CONFIG = """
[queue]
workers = 2
[[rule]]
name = "ten names"
action = "block"
domains = [{names}]
[state]
directory = "{state}/state"
[events]
file = "{state}/eve.json"
max_bytes = 1000000
keep = 1000
[control]
socket = "{state}/control.sock"
"""
# The client's payload that goes out with none of our bits in its connection's mark: nobody has judged it.
_UNJUDGED = ("-A", "POSTROUTING", "-o", "wan0", "-p", "tcp", "-m", "multiport", "--dports", "80,443",
             "-m", "connmark", "--mark", "0/0xf", "-m", "length", "--length", "100:65535")
# What the daemon says of all this.
_USUAL = re.compile(r"ready: |put back: |killed by signal 9|events are missing|flows are older|is in no count")
_COUNT = re.compile(r"^\[(\d+):\d+\] -A POSTROUTING -o wan0 ", re.MULTILINE)
_ANONYMOUS = re.compile(r"^RssAnon:\s+(\d+) kB", re.MULTILINE)


class Day:
    """A gateway on a ground, and what befalls it."""

    def __init__(self, ground: Ground, mode: str) -> None:
        self._ground = ground
        self._events = ground.state / "eve.json"
        self._config = ground.state / "nfqdpi.toml"
        self._text = f'[inspect]\nmode = "{mode}"\nmax_flows = {_MAX_FLOWS}\n' + _CONFIG.format(
            state=ground.state, names=", ".join(map('"{}"'.format, BLOCKED)))
        self._config.write_text(self._text)
        self._numbers = count(1)
        ground.gateway.run(["iptables", "-t", "mangle", *_UNJUDGED])
        self.running = ground.start(ground.gateway, [sys.executable, "-m", "nfqdpi", "run", "-c", self._config],
                                    log="nfqdpi")
        self.steady = self.workers()[1]
        ground.program("load")

    def hour(self, flows: int, *, flush: bool) -> Hour:
        """All that there is, while so many flows come and go."""
        before, flushed = self._unjudged(), 0
        paced = flows // 4 if flush else 0
        loads: list[Load] = []
        if flush:
            with self._clients(loads, paced, "-r", paced // len(_KINDS) // _FLUSH_TAKES):
                flushed = self._flush()
        with self._clients(loads, flows - paced, "-j", _AT_A_TIME):
            self._reload()
            self._rotate()
            self._ask("allow", BLOCKED[3], "--for", "2s")
            os.kill(self.workers()[0], signal.SIGKILL)
            self._ask("block", "x000777.example", "--for", "2s")
            self._rotate()
            self._ask("pause", "--for", "1s")
        time.sleep(_SETTLE)
        return Hour(loads, self._harvest(), flushed, self._unjudged() - before - flushed,
                    (1 + flush) * _AT_A_TIME * len(_KINDS),
                    (_anonymous(self.running.pid), _anonymous(self.workers()[1])))

    @contextmanager
    def _clients(self, loads: list[Load], flows: int, *options: str | int) -> Iterator[None]:
        """So many flows come meanwhile; what became of them is appended in the end."""
        with ThreadPoolExecutor(len(_KINDS)) as pool:
            coming = [pool.submit(self._ground.load, self._ground.request(kind), flows // len(_KINDS), *options,
                                  "-b", _EVERY, timeout=600) for kind in _KINDS]
            yield
            loads += [load.result() for load in coming]

    def counters(self) -> dict[str, int]:
        """The daemon's."""
        total: dict[str, int] = json.loads(self._ask("stats", "--json"))["total"]
        return total

    def _ask(self, *args: str) -> str:
        return self._ground.gateway.run([sys.executable, "-m", "nfqdpi", *args, "-c", self._config]).stdout

    def workers(self) -> list[int]:
        """The workers' pids, all of them there."""
        while True:
            done = self._ground.gateway.run([sys.executable, "-m", "nfqdpi", "status", "--json", "-c", self._config],
                                            check=False)
            pids = [worker["pid"] for worker in json.loads(done.stdout)["workers"]]
            if all(pids):
                return pids

    def _reload(self) -> None:
        rule = f'[[rule]]\naction = "block"\ndomains = ["elsewhere{next(self._numbers)}.example"]\n'
        self._config.write_text(self._text + rule)
        self._ask("reload")

    def _rotate(self) -> None:
        """As logrotate does."""
        while not self._events.exists():
            pass  # the daemon rotates it itself just now, for its size
        self._events.rename(self._events.with_name(f"eve.json-{next(self._numbers):06}"))
        self.running.send_signal(signal.SIGUSR1)

    def _flush(self) -> int:
        """Flush what leads to our rules, and wait until it is back; how many packets went without a verdict."""
        before, deadline = self._unjudged(), time.monotonic() + _BACK
        for table in ("mangle", "filter"):
            self._ground.gateway.run(["iptables", "-t", table, "-F", "FORWARD"])
        while "NFQDPI" not in self._ground.gateway.run(["iptables", "-t", "mangle", "-S", "FORWARD"]).stdout:
            if time.monotonic() > deadline:
                raise LabError(f"the rules are not back after {_BACK:.0f} s")
            time.sleep(0.05)
        return self._unjudged() - before

    def _unjudged(self) -> int:
        saved = self._ground.gateway.run(["iptables-save", "-c", "-t", "mangle"]).stdout
        return sum(map(int, _COUNT.findall(saved)))

    def _harvest(self) -> Told:
        """Read all event files, and remove them."""
        self._rotate()
        while not self._events.exists():
            time.sleep(0.01)
        files = [file for file in self._events.parent.glob("eve.json?*")]
        told = Told.by(files)
        for file in files:
            file.unlink()
        return told


def _anonymous(pid: int) -> float:
    found = _ANONYMOUS.search(Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="day", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--flows", type=int, default=1_000_000, help="in all (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=60, help="at most, all in all (default: %(default)s)")
    parser.add_argument("--mode", choices=("strict", "fast"), default="strict", help="(default: %(default)s)")
    asked = parser.parse_args()
    deadline = time.monotonic() + asked.minutes * 60
    hours: list[Hour] = []
    with Ground() as ground:
        day = Day(ground, asked.mode)
        try:
            for number, start in enumerate(range(0, asked.flows, _HOUR)):
                hours.append(day.hour(min(_HOUR, asked.flows - start), flush=number % _FLUSH == 0))
                print(f"{number:3}  {hours[-1]}", flush=True)
                if time.monotonic() > deadline:
                    print("out of time")
                    break
            counters, others = day.counters(), day.workers()[1] != day.steady
        finally:
            stop(day.running)
            unusual = [line for line in (ground.state / "nfqdpi.log").read_text().splitlines()
                       if not _USUAL.search(line)]
            for line in unusual:
                print(line)
    entries = [*balance(hours, counters), Entry("the worker that is left alone lives, and the log has nothing unusual",
                                                f"{len(unusual)} lines", not others and not unusual)]
    print(f"\n{len(hours)} workers killed, {len(hours)} reloads, {3 * len(hours)} rotations by name beside "
          f"those by size, {3 * len(hours)} changes by hand, {-(-len(hours) // _FLUSH)} flushes")
    for what, figures, fine in entries:
        print(f"{'ok' if fine else 'NOT':4} {what}: {figures}")
    return int(not all(entry.fine for entry in entries))


if __name__ == "__main__":
    sys.exit(main())
