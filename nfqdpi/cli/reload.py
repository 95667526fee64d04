"""``nfqdpi reload``: another policy, without a stop."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from nfqdpi.cli.common import DEFAULT_CONFIG, Exit, ask_daemon, emit_json, json_option, need_readable, printable


@click.command("reload")
@click.option("-c", "--config", "path", type=click.Path(path_type=Path), default=DEFAULT_CONFIG, show_default=True,
              help="The configuration file.")
@json_option
def command(path: Path, *, as_json: bool) -> None:
    """Put the configuration as it is now in force, for new flows and for those that run already.

    Exit 0: it is in force. 1: it is wrong, each problem on stderr with file, line, key and reason, and what was in
    force stays.

    Example: nfqdpi reload
    """
    from nfqdpi.config import ConfigError, load

    reply: dict[str, Any]
    need_readable(path)
    try:
        config = load(path, required=path != DEFAULT_CONFIG)
    except ConfigError as error:
        reply = {"problems": error.problems}
    else:
        reply = ask_daemon(config, "reload")
    if as_json:
        emit_json(reply)
    for problem in reply["problems"]:
        click.echo(f"nfqdpi: {printable(problem)}", err=True)
    if not reply["problems"] and not as_json:
        click.echo(f"in force: {reply['cut']} running flows cut, {reply['freed']} freed")
        for key in reply["restart"]:
            click.echo(f"! {key}: only a restart reads it")
        for trouble in reply["troubles"]:
            click.echo(f"! {printable(trouble)}")
    sys.exit(Exit.NO if reply["problems"] else Exit.OK)
