"""``nfqdpi explain``: what the policy says of a name, without a daemon."""

from __future__ import annotations

import sys
from ipaddress import ip_address

import click

from nfqdpi.cli.common import Exit, config_option, emit_json, fail, json_option, printable
from nfqdpi.config import Config
from nfqdpi.core.decision import Client


@click.command("explain")
@click.argument("name")
@click.option("--client", default="0.0.0.0", show_default=True, help="The client's address.")  # noqa: S104  nobody's
@config_option
@json_option
def command(config: Config, name: str, client: str, *, as_json: bool) -> None:
    """Would NAME pass? Exit 0: yes, 1: it would be blocked."""
    from nfqdpi import assemble

    try:
        address = ip_address(client)
    except ValueError:
        fail(Exit.USAGE, f"--client: {printable(client)!r} is not an address")
    host, _, port = name.partition(":")
    if port.isdecimal():
        name = host
    if not name.strip(".") or "/" in name or not name.isprintable():
        fail(Exit.USAGE, f"{printable(name)!r} is not a name")
    policy = assemble.policy(config)
    ruling = policy.decide(name, Client(address.packed))
    passed_over = list(policy.passed_over(name, address.packed))
    if as_json:
        emit_json({
            "name": name, "client": str(address), "verdict": ruling.verdict.name.lower(), "rule": ruling.rule,
            "pattern": str(ruling.pattern) if ruling.pattern else None,
            "passed_over": [{"rule": rule.name, "why": why} for rule, why in passed_over],
        })
    else:
        for rule, why in passed_over:
            click.echo(f"  rule {rule.name!r}: {why}")
        by = f"rule {ruling.rule!r}" if ruling.rule is not None else "no rule matches: [policy] default"
        pattern = f" (pattern {ruling.pattern})" if ruling.pattern else ""
        click.echo(f"{printable(name)}: {ruling.verdict.name.lower()} by {by}{pattern}")
    sys.exit(Exit.NO if ruling.verdict.blocks else Exit.OK)
