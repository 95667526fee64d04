"""``nfqdpi stats``: the running daemon's counters, once or with what they do a second."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import click

from nfqdpi.cli.common import Exit, ask_daemon, config_option, emit_json, fail, json_option, table
from nfqdpi.config import Config

_Show = Callable[[dict[str, Any], dict[str, Any] | None], None]  # a reply, and the one before it

_ACTIONS = ("accelerate", "block", "inspect")
_MOVED = ("packets", "bytes")
_GAUGES = frozenset({"flows"})  # they have no rate
_SHARES = (0.5, 0.99, 0.999)  # of the packets, whose latencies are shown


@click.command("stats")
@config_option
@click.option("--domains", type=click.IntRange(min=1), is_flag=False, flag_value=20, metavar="[N]",
              help="Verdicts by registrable domain instead: the N (20) that were met most, and what they moved.")
@click.option("--names", type=click.IntRange(min=1), is_flag=False, flag_value=20, metavar="[N]",
              help="Packets and bytes by name instead: the N (20) that moved most.")
@click.option("--clients", type=click.IntRange(min=1), is_flag=False, flag_value=20, metavar="[N]",
              help="Packets and bytes by client instead: the N (20) that moved most.")
@click.option("--watch", type=click.FloatRange(min=0.1), is_flag=False, flag_value=1.0, metavar="[SECONDS]",
              help="Again every SECONDS (1), until Ctrl-C; counters with what happened a second since.")
@json_option
def command(config: Config, *, watch: float | None, as_json: bool, **tables: int | None) -> None:
    """Packets, verdicts and reasons since the daemon started, over all workers, and the kernel's queue counters.

    Packets and bytes are conntrack's: net.netfilter.nf_conntrack_acct must be 1.

    Example: nfqdpi stats --watch 5
    """
    chosen = [(kind, most) for kind, most in tables.items() if most is not None]
    if len(chosen) > 1:
        fail(Exit.USAGE, "--domains, --names and --clients: one of them at a time")
    asked, show = _rows(*chosen[0], as_json=as_json) if chosen else ("stats", _show_json if as_json else _show)
    stats = ask_daemon(config, asked)
    show(stats, None)
    try:
        while watch is not None:
            time.sleep(watch)
            before, stats = stats, ask_daemon(config, asked)
            if not as_json and sys.stdout.isatty():
                click.clear()
            show(stats, before)
            sys.stdout.flush()
    except KeyboardInterrupt:
        pass


def rates(stats: dict[str, Any], before: dict[str, Any]) -> dict[str, float]:
    """What each counter did a second between two looks; all begin anew where the daemon did."""
    now, then = stats["total"], before["total"]
    seconds = max(stats["time"] - before["time"], 1e-3)
    anew = now["packets"] < then["packets"]
    return {name: (value - (0 if anew else then.get(name, 0))) / seconds
            for name, value in now.items() if name not in _GAUGES}


def latencies(counts: dict[str, float]) -> str:
    """Within how long what share of the packets was judged: of counters or of rates, "" where there were none."""
    from nfqdpi.daemon.counters import LATENCIES, LATENCY_BUCKETS

    total = sum(counts[bucket] for bucket in LATENCY_BUCKETS)
    if total <= 0:
        return ""
    found = []
    for share in _SHARES:
        upto = 0.0
        for us, bucket in zip((*LATENCIES, None), LATENCY_BUCKETS, strict=True):
            upto += counts[bucket]
            if upto >= share * total:
                within = f"within {_time(us)}" if us else f"in more than {_time(LATENCIES[-1])}"
                found.append(f"{share * 100:g} % {within}")
                break
    return "judged: " + ", ".join(found)


def _time(us: int) -> str:
    return f"{us} us" if us < 1000 else f"{us / 1000:.0f} ms" if us < 1_000_000 else f"{us / 1e6:.1f} s"


def _show(stats: dict[str, Any], before: dict[str, Any] | None) -> None:
    shown = {name: value for name, value in stats["total"].items()
             if not name.startswith("latency_") and (value or not name.startswith(("verdict_", "reason_")))}
    if before is None:
        table(("counter", "value"), list(shown.items()))
    else:
        a_second = rates(stats, before)
        table(("counter", "value", "a second"),
              [(name, value, f"{a_second[name]:10.1f}" if name in a_second else "") for name, value in shown.items()])
    if told := latencies(stats["total"] if before is None else rates(stats, before)):
        click.echo(f"\n{told}")
    click.echo()
    table(("queue", "waiting", "entered", "dropped when full", "lost on the way"),
          [(q["number"], q["waiting"], q["packets"], q["dropped"], q["lost"]) for q in stats["kernel"]])


def _show_json(stats: dict[str, Any], before: dict[str, Any] | None) -> None:
    emit_json(stats if before is None else {**stats, "a_second": rates(stats, before)})


def _rows(kind: str, most: int, *, as_json: bool) -> tuple[str, _Show]:
    """What the daemon is asked for a table, and how its reply is shown."""

    def domains(reply: dict[str, Any], _: dict[str, Any] | None) -> None:
        _show_rows("domain", (*_ACTIONS, *_MOVED), reply["domains"][:most], as_json=as_json)

    def volume(reply: dict[str, Any], before: dict[str, Any] | None) -> None:
        if before is None:
            _warn(reply)
        about = kind.removesuffix("s")
        _show_rows(about, _MOVED, reply[about][:most], as_json=as_json)

    return ("domains", domains) if kind == "domains" else ("volume", volume)


def _warn(reply: dict[str, Any]) -> None:
    if not reply["counting"]:
        click.echo("conntrack counts no packets and bytes: sysctl -w net.netfilter.nf_conntrack_acct=1", err=True)
    if reply["losses"]:
        click.echo(f"{reply['losses']} times ends of flows were lost: what they had moved last is missing", err=True)


def _show_rows(about: str, columns: tuple[str, ...], rows: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        for row in rows:
            emit_json(row)
        return
    table((about, *columns), [(row[about], *(row.get(column, 0) for column in columns)) for row in rows])
