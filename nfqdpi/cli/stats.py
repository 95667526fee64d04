"""``nfqdpi stats``: the running daemon's counters."""

from __future__ import annotations

import click

from nfqdpi.cli.common import ask_daemon, config_option, emit_json, json_option, table
from nfqdpi.config import Config


@click.command("stats")
@config_option
@json_option
def command(config: Config, *, as_json: bool) -> None:
    """Packets, verdicts and reasons since the daemon started, over all workers, and the kernel's queue counters."""
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
