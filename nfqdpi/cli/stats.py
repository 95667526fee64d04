"""``nfqdpi stats``: the running daemon's counters."""

from __future__ import annotations

import click

from nfqdpi.cli.common import ask_daemon, config_option, emit_json, json_option, table
from nfqdpi.config import Config

_ACTIONS = ("accelerate", "block", "inspect")


@click.command("stats")
@config_option
@click.option("--domains", type=click.IntRange(min=1), is_flag=False, flag_value=20, metavar="[N]",
              help="Verdicts by registrable domain instead: the N (20) that were met most.")
@json_option
def command(config: Config, *, domains: int | None, as_json: bool) -> None:
    """Packets, verdicts and reasons since the daemon started, over all workers, and the kernel's queue counters.

    Example: nfqdpi stats --domains 50
    """
    if domains is not None:
        _show_domains(config, domains, as_json=as_json)
        return
    stats = ask_daemon(config, "stats")
    if as_json:
        emit_json(stats)
        return
    shown = {name: value for name, value in stats["total"].items()
             if value or not name.startswith(("verdict_", "reason_"))}
    table(("counter", "value"), list(shown.items()))
    click.echo()
    table(("queue", "waiting", "entered", "dropped when full", "lost on the way"),
          [(q["number"], q["waiting"], q["packets"], q["dropped"], q["lost"]) for q in stats["kernel"]])


def _show_domains(config: Config, most: int, *, as_json: bool) -> None:
    reply = ask_daemon(config, "domains")
    rows = reply["domains"][:most]
    if as_json:
        for row in rows:
            emit_json(row)
        return
    table(("domain", *_ACTIONS), [(row["domain"], *(row.get(action, 0) for action in _ACTIONS)) for row in rows])
