"""``nfqdpi import``: another program's policy as a configuration file."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nfqdpi.cli.common import Exit, fail, printable

if TYPE_CHECKING:
    from nfqdpi.importers.draft import Draft

_file = click.argument("file", type=click.Path(path_type=Path))
_output = click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False),
                       help="Write it to this file, such as conf.d/imported.toml, instead of stdout.")


@click.group("import")
def command() -> None:
    """Another program's policy as a configuration file of ours.

    What it cannot say is named on stderr, item by item, with its place in the source. Exit: 0 everything has been
    carried over, 1 something has not, 2 the source cannot be read.
    """


@command.command("pihole")
@_file
@_output
def pihole(file: Path, output: Path | None) -> None:
    """Pi-hole: FILE is an archive of Teleporter (version 5 or 6), or gravity.db.

    Example: nfqdpi import pihole teleporter.zip -o /etc/nfqdpi/conf.d/imported.toml
    """
    from nfqdpi.importers import pihole as importer

    _import(file, output, partial(importer.convert, file))


@command.command("adguard")
@_file
@click.option("--service", "services", multiple=True, metavar="NAME=SOURCE",
              help="A list of the names of a blocked service: a URL, or a path that begins with /.")
@_output
def adguard(file: Path, services: tuple[str, ...], output: Path | None) -> None:
    """AdGuard Home: FILE is AdGuardHome.yaml.

    Example: nfqdpi import adguard AdGuardHome.yaml --service youtube=/etc/nfqdpi/youtube.txt
    """
    from nfqdpi.importers import adguard as importer

    _import(file, output, partial(importer.convert, file, _mapping("--service", services)))


@command.command("opensync")
@_file
@click.option("--category", "categories", multiple=True, metavar="N=SOURCE",
              help="A list of the names in category N: a URL, or a path that begins with /.")
@click.option("--table", metavar="NAME", help="Take the rows of this policy table, where there are several.")
@_output
def opensync(file: Path, categories: tuple[str, ...], table: str | None, output: Path | None) -> None:
    """OpenSync: FILE has rows of FSM_Policy as JSON, as ovsh and ovsdb-client write them.

    Example: nfqdpi import opensync policy.json --category 12=https://lists.example/games.txt
    """
    from nfqdpi.importers import opensync as importer

    sources = _mapping("--category", categories)
    if wrong := [number for number in sources if not number.isascii() or not number.isdigit()]:
        fail(Exit.USAGE, f"--category: {wrong[0]!r} is no number")
    _import(file, output, partial(importer.convert, file, {int(n): source for n, source in sources.items()}, table))


def _mapping(option: str, pairs: tuple[str, ...]) -> dict[str, str]:
    from nfqdpi.importers.draft import InexpressibleError, list_from

    sources = {}
    for pair in pairs:
        name, _, source = pair.partition("=")
        try:
            list_from(name, source)
        except InexpressibleError as error:
            fail(Exit.USAGE, f"{option} {pair!r}: {error}")
        sources[name] = source
    return sources


def _import(file: Path, output: Path | None, convert: Callable[[], Draft]) -> None:
    from nfqdpi.importers.draft import SourceError
    from nfqdpi.importers.toml import render

    try:
        draft = convert()
    except SourceError as error:
        fail(Exit.USAGE, f"{file}: {error}")
    except OSError as error:
        fail(Exit.USAGE, f"{file}: {error.strerror}")
    text = render(draft, f"Made by nfqdpi import from {file.name}.")
    _check(text)
    if output is None:
        click.echo(text, nl=False)
    else:
        _write(output, text)
    for remark in draft.remarks:
        line = ": ".join(part for part in (str(file), remark.place, remark.text, remark.why) if part)
        click.echo(printable(f"{'not carried over' if remark.lost else 'note'}: {line}"), err=True)
    lost = sum(remark.lost for remark in draft.remarks)
    click.echo(f"lists: {len(draft.lists)}, groups: {len(draft.groups)}, rules: {len(draft.rules)}; "
               f"not carried over: {lost}", err=True)
    sys.exit(Exit.NO if lost else Exit.OK)


def _check(text: str) -> None:
    """Our own loader has the last word before anything is written."""
    from nfqdpi.config import ConfigError, load

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "imported.toml")
        file.write_text(text, encoding="utf-8")
        try:
            load(file)
        except ConfigError as error:
            fail(Exit.USAGE, "what it comes to is no configuration:", *error.problems)


def _write(path: Path, text: str) -> None:
    """All of it or nothing: a daemon may be reading the folder."""
    new = path.with_name(f".{path.name}.new")  # no *.toml, which conf.d would be read for
    new.write_text(text, encoding="utf-8")
    os.replace(new, path)
