"""``nfqdpi status``: one look at the daemon, its workers, its queues and its rules."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import click

from nfqdpi.cli.common import Exit, ask_daemon, config_option, duration, emit_json, json_option, printable, table
from nfqdpi.config import Config


@click.command("status")
@config_option
@json_option
def command(config: Config, *, as_json: bool) -> None:
    """Exit 0: traffic is judged. 3: no daemon. 5: it runs, but something is missing.

    For root it also compares the rules in the kernel with the configuration; for others the daemon's word must do.

    Example: nfqdpi status --json
    """
    from nfqdpi.cli.by_hand import for_whom, until_when
    from nfqdpi.kernel.firewall import CHECK
    from nfqdpi.kernel.privileges import missing

    status = ask_daemon(config, "status")
    looks = status["rules"] and not missing(*CHECK)
    problems = [*_problems(status), *(_differences(config) if looks else ())]
    if as_json:
        emit_json({**status, "rules_checked": looks, "problems": problems})
    else:
        kind = " (compiled)" if status["compiled"] else ""
        rules = "" if looks else ", rules not looked at (for root)" if status["rules"] else ", rules left to others"
        click.echo(f"nfqdpi {status['version']}{kind}, pid {status['pid']}, up {status['uptime_s']:.0f} s, "
                   f"{status['mode']} mode{rules}")
        table(("queue", "worker", "starts", "last heard"),
              [(w["queue"], w["pid"] or "-", w["starts"], f"{w['silent_ms']} ms ago") for w in status["workers"]])
        for limit in status["limits"]:
            click.echo(f"limit {printable(limit['rule'])!r}: {duration(limit['used_s'])} of "
                       f"{duration(limit['limit_s'])} used today")
        for change in status.get("by_hand", ()):  # not told by an older daemon
            click.echo(f"by hand: {change['action']} everything for "
                       f"{printable(for_whom(change['client'], change['group']))}, {until_when(change['until'])}")
        for problem in problems:
            click.echo(f"! {printable(problem)}")
    sys.exit(Exit.DEGRADED if problems else Exit.OK)


def _problems(status: dict[str, Any]) -> Iterator[str]:
    """What the daemon tells of itself."""
    yield from (f"queue {w['queue']} has no worker" for w in status["workers"] if not w["owns_queue"])
    yield from (f"the worker of queue {w['queue']} does not answer" for w in status["workers"] if w["silent_ms"] > 2000)
    yield from (f"events: {trouble}" for trouble in status["troubles"])
    yield from status["degraded"]


def _differences(config: Config) -> list[str]:
    """How the rules in the kernel are not those of the configuration."""
    from nfqdpi.daemon.rules import ruleset
    from nfqdpi.kernel import firewall
    from nfqdpi.plugins import PluginError

    try:
        return firewall.check(ruleset(config))
    except (firewall.FirewallError, PluginError, PermissionError) as error:
        return [f"the rules cannot be checked: {error}"]
