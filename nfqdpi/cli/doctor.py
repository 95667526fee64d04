"""``nfqdpi doctor``: what this machine lacks, and how to mend it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from nfqdpi.cli.common import Exit, config_option, emit_json, json_option, printable

if TYPE_CHECKING:
    from nfqdpi.config import Config


@click.command("doctor")
@config_option
@json_option
def command(config: Config, as_json: bool) -> None:
    """Look at privileges, kernel, queues, marks and settings. Exit: 0 nothing fails, 5 something does."""
    from nfqdpi.doctor import Level, examine

    failed = False
    for finding in examine(config):
        failed |= finding.level is Level.FAIL
        if as_json:
            emit_json(finding)
            continue
        click.echo(f"{finding.level:<5} {finding.name:<26} {printable(finding.meaning)}")
        if finding.remedy:
            click.echo(f"{'':<32} mend: {finding.remedy}")
    sys.exit(Exit.DEGRADED if failed else Exit.OK)
