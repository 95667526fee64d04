"""``nfqdpi events``: what was decided, out of the event file and its older ones; works with the daemon down."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from datetime import datetime, time, timedelta
from io import BufferedReader
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nfqdpi.cli.common import AS_ROOT, Exit, config_option, fail, json_option, printable
from nfqdpi.cli.filters import filter_options
from nfqdpi.cli.terminal import busy

if TYPE_CHECKING:
    from nfqdpi.config import Config
    from nfqdpi.events.filter import Filter
    from nfqdpi.events.reader import Read, Reader

_VERDICTS = ("inspect", "accelerate", "block")
_STDIN = Path("-")


@click.command("events")
@config_option
@click.argument("files", metavar="[FILE]...", nargs=-1, type=click.Path(path_type=Path))
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written from now on, until Ctrl-C.")
@click.option("--since", metavar="TIME", help="Only younger ones: 10m (ago), 21:00, yesterday, 2026-11-22 21:00.")
@click.option("--last", metavar="N", type=click.IntRange(min=1), help="Only the last N.")
@filter_options(_VERDICTS)
@json_option
def command(  # noqa: PLR0913  one for each option
    config: Config, files: tuple[Path, ...], accepts: Filter | None, since: str | None, last: int | None, *,
    follow: bool, as_json: bool,
) -> None:
    """Events of the event file and of those that it was rotated to, or of FILEs (- is stdin; gzip will do).

    Of one filter given several times, one must fit; of several filters, all.

    Example: nfqdpi events -f --verdict block --not name=*.ads.example
    """
    from nfqdpi.events import reader
    from nfqdpi.events.filter import wanted

    if follow and (len(files) > 1 or files == (_STDIN,)):
        fail(Exit.USAGE, "-f follows one file, and no pipe")
    if not files and not config.events.file:
        fail(Exit.USAGE, "[events] file is switched off: name a FILE")
    try:
        after = moment(since, datetime.now()) if since is not None else None
    except ValueError as error:
        fail(Exit.USAGE, str(error))
    reading = reader.Reader(wanted(accepts, after))
    show = _show_json if as_json else _show
    live = files[0] if files else Path(config.events.file)
    try:
        with ExitStack() as held:
            ours = [] if files and not follow else [held.enter_context(one) for one in _opened(live, after, files)]
            for read in (_followed(reading, ours, live, last, after) if follow else
                         _past(reading, list(map(reader.unpacked, ours)) or _sources(files), last)):
                show(read)
                if follow:
                    sys.stdout.flush()
    except PermissionError as error:
        fail(Exit.NOT_PERMITTED, f"{error.filename}: not permitted: {AS_ROOT}")
    except KeyboardInterrupt:
        pass
    if reading.foreign:
        click.echo(f"nfqdpi: {reading.foreign} lines are no events", err=True)
    if reading.damaged:
        fail(Exit.DEGRADED, *reading.damaged)


def _sources(paths: Iterable[Path]) -> list[Iterable[bytes]]:
    from nfqdpi.events.reader import Saved, unpacked

    return [Saved(path) if path != _STDIN else unpacked(open(0, "rb", closefd=False)) for path in paths]


def _opened(live: Path, after: datetime | None, files: Sequence[Path]) -> list[BufferedReader]:
    """The event file behind those that it was rotated to; of ``files``, the one that is named."""
    from nfqdpi.events.reader import opened

    return ([] if files else opened(live, after)) or [live.open("rb")]


def _past(reading: Reader, sources: list[Iterable[bytes]], last: int | None) -> Iterable[Read]:
    with busy("reading"):  # files may be large, and the first that is wanted at their end
        found = _picked(reading, sources, last)
        first = next(found, None)
    return chain([first] if first else [], found)


def _picked(reading: Reader, sources: list[Iterable[bytes]], last: int | None) -> Iterator[Read]:
    return reading.all(sources) if last is None else iter(reading.last(sources, last))


def _followed(reading: Reader, files: list[BufferedReader], live: Path, last: int | None,
              after: datetime | None) -> Iterator[Read]:
    """What is asked for of the past, then all that comes to the last of the files, which is the live one."""
    from nfqdpi.events.reader import growing, unpacked, whole

    *older, file = files
    if last is None and after is None:
        file.seek(0, os.SEEK_END)
    else:
        yield from _picked(reading, [*map(unpacked, older), whole(file)], last)
    yield from reading.all([growing(file, live)])


def _show(read: Read) -> None:
    from nfqdpi.events.model import Event

    line = read.line
    when = line.timestamp[:19].replace("T", " ")
    if not isinstance(line, Event):
        click.echo(f"{when}  ! {printable(line.notice.message)}")
        return
    verdict = line.verdict
    name = ", ".join(line.names) or f"({line.app_proto})"
    why = f"rule {verdict.rule}" if verdict.rule is not None else str(verdict.reason)
    why += f", list {verdict.list}" if verdict.list is not None else ""
    action = click.style(f"{verdict.action:<10}", fg="red" if verdict.action == "block" else None)
    click.echo(f"{when}  {action}  {line.src_ip:<15}  {printable(name):<40}  {printable(why)}")


def _show_json(read: Read) -> None:
    click.echo(read.text.rstrip(b"\n"))


def moment(text: str, now: datetime) -> datetime:
    """What ``--since`` says, in the system's time zone. Raises ValueError."""
    from nfqdpi.config.values import Duration

    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if text in ("today", "yesterday"):
        return (midnight - timedelta(days=text == "yesterday")).astimezone()
    with suppress(ValueError):
        return (now - timedelta(seconds=Duration.parse(text))).astimezone()
    with suppress(ValueError):
        return datetime.fromisoformat(text).astimezone()
    with suppress(ValueError):
        today = datetime.combine(midnight, time.fromisoformat(text))
        return (today if today <= now else today - timedelta(days=1)).astimezone()
    raise ValueError(f"--since: {text!r} is no time such as 10m, 21:00, yesterday or 2026-11-22 21:00")
