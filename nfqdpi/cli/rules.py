"""``nfqdpi rules``: the firewall rules as text and in the kernel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from nfqdpi.cli.common import DEFAULT_CONFIG, Exit, config_option, emit_json, fail, json_option, need
from nfqdpi.daemon.rules import ruleset
from nfqdpi.kernel import firewall
from nfqdpi.kernel.ruleset import RuleSet, render
from nfqdpi.plugins import PluginError

if TYPE_CHECKING:
    from nfqdpi.config import Config


@click.group()
def command() -> None:
    """Render, install, check and remove the firewall rules.

    They work on whichever iptables is found on PATH, in the network namespace that the command runs in.
    """


@command.command("render")
@config_option
@click.option("--family", type=click.Choice(["4", "6"]), default="4", show_default=True, help="IPv4 or IPv6.")
@json_option
def render_(config: Config, family: Literal["4", "6"], as_json: bool) -> None:
    """Print the rules as iptables-restore or ip6tables-restore reads them with --noflush.

    Example: nfqdpi rules render --family 6
    """
    text = render(_wanted(config), 4 if family == "4" else 6)
    if as_json:
        emit_json({"family": int(family), "rules": text})
    else:
        click.echo(text, nl=False)


@command.command()
@config_option
def install(config: Config) -> None:
    """Put the rules in place, instead of any older ones of nfqdpi.

    Example: nfqdpi rules install
    """
    need(*firewall.CHANGE)
    try:
        firewall.install(_wanted(config))
    except firewall.FirewallError as error:
        fail(Exit.NO, f"nothing installed: {error}")


@command.command()
@click.option("-c", "--config", "path", metavar="FILE", type=click.Path(path_type=Path), default=DEFAULT_CONFIG,
              help="Says where to ask for a daemon; no broken file keeps rules.")
def remove(path: Path) -> None:
    """Take every rule of nfqdpi away, whatever configuration it came from.

    Not while a daemon keeps them, which would put them back: to stop it takes them away. A hung one keeps nothing.

    Example: nfqdpi rules remove
    """
    need(*firewall.CHANGE)
    if _kept(path):
        fail(Exit.NO, "nothing removed: the daemon that runs would put the rules back; systemctl stop nfqdpi takes "
                      "them away, and run --no-rules makes none")
    try:
        firewall.remove()
    except firewall.FirewallError as error:
        fail(Exit.NO, str(error))


@command.command()
@config_option
@json_option
def check(config: Config, as_json: bool) -> None:
    """Compare the rules in the kernel with the configuration. Exit: 0 the same, 1 not.

    Example: nfqdpi rules check
    """
    need(*firewall.CHECK)
    try:
        differences = firewall.check(_wanted(config))
    except firewall.FirewallError as error:
        fail(Exit.NO, str(error))
    if as_json:
        emit_json({"ok": not differences, "differences": differences})
    else:
        click.echo("\n".join(differences) or "the rules are as configured")
    if differences:
        fail(Exit.NO, "nfqdpi rules install puts them in place; a daemon that runs does so by itself")


def _kept(path: Path) -> bool:
    """True where a daemon answers that keeps the rules in place."""
    from nfqdpi.config import ConfigError, load
    from nfqdpi.daemon.ask import NotRunning, ask

    try:
        return bool(ask(load(path, required=path != DEFAULT_CONFIG).control.socket, "status").get("rules"))
    except (ConfigError, NotRunning, PermissionError):
        return False


def _wanted(config: Config) -> RuleSet:
    try:
        return ruleset(config)
    except (ValueError, PluginError) as error:
        fail(Exit.USAGE, str(error))
