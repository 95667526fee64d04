"""``nfqdpi plugins new|test|bench``: for whoever writes one."""

from __future__ import annotations

import keyword
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nfqdpi.cli.common import Exit, config_option, emit_json, fail, json_option, printable, table
from nfqdpi.config import Config, ConfigError

if TYPE_CHECKING:
    from nfqdpi.testing.expect import Way


@click.command("new")
@click.argument("name")
@click.option("--in", "where", type=click.Path(path_type=Path, file_okay=False, exists=True), default=Path(),
              show_default="here", help="The folder that it is put in.")
def new(name: str, where: Path) -> None:
    """Write a package with a classifier that works, its test, a capture and what is expected of it. NAME: small
    letters, digits and underscores.

    Example: nfqdpi plugins new gopher
    """
    from nfqdpi import plugins
    from nfqdpi.testing import scaffold

    if not (name.isidentifier() and name.isascii() and name.islower()) or keyword.iskeyword(name):
        fail(Exit.USAGE, f"{name!r} is not a name of small letters, digits and underscores")
    if name in (point.name for point in plugins.points()):
        fail(Exit.USAGE, f"a plugin is named {name!r} already")
    folder = where / f"nfqdpi-{name}"
    try:
        written = scaffold.write(folder, name)
    except FileExistsError:
        fail(Exit.USAGE, f"{folder} is there already")
    for path in written:
        click.echo(path)
    click.echo(f"next: nfqdpi plugins test {folder}", err=True)


@click.command("test")
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@json_option
def test(folder: Path, *, as_json: bool) -> None:
    """Run the expectation files of a plugin's folder (TOML that names a capture): the capture as it is, cut at every
    byte, and with the pieces in the wrong order. The plugin need not be installed.

    Exit 0: all is as expected. 1: something is not. 2: a file cannot be used, or there is none.

    Example: nfqdpi plugins test nfqdpi-gopher
    """
    from nfqdpi.plugins import PluginError
    from nfqdpi.testing.expect import ExpectationError
    from nfqdpi.testing.package import as_installed

    wrong = False
    try:
        with as_installed(folder):
            for path, way in _ways(folder):
                wrong = wrong or bool(way.problems)
                if as_json:
                    emit_json({"file": str(path), **way._asdict()})
                else:
                    _tell(path, way)
    except ConfigError as error:
        fail(Exit.USAGE, *error.problems)
    except (ExpectationError, PluginError) as error:
        fail(Exit.USAGE, str(error))
    sys.exit(Exit.NO if wrong else Exit.OK)


def _ways(folder: Path) -> Iterator[tuple[Path, Way]]:
    from nfqdpi.testing import expect

    paths = expect.found(folder)
    if not paths:
        fail(Exit.USAGE, f"{folder}: no folder with a TOML file that names a capture")
    for path in paths:
        for way in expect.run(path):
            yield path, way


def _tell(path: Path, way: Way) -> None:
    click.echo(f"{'FAIL' if way.problems else 'ok':5}{printable(str(path))}: {way.name}")
    for problem in way.problems:
        click.echo(f"     {printable(problem)}")


@click.command("bench")
@click.argument("name", required=False)
@click.option("--capture", type=click.Path(path_type=Path, dir_okay=False, exists=True),
              help="Its packets, in place of a flow of each protocol.")
@config_option
@json_option
def bench(config: Config, name: str | None, capture: Path | None, *, as_json: bool) -> None:
    """What each plugin costs: microseconds a call, and its share of the time that the engine takes for the packets. A
    plugin that is named is measured, enabled or not.

    Example: nfqdpi plugins bench http
    """
    from nfqdpi import plugins
    from nfqdpi.testing.capture import captured
    from nfqdpi.testing.cost import costs

    sections = {**config.plugin, **({name: {**config.plugin.get(name, {}), "enabled": True}} if name else {})}
    try:
        offered = plugins.readers(sections)
    except plugins.PluginError as error:
        fail(Exit.DEGRADED, str(error))
    if name is not None and name not in offered:
        if name in plugins.observers(sections):
            fail(Exit.USAGE, f"{name!r} observes: it reads no packets")
        fail(Exit.USAGE, f"no plugin is named {name!r}; there are {', '.join(offered)}")
    try:
        rows = costs(offered, list(captured(capture)) if capture else None)
    except (Exception, SystemExit) as error:  # noqa: BLE001  a plugin may raise anything
        fail(Exit.NO, f"a packet could not be judged: {type(error).__name__}: {error}")
    rows = [cost for cost in rows if name in (None, cost.name)]
    if as_json:
        for cost in rows:
            emit_json(cost._asdict())
    else:
        table(("name", "calls", "us a call", "share"),
              [(cost.name, cost.calls, f"{cost.us:.1f}", f"{cost.share:.1%}") for cost in rows])
