"""``nfqdpi status``: one look at the daemon, its workers, its queues and its rules."""

from __future__ import annotations

import sys
from typing import Any

import click

from nfqdpi.cli.common import Exit, ask_daemon, config_option, duration, emit_json, json_option, printable, table
from nfqdpi.config import Config


@click.command("status")
@config_option
@json_option
def command(config: Config, *, as_json: bool) -> None:
    """Exit 0: traffic is judged. 3: no daemon. 5: it runs, but something is missing.

    Example: nfqdpi status --json
    """
    status = ask_daemon(config, "status")
    problems = _problems(config, status)
    if as_json:
        emit_json({**status, "problems": problems})
    else:
        kind = " (compiled)" if status["compiled"] else ""
        click.echo(f"nfqdpi {status['version']}{kind}, pid {status['pid']}, up {status['uptime_s']:.0f} s, "
                   f"{status['mode']} mode" + ("" if status["rules"] else ", rules left to others"))
        table(("queue", "worker", "starts", "last heard"),
              [(w["queue"], w["pid"] or "-", w["starts"], f"{w['silent_ms']} ms ago") for w in status["workers"]])
        for limit in status["limits"]:
            click.echo(f"limit {printable(limit['rule'])!r}: {duration(limit['used_s'])} of "
                       f"{duration(limit['limit_s'])} used today")
        for problem in problems:
            click.echo(f"! {printable(problem)}")
    sys.exit(Exit.DEGRADED if problems else Exit.OK)


def _problems(config: Config, status: dict[str, Any]) -> list[str]:
    from nfqdpi.daemon.rules import ruleset
    from nfqdpi.kernel import firewall

    problems = [f"queue {w['queue']} has no worker" for w in status["workers"] if not w["owns_queue"]]
    problems += [f"the worker of queue {w['queue']} does not answer" for w in status["workers"]
                 if w["silent_ms"] > 2000]
    problems += [f"events: {trouble}" for trouble in status["troubles"]]
    problems += status["degraded"]
    if status["rules"]:
        try:
            problems += firewall.check(ruleset(config))
        except (firewall.FirewallError, PermissionError) as error:
            problems.append(f"the rules cannot be checked: {error}")
    return problems
