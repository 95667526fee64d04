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
    """Each plugin, whether it is enabled, and what it reads.

    Example: nfqdpi plugins ls
    """
    from nfqdpi import plugins
    from nfqdpi.core.classifier import Adviser, Classifier

    rows: list[tuple[str, bool, str, str, list[int], str, str]] = []
    try:
        for point in plugins.points():
            one = plugins.load(point)
            section = config.plugin.get(one.name, {})
            for reader in plugins.make(one, section):
                if isinstance(reader, Adviser):
                    rows.append((one.name, section.get("enabled", one.plugin.enabled), "", "", [], reader.version,
                                 one.source))
                    continue
                kind = "TCP" if isinstance(reader, Classifier) else "UDP"
                rows.append((one.name, section.get("enabled", one.plugin.enabled), reader.protocol, kind,
                             list(reader.ports), reader.version, one.source))
    except plugins.PluginError as error:
        fail(Exit.DEGRADED, str(error))
    heads = ("name", "enabled", "protocol", "over", "ports", "version", "from")
    if as_json:
        for row in rows:
            emit_json(dict(zip(heads, row, strict=True)))
    else:
        table(heads, [(name, "yes" if enabled else "no", protocol, over, ",".join(map(str, ports)), version, source)
                      for name, enabled, protocol, over, ports, version, source in rows])
