"""What flows cost behind nfqdpi, behind the least that could do its work, and behind what else a user would set up:
`./dev bench`, or `python -m bench --help`.

Client, gateway and server share this machine's CPUs, so the rates are no router's; the ratios to plain forwarding in
the same round are what to read. Rounds go through all contenders in turn, and the medians are told.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import check, growth, machine, page, stages, table
from bench.contenders import CONTENDERS, Contender, names
from bench.ground import Ground
from bench.measure import Round, Size, measure

_BUSY = 0.5  # load average at which the machine is not quiet
_QUICK = Size(flows=2000, megabytes=200, upload=30, seconds=1.0)


def main() -> None:
    asked = _asked()
    if asked.stages:
        print(stages.report())
        return
    if asked.check or asked.set_baseline:
        sys.exit(check.check(write=asked.set_baseline))
    chosen = [one for one in CONTENDERS if one.name in {table.BASE, *(asked.only or (c.name for c in CONTENDERS))}]
    present = [one for one in chosen if not one.missing]
    result: dict[str, Any] = {"machine": machine.named(), "rounds": asked.rounds, "names": asked.names,
                              "workers": asked.workers,
                              "left out": {one.name: list(one.missing) for one in chosen if one.missing}}
    print(f"{_machine(result['machine'])}; {asked.rounds} rounds, {asked.names} names, {asked.workers} workers")
    if result["machine"]["load"] > _BUSY:
        print("other work is being done here: what it takes is counted with the gateway's CPU time")
    for name, missing in result["left out"].items():
        print(f"left out, for want of {', '.join(missing)}: {name}")
    rounds = _rounds(present, asked.rounds, names_count=asked.names, size=_QUICK if asked.quick else Size(),
                     workers=asked.workers)
    outcasts = {one.name: why for one in present
                if (why := table.disqualified(rounds[one.name], decides=one.decides))}
    _print(present, rounds, outcasts)
    result |= {"contenders": {one.name: one.what for one in present}, "disqualified": outcasts,
               "measured": {name: list(map(asdict, own)) for name, own in rounds.items()}}
    if asked.growth:
        result["growth"] = growth.measure(quick=asked.quick)
        print(growth.table(result["growth"]))
    if asked.json:
        asked.json.write_text(json.dumps(result, indent=1) + "\n")
    if asked.docs:
        page.write(asked.docs, result, rounds)


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=(__doc__ or "").partition(":")[0])
    parser.add_argument("--rounds", type=int, default=5, help="of each contender (default: %(default)s)")
    parser.add_argument("--names", type=int, default=10_000, help="to block (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="or threads, of each (default: %(default)s)")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[one.name for one in CONTENDERS],
                        help=f"these, beside none: {', '.join(one.name for one in CONTENDERS)}")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work: to try it, not to believe it")
    parser.add_argument("--growth", action="store_true", help="how it goes with workers, names, open flows, hellos")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round's figures to this file")
    parser.add_argument("--docs", type=Path, metavar="FOLDER", help="draw the plots and fill in performance.md there")
    parser.add_argument("--stages", action="store_true", help="instead: what each stage of a packet's way costs")
    parser.add_argument("--check", action="store_true", help="instead: compare instruction counts with the baseline")
    parser.add_argument("--set-baseline", action="store_true", help="instead: make today's counts the baseline")
    return parser.parse_args()


def _machine(of: dict[str, Any]) -> str:
    return f"{of['cpu']}{', virtual' * of['hypervisor']}, {of['cpus']} CPUs, Linux {of['kernel']}, load {of['load']}"


def _rounds(contenders: list[Contender], count: int, *, names_count: int, size: Size,
            workers: int) -> dict[str, list[Round]]:
    rounds: dict[str, list[Round]] = {one.name: [] for one in contenders}
    with Ground() as ground:
        listed = names(ground, names_count)
        for number in range(1, count + 1):
            started = time.monotonic()
            for one in contenders:
                print(f"\rround {number} of {count}: {one.name:14}", end="", file=sys.stderr, flush=True)
                rounds[one.name].append(measure(ground, one, listed, size, workers))
            print(f"\rround {number} of {count}: {time.monotonic() - started:.0f} s{'':12}", file=sys.stderr)
    return rounds


def _print(contenders: list[Contender], rounds: dict[str, list[Round]], outcasts: dict[str, str]) -> None:
    print("\n" + "\n".join(f"{one.name:14}{one.what}" for one in contenders))
    print(f"\nFlows of one request a second (HTTP; TLS, to the server's answer), requests a second in kept flows, MB a"
          f" second of one flow;\neach with its ratio to {table.BASE}\n{table.rates(rounds, outcasts)}")
    for workload in ("http", "tls"):
        print(f"\n{table.WORKLOADS[workload]} at half of what each can do with the gateway alone on a CPU: what that"
              f" CPU spends on a flow, of that the\nprocesses' own, and the time to first byte\n"
              f"{table.costs(rounds, workload)}")


if __name__ == "__main__":
    main()
