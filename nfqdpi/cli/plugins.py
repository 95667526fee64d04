"""``nfqdpi plugins``: the installed classifiers."""

from __future__ import annotations

import click

from nfqdpi.cli.common import Exit, config_option, emit_json, fail, json_option, table
from nfqdpi.config import Config


@click.group("plugins")
def command() -> None:
    """The classifiers that are installed."""


@command.command("ls")
@config_option
@json_option
def ls(config: Config, *, as_json: bool) -> None:
    """Name, protocol, version and the most bytes that each will look at.

    Example: nfqdpi plugins ls
    """
    from nfqdpi import plugins

    try:
        classifiers = plugins.load()
    except plugins.PluginError as error:
        fail(Exit.DEGRADED, str(error))
    where = {point.name: point.value for point in plugins.installed()}
    rows = [(c.name, c.protocol, c.version, c.needs, where.get(c.name, "")) for c in classifiers]
    if as_json:
        for row in rows:
            emit_json(dict(zip(("name", "protocol", "version", "needs", "from"), row, strict=True)))
    else:
        table(("name", "protocol", "version", "needs", "from"), rows)
