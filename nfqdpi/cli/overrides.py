"""``nfqdpi overrides``: the changes by hand that there are."""

from __future__ import annotations

import time

import click

from nfqdpi.cli.by_hand import for_whom, moment, state_of, take_back
from nfqdpi.cli.common import Exit, config_option, emit_json, fail, json_option, table
from nfqdpi.config import Config


@click.group("overrides")
def command() -> None:
    """The changes by hand that are in force."""


@command.command("ls")
@config_option
@json_option
def ls(config: Config, *, as_json: bool) -> None:
    """One row a change: what, for whom, and when it ends. The latest made wins over earlier ones.

    Example: nfqdpi overrides ls
    """
    from nfqdpi.assemble import known_clients, nobody

    with state_of(config) as state:
        changes = state.overrides(time.time())
    try:
        known = known_clients(config)
    except (OSError, ValueError):
        known = None  # doctor says so
    rows = [(change, nobody(change, config, known)) for change in changes]
    if as_json:
        for change, why in rows:
            emit_json({"id": change.id, "action": change.action, "pattern": change.pattern, "client": change.client,
                       "group": change.group, "made": change.made, "until": change.until, "nobody": why or None})
        return
    table(("id", "action", "what", "for", "made", "ends"),
          [(change.id, change.action, change.pattern or "everything",
            for_whom(change.client, change.group) + (f" (nobody: {why})" if why else ""), moment(change.made),
            moment(change.until)) for change, why in rows])


@command.command("rm")
@click.argument("numbers", metavar="ID...", type=int, nargs=-1, required=True)
@config_option
def rm(config: Config, numbers: tuple[int, ...]) -> None:
    """Take changes back, by their numbers. Exit 1: there is none with such a number.

    Example: nfqdpi overrides rm 3
    """
    with state_of(config) as state:
        known = {change.id for change in state.overrides(time.time())}
        if missing := sorted(set(numbers) - known):
            fail(Exit.NO, f"no change by hand {', '.join(map(str, missing))}")
        take_back(config, state, sorted(set(numbers)))
