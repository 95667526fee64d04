"""``nfqdpi doctor``: what this machine lacks, and how to mend it."""

from __future__ import annotations

import errno
import sys
from typing import TYPE_CHECKING

import click

from nfqdpi.cli.common import Exit, config_option, emit_json, fail, json_option, need, printable

if TYPE_CHECKING:
    from nfqdpi.config import Config

_COLOURS = {"FAIL": "red", "WARN": "yellow"}


@click.command("doctor")
@config_option
@click.option("--fix", is_flag=True, help="First change the settings (sysctl) on which strict mode rests, until the "
                                          "next boot; each command is shown before it is done.")
@json_option
def command(config: Config, fix: bool, as_json: bool) -> None:
    """Look at privileges, kernel, modules, queues, marks, conntrack, interfaces, settings, offloads, clock, disk, lists
    and the daemon. Exit: 0 nothing fails, 5 something does.

    Example: nfqdpi doctor --json | jq 'select(.level != "ok")'
    """
    from nfqdpi.doctor import Level, examine

    if fix:
        _fix(config, quiet=as_json)
    failed = False
    for finding in examine(config):
        failed |= finding.level is Level.FAIL
        if as_json:
            emit_json(finding)
            continue
        level = click.style(f"{finding.level:<5}", fg=_COLOURS.get(finding.level.name))
        click.echo(f"{level} {finding.name:<26} {printable(finding.meaning)}")
        if finding.remedy:
            click.echo(f"{'':<32} mend: {printable(finding.remedy)}")
    sys.exit(Exit.DEGRADED if failed else Exit.OK)


def _fix(config: Config, *, quiet: bool) -> None:
    """What is done goes to stdout; where that belongs to JSON (``quiet``), to stderr."""
    from nfqdpi.doctor import settings
    from nfqdpi.kernel.privileges import Capability

    need(Capability.CAP_NET_ADMIN)
    lines = {}
    try:
        for change in settings.mend(config):
            click.echo(change.command, err=quiet)
            lines[change.key] = change.line
    except OSError as error:
        forbidden = error.errno in (errno.EPERM, errno.EACCES, errno.EROFS)
        fail(Exit.NOT_PERMITTED if forbidden else Exit.DEGRADED, str(error))
    if lines:
        click.echo("Until the next boot. To keep it, put these lines into a file in /etc/sysctl.d:", err=quiet)
        for line in lines.values():
            click.echo(f"    {line}", err=quiet)
