"""``nfqdpi lists update|add|rm``: what changes lists, and has the daemon take the change."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nfqdpi.cli.common import (
    AS_ROOT,
    RESTART,
    Exit,
    config_option,
    emit_json,
    fail,
    json_option,
    printable,
    problems_of,
)
from nfqdpi.cli.terminal import busy
from nfqdpi.config import Config, ConfigError
from nfqdpi.policy.formats import Format

if TYPE_CHECKING:
    from nfqdpi.config.model import DomainList
    from nfqdpi.lists.update import Result

_STEPS = 1000  # of the progress bar, for each list

format_option = click.option("--format", "form", type=click.Choice(["auto", *map(str, Format)]), default="auto",
                             show_default=True)


@click.command("update")
@click.argument("names", nargs=-1, metavar="[NAME...]")
@config_option
@json_option
def update(config: Config, names: tuple[str, ...], *, as_json: bool) -> None:
    """Ask the sources now (of all lists, or of these) and have the daemon take what is new. Exit 1: a new version was
    refused, or did not come; the old one stays.

    Example: nfqdpi lists update ads
    """
    if unknown := set(names) - {source.name for source in config.list}:
        fail(Exit.USAGE, *(f"no list is named {name!r}" for name in sorted(unknown)))
    if not config.list:
        click.echo("nfqdpi: no list is configured", err=True)
    chosen = [source for source in config.list if not names or source.name in names]
    results = _updated(chosen, config)
    for result in results:
        if as_json:
            emit_json({"name": result.name, "outcome": result.outcome, "problem": result.problem,
                       "names": result.facts.names if result.facts else 0})
        else:
            _tell(result)
    if any(result.outcome == "new" for result in results):
        have_reloaded(config)
    sys.exit(Exit.NO if any(result.problem for result in results) else Exit.OK)


def _updated(sources: Sequence[DomainList], config: Config) -> list[Result]:
    from nfqdpi.kernel.privileges import as_owner
    from nfqdpi.lists.store import Store
    from nfqdpi.lists.update import update as renew

    results: list[Result] = []
    with click.progressbar(length=len(sources) * _STEPS, file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:
        def progress(name: str, share: float) -> None:
            bar.label = name
            bar.update(int((len(results) + share) * _STEPS) - bar.pos)

        with permitted(), as_owner(Path(config.state.directory)):
            for result in renew(sources, Store(config.state.directory), progress):
                results.append(result)
                progress(result.name, 0.0)
    return results


def _tell(result: Result) -> None:
    if result.problem:
        stays = "there is no version of it yet" if result.facts is None else "the old version stays"
        click.echo(f"nfqdpi: {result.name}: refused: {printable(result.problem)}; {stays}", err=True)
    elif result.facts is not None:
        refused = f", {result.facts.refused} lines refused" if result.facts.refused else ""
        click.echo(f"{result.name}: {result.outcome}: {result.facts.names} names ({result.facts.form}){refused}")


@click.command("add")
@click.argument("name")
@click.argument("source", metavar="PATH-OR-URL")
@format_option
@config_option
def add(config: Config, name: str, source: str, form: str) -> None:
    """Write a list into conf.d/lists.toml beside the configuration, and fetch it. Exit 1: it is configured now, but
    there is nothing that could be used.

    Example: nfqdpi lists add ads https://lists.example/ads.txt
    """
    from nfqdpi import assemble
    from nfqdpi.lists import entries

    is_url = source.lower().startswith(("http://", "https://"))
    if "://" in source and not is_url:
        fail(Exit.USAGE, f"{source}: a list comes from a file, or from an http or https URL")
    entry = {"name": name, **({"url": source} if is_url else {"path": str(Path(source).absolute())})}
    with changing():
        config = entries.add(own_path(), entry if form == "auto" else {**entry, "format": form})
    click.echo(f"{name}: added to {entries.part(own_path()).path}")
    results = _updated([one for one in config.list if one.name == name], config)
    for result in results:
        _tell(result)
    if name not in assemble.lists(config):
        click.echo(f'{name}: no [[rule]] names it yet: lists = ["{name}"] in one makes it count')
    have_reloaded(config)
    sys.exit(Exit.NO if any(result.problem for result in results) else Exit.OK)


@click.command("rm")
@click.argument("name")
@config_option
def rm(config: Config, name: str) -> None:
    """Take a list that 'lists add' has added out again, with what is stored of it.

    Example: nfqdpi lists rm ads
    """
    from nfqdpi.kernel.privileges import as_owner
    from nfqdpi.lists import entries
    from nfqdpi.lists.store import Store

    with changing():
        config = entries.remove(own_path(), name)
    with permitted(), as_owner(Path(config.state.directory)):
        Store(config.state.directory).remove(name)
    click.echo(f"{name}: removed")
    have_reloaded(config)


def own_path() -> Path:
    """The configuration file that the command was given."""
    path: Path = click.get_current_context().params["config_path"]
    return path


@contextmanager
def changing() -> Iterator[None]:
    """What is wrong with a change of the configuration, as exit code 2."""
    from nfqdpi.parts import PartError

    try:
        with permitted():
            yield
    except ConfigError as error:
        fail(Exit.USAGE, *error.problems)
    except PartError as error:
        fail(Exit.USAGE, str(error))


@contextmanager
def permitted() -> Iterator[None]:
    """What may not be read or written, as exit code 4."""
    try:
        yield
    except PermissionError as error:
        fail(Exit.NOT_PERMITTED, f"{error.filename}: not permitted: {AS_ROOT}")


def have_reloaded(config: Config) -> None:
    """Where a daemon runs, it takes the change now; where none does, at its next start."""
    from nfqdpi.daemon.ask import Hung, NotRunning, ask

    try:
        with busy("the daemon takes it"):
            reply = ask(config.control.socket, "reload")
    except Hung as error:
        fail(Exit.DEGRADED, f"{error}: {RESTART}")
    except NotRunning:
        return
    except PermissionError:
        fail(Exit.NOT_PERMITTED, "the running daemon has not taken it: "
                                 f"{config.control.socket}: not permitted: {AS_ROOT}")
    if problems := problems_of(reply):
        fail(Exit.DEGRADED, "the running daemon has not taken it:", *problems)
    click.echo("nfqdpi: the running daemon has taken it", err=True)
