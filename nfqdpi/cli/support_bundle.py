"""``nfqdpi support-bundle``: an archive for whoever helps, without names and addresses."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nfqdpi.cli.common import Exit, config_option, emit_json, fail, json_option
from nfqdpi.cli.terminal import busy

if TYPE_CHECKING:
    from nfqdpi.config import Config


@click.command("support-bundle")
@config_option
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Default: "
              "nfqdpi-support-TIME.tar.gz in this directory.")
@json_option
def command(config: Config, output: Path | None, *, as_json: bool) -> None:
    """Pack configuration, status, counters, doctor's findings, rules, versions and the last events. Names and addresses
    are replaced by stand-ins, the same throughout the archive and nowhere else.

    Example: nfqdpi support-bundle -o /tmp/bundle.tar.gz
    """
    from nfqdpi.doctor.bundle import write

    path = output or Path(f"nfqdpi-support-{datetime.now():%Y%m%d-%H%M%S}.tar.gz")
    try:
        with busy("gathering"):
            names = write(config, path)
    except FileExistsError:
        fail(Exit.NO, f"{path} is there already; another name by -o")
    except PermissionError:
        fail(Exit.NOT_PERMITTED, f"{path}: not permitted; another place by -o")
    if as_json:
        emit_json({"file": str(path), "parts": names})
    else:
        click.echo(f"{path}: {', '.join(names)}")
        click.echo(f"Names and addresses are replaced. Look it through before you send it: tar -xzOf {path} | less")
