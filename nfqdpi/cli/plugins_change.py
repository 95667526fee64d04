"""``nfqdpi plugins enable|disable``: in the configuration, and in the daemon that runs by it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from nfqdpi.cli.common import Exit, config_option, fail
from nfqdpi.cli.lists_change import changing, have_reloaded, own_path
from nfqdpi.config import Config


@click.command("enable")
@click.argument("name")
@config_option
def enable(config: Config, name: str) -> None:
    """Write it into conf.d/plugins.toml beside the configuration, and have the daemon take it.

    Example: nfqdpi plugins enable ssh
    """
    _switch(config, name, on=True)


@click.command("disable")
@click.argument("name")
@config_option
def disable(config: Config, name: str) -> None:
    """Write it into conf.d/plugins.toml beside the configuration, and have the daemon take it.

    Example: nfqdpi plugins disable ssh
    """
    _switch(config, name, on=False)


def _switch(config: Config, name: str, *, on: bool) -> None:
    from nfqdpi import plugins

    if name not in (names := [point.name for point in plugins.points()]):
        fail(Exit.USAGE, f"no plugin is named {name!r}; there are {', '.join(names)}")
    with changing():
        config = _put(own_path(), name, on=on)
    word = "enabled" if on else "disabled"
    if config.plugin[name].get("enabled") is not on:
        fail(Exit.NO, f"{name}: not {word}: another file of conf.d has the last word")
    click.echo(f"{name}: {word}")
    have_reloaded(config)


def _put(path: Path, name: str, *, on: bool) -> Config:
    """The whole configuration with the switch. Raises PartError, ConfigError."""
    from nfqdpi.parts import Part

    part = Part(path, "plugins.toml", "plugins enable")
    with part.alone() as text:
        switches = dict(tomllib.loads(text).get("plugin", {}))
        if text != _text(switches):
            raise part.by_hand()
        switches[name] = {"enabled": on}
        return part.put(_text(switches), {"plugin": switches})


def _text(switches: Mapping[str, Mapping[str, Any]]) -> str:
    """A section for each plugin."""
    return "\n".join(f"[plugin.{json.dumps(name)}]\nenabled = {json.dumps(one.get('enabled'))}\n"
                     for name, one in switches.items())
