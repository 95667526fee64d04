"""``nfqdpi config``: is the file right, and what does it say in full."""

from __future__ import annotations

import click
import msgspec

from nfqdpi.cli.common import Exit, config_option, emit_json, fail, json_option
from nfqdpi.config import Config


@click.group("config")
def command() -> None:
    """Check and show the configuration."""


@command.command("check")
@config_option
@json_option
def check(config: Config, *, as_json: bool) -> None:
    """Exit 0: the configuration is right. 2: every problem on stderr, with file, line, key and reason.

    Example: nfqdpi config check -c ./nfqdpi.toml
    """
    from nfqdpi import plugins

    try:
        plugins.readers(config.plugin)
        plugins.observers(config.plugin)
    except plugins.PluginError as error:
        fail(Exit.USAGE, str(error))
    summary = {"ok": True, "rules": len(config.rule), "groups": len(config.group), "mode": config.inspect.mode}
    if as_json:
        emit_json(summary)
    else:
        click.echo(f"right: {len(config.rule)} rules, {len(config.group)} groups, {config.inspect.mode} mode")


@command.command("show")
@config_option
@json_option
def show(config: Config, *, as_json: bool) -> None:
    """The whole configuration, defaults included.

    Example: nfqdpi config show
    """
    settings = {key: value for key, value in msgspec.to_builtins(config, enc_hook=str).items() if value != ()}
    if as_json:
        emit_json(settings)
        return
    for section, values in settings.items():
        tables = values if isinstance(values, tuple | list) else [values]
        for values_of_one in tables:
            click.echo(f"[[{section}]]" if tables is values else f"[{section}]")
            for key, value in values_of_one.items():
                if value is not None:
                    click.echo(f"{key} = {_toml(key, value)}")
            click.echo()


def _toml(key: str, value: object) -> str:
    """A value as TOML writes it; JSON is near enough for strings, numbers and lists."""
    if key == "mask":
        return f"{value:#010x}"
    if key == "mode" and isinstance(value, int):  # of the control socket; [inspect] has a word
        return f"0o{value:03o}"
    return msgspec.json.encode(value).decode()
