"""``nfqdpi plugins``: what is installed, and what it reads."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint
from typing import Any

import click
from msgspec import convert, json, to_builtins

from nfqdpi.cli.common import Exit, config_option, emit_json, fail, json_option, printable, table
from nfqdpi.cli.plugins_author import bench, new, test
from nfqdpi.cli.plugins_change import disable, enable
from nfqdpi.config import Config
from nfqdpi.core.classifier import Classifier, DatagramClassifier
from nfqdpi.core.observer import Observer
from nfqdpi.core.plugin import Adviser


@click.group("plugins")
def command() -> None:
    """Classifiers: what is installed; switch one on or off; write, test and time one."""


for below in (enable, disable, new, test, bench):
    command.add_command(below)


@command.command("ls")
@config_option
@json_option
def ls(config: Config, *, as_json: bool) -> None:
    """Each plugin, whether it is enabled, and what it reads.

    Example: nfqdpi plugins ls
    """
    from nfqdpi import plugins

    rows: list[tuple[str, bool, str, str, list[int], str, str]] = []
    problems = []
    for point in plugins.points():
        try:
            rows += _rows(point, config)
        except plugins.PluginError as error:
            problems.append(str(error))
    heads = ("name", "enabled", "protocol", "over", "ports", "version", "from")
    if as_json:
        for row in rows:
            emit_json(dict(zip(heads, row, strict=True)))
    else:
        table(heads, [(name, "yes" if enabled else "no", protocol, over, ",".join(map(str, ports)), version, source)
                      for name, enabled, protocol, over, ports, version, source in rows])
    if problems:
        fail(Exit.DEGRADED, *problems)


def _rows(point: EntryPoint, config: Config) -> Iterator[tuple[str, bool, str, str, list[int], str, str]]:
    """What a plugin offers, a row each. Raises plugins.PluginError."""
    from nfqdpi import plugins

    one = plugins.load(point)
    section = config.plugin.get(one.name, {})
    enabled = section.get("enabled", one.plugin.enabled)
    for reader in (*plugins.make(one, section), *plugins.make_observers(one, section)):
        if isinstance(reader, Adviser | Observer):
            yield one.name, enabled, "", "", [], reader.version, one.source
            continue
        kind = "TCP" if isinstance(reader, Classifier) else "UDP"
        yield one.name, enabled, reader.protocol, kind, list(reader.ports), reader.version, one.source


@command.command("info")
@click.argument("name")
@config_option
@json_option
def info(config: Config, name: str, *, as_json: bool) -> None:
    """What one plugin reads, the settings that it has, and where it comes from.

    Example: nfqdpi plugins info dns
    """
    from nfqdpi import plugins

    about: dict[str, Any]
    try:
        about = next((_about(one, config) for one in plugins.points() if one.name == name), {})
    except plugins.PluginError as error:
        fail(Exit.DEGRADED, str(error))
    if not about:
        fail(Exit.USAGE, f"no plugin is named {name!r}; there are {', '.join(one.name for one in plugins.points())}")
    if as_json:
        emit_json(about)
        return
    for key in ("name", "enabled", "from", "package"):
        click.echo(f"{key:10}{_word(about[key])}")
    for reads in about["reads"]:
        click.echo(f"{'reads':10}{_sentence(reads)}")
    for key, setting in about["settings"].items():
        given = "" if setting["value"] == setting["default"] else f"  (default: {_word(setting['default'])})"
        click.echo(f"{'setting':10}{key} = {_word(setting['value'])}{given}")


def _about(point: EntryPoint, config: Config) -> dict[str, Any]:
    """All that is known of a plugin. Raises plugins.PluginError."""
    from nfqdpi import plugins

    one, section = plugins.load(point), config.plugin.get(point.name, {})
    readers = (*plugins.make(one, section), *plugins.make_observers(one, section))
    own = {key: value for key, value in section.items() if key not in plugins.COMMON}
    settings, defaults = (to_builtins(convert(said, one.plugin.settings)) for said in (own, {}))
    return {
        "name": one.name, "enabled": section.get("enabled", one.plugin.enabled), "from": one.source,
        "package": f"{point.dist.name} {point.dist.version}" if point.dist is not None else "",
        "reads": [_reads(reader) for reader in readers],
        "settings": {key: {"value": value, "default": defaults[key]} for key, value in settings.items()},
    }


def _reads(reader: Classifier | DatagramClassifier | Adviser | Observer) -> dict[str, Any]:
    """Of which packets it gets what."""
    if isinstance(reader, Adviser | Observer):
        slow = to_builtins(reader.slow) if isinstance(reader, Adviser) else None
        return {"protocol": "", "version": reader.version, "ports": [], "over": "",
                "observes": isinstance(reader, Observer), "slow": slow}
    common = {"protocol": reader.protocol, "version": reader.version, "ports": list(reader.ports)}
    if isinstance(reader, DatagramClassifier):
        return {**common, "over": "UDP", "both": reader.both}
    return {**common, "over": "TCP", "needs": reader.needs, "elsewhere": reader.elsewhere}


def _sentence(reads: dict[str, Any]) -> str:
    """The same for people."""
    ports = ", ".join(map(str, reads["ports"]))
    if not reads["over"]:
        what = "verdicts, and flows that have ended" if reads["observes"] else "what other plugins find"
        if slow := reads["slow"]:
            what += f"; its flow {'waits' if slow['waits'] else 'goes on'} for up to {slow['patience']:g} s"
        return f"{what} (version {reads['version']})"
    if reads["over"] == "UDP":
        what = f"datagrams of {'both sides' if reads['both'] else 'clients'}, port {ports}"
    else:
        own = [f"port {ports}"] * bool(ports)
        where = ", and ".join(["all that is queued", *own] if reads["elsewhere"] else own)
        what = f"the first {reads['needs']} bytes of clients, {where}"
    return f"{reads['protocol']} (version {reads['version']}) over {reads['over']}: {what}"


def _word(value: object) -> str:
    """As TOML has it, or nearly."""
    return printable(value) if isinstance(value, str) else json.encode(value).decode()
