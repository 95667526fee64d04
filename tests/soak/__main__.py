"""The long run: thousands of well-behaved clients over a link that loses, doubles and reorders 5 % of what it carries.

`./dev soak`, or `python -m tests.soak --help`. Half of each crowd meets the trouble between client and gateway, half
between gateway and server. The last line is the result as JSON; exit code 1 if any client was hurt.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict

from nfqdpi.lab.cases import NAMES
from nfqdpi.lab.daemon import daemon
from nfqdpi.lab.link import Trouble
from nfqdpi.lab.network import Lab
from nfqdpi.lab.web import WebServer
from tests.kernel.daily import ask, config
from tests.soak import crowd
from tests.soak.crowd import Tally

TROUBLE = Trouble(loss=0.05, duplicate=0.05, reorder=0.05)
BATCH = 200  # visits between two looks at the clock


def main() -> int:
    parser = argparse.ArgumentParser(prog="soak", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--visits", type=int, default=10_000, help="of each program (default: %(default)s)")
    parser.add_argument("--pages", type=int, default=100, help="loaded by Chromium (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=60, help="at most, all in all (default: %(default)s)")
    parser.add_argument("--ways", default=",".join(crowd.WAYS), help="which clients (default: %(default)s)")
    asked = parser.parse_args()
    deadline = time.monotonic() + asked.minutes * 60
    ways = asked.ways.split(",")
    results = []
    for where in ("lan", "wan"):
        with Lab(lan=TROUBLE if where == "lan" else None, wan=TROUBLE if where == "wan" else None) as lab:
            web = WebServer(lab.server, lab.state / "web", NAMES)
            with daemon(lab, config(lab)) as running:
                for way in ways:
                    count = asked.pages if way == "chromium" else asked.visits
                    numbers = range(count // 2) if where == "lan" else range(count // 2, count)
                    tally = _send(lab, web, way, numbers, deadline)
                    _print(where, tally)
                    results.append({"where": where, **asdict(tally), "ends": dict(tally.ends)})
                stats = json.loads(ask(lab, running, "stats", "--json"))["total"]
            blocked, through = crowd.wrongly_blocked(lab), crowd.got_through(web)
            print(f"{where}: wrongly blocked {len(blocked)}, blocked names that reached a server {len(through)}")
            for event in (*blocked, *through):
                print(f"    {json.dumps(event)}")
            results.append({"where": where, "wrongly_blocked": len(blocked), "got_through": len(through),
                            "stats": {name: value for name, value in stats.items() if value}})
    print(json.dumps(results))
    return any(result.get(key) for result in results for key in ("wrong", "wrongly_blocked", "got_through"))


def _send(lab: Lab, web: WebServer, way: str, numbers: range, deadline: float) -> Tally:
    """As many of a crowd as fit into the time."""
    total = Tally(way)
    for start in range(numbers.start, numbers.stop, BATCH):
        if time.monotonic() > deadline:
            print(f"out of time: {way} stops after {total.visits} of {len(numbers)}", flush=True)
            break
        part = crowd.send(lab, web, way, range(start, min(start + BATCH, numbers.stop)))
        total.add(part)
        for line in part.wrong:
            print(f"    {line}", flush=True)
    return total


def _print(where: str, tally: Tally) -> None:
    ends = ", ".join(f"{end}: {count}" for end, count in sorted(tally.ends.items()))
    print(f"{where}  {tally.way:<11}{tally.visits:>6} visits, {tally.seconds:6.0f} s, slowest {tally.slowest:4.1f} s, "
          f"wrong {len(tally.wrong)}; {ends}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
