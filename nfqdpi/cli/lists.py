"""``nfqdpi lists``: where names come from, how old they are, and what was refused."""

from __future__ import annotations

import math
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nfqdpi.cli.common import Exit, config_option, emit_json, fail, json_option, printable, table
from nfqdpi.cli.lists_change import add, format_option, permitted, rm, update
from nfqdpi.cli.terminal import busy
from nfqdpi.config import Config

if TYPE_CHECKING:
    from nfqdpi.config.model import DomainList
    from nfqdpi.policy import formats
    from nfqdpi.policy.formats import Entries, Parsed
    from nfqdpi.policy.names import Kind

_PASSWORD = re.compile(r"\A([^/]*//[^/:@]*:)[^/]*@")  # in a URL
_LARGEST = 1 << 32  # bytes of a file to check: as much as a list may be configured to have


@click.group("lists")
def command() -> None:
    """Lists of names: what there is, bring it up to date, check, add, remove."""


for changing in (update, add, rm):
    command.add_command(changing)


@command.command("ls")
@config_option
@json_option
def ls(config: Config, *, as_json: bool) -> None:
    """One row a list: its source, what is in it, how old it is, and when it is due.

    Example: nfqdpi lists ls
    """
    with permitted():
        rows = [_row(source, config, time.time()) for source in config.list]
    if as_json:
        for row in rows:
            emit_json(row)
        return
    table(("name", "source", "format", "names", "refused", "age", "next", "state"),
          [(row["name"], row["source"], row["format"], row["names"], row["refused"], _span(row["age"]),
            _span(row["due_in"]), f"{row['state']}{': ' * bool(row['problem'])}{row['problem']}") for row in rows])


def _row(source: DomainList, config: Config, now: float) -> dict[str, object]:
    """``state``: "good"; "old" where the last attempt brought nothing; "missing" where no attempt has yet;
    "damaged" where the stored text is not what was written. ``due_in``: None of a file, which is read when it
    changes."""
    from nfqdpi.lists.store import Store
    from nfqdpi.lists.update import next_due

    store = Store(config.state.directory)
    facts, attempt = store.facts(source.name), store.attempt(source.name)
    problem = attempt.problem if attempt else ""
    state = "old" if problem else "good"
    if store.load(source.name) is None:
        state = "damaged" if facts else "missing"
    due_in = max(0.0, next_due(source, store, now) - now)
    return {
        "name": source.name, "source": source.path or _PASSWORD.sub(r"\1***@", source.url),
        "format": facts.form if facts else source.format,
        "names": facts.names if facts else 0, "refused": facts.refused if facts else 0,
        "age": now - facts.fetched if facts else None, "due_in": None if due_in == math.inf else due_in,
        "state": state, "problem": problem,
    }


def _span(seconds: object) -> str:
    """About how long, in the largest unit that it has one of."""
    if not isinstance(seconds, float):
        return "-"
    size, unit = next(((size, unit) for size, unit in ((86400, "d"), (3600, "h"), (60, "m")) if seconds >= size),
                      (1, "s"))
    return f"{seconds / size:.0f}{unit}"


@command.command("check")
@click.argument("what", metavar="FILE-OR-NAME")
@format_option
@config_option
@json_option
def check(config: Config, what: str, form: str, *, as_json: bool) -> None:
    """Read a file, or the stored version of a list by its name, and show each line that is refused. Exit 1: some
    were.

    Example: nfqdpi lists check ./ads.txt
    """
    from nfqdpi.policy import formats

    text, stored_form = _text_of(what, config)
    found = formats.Format(form) if form != "auto" else stored_form or formats.detect(text)
    if found is None:
        fail(Exit.NO, f"{what}: it is empty or in none of the formats")
    with busy(f"reading {what}"):
        parsed = formats.read(text, found)
    if as_json:
        emit_json({"format": found, "names": _counts(parsed.blocked), "exceptions": _counts(parsed.excepted),
                   "refused": parsed.refused})
    else:
        _show(what, parsed)
    sys.exit(Exit.NO if parsed.refused or not parsed.count else Exit.OK)


def _text_of(what: str, config: Config) -> tuple[bytes, formats.Format | None]:
    """The text, and its format where that is known."""
    from nfqdpi.lists.fetch import SourceError, read_file
    from nfqdpi.lists.store import Store

    if what in {source.name for source in config.list}:
        with permitted():
            store = Store(config.state.directory)
            stored, facts = store.load(what), store.facts(what)
        if stored is None:
            fail(Exit.NO, f"what is stored of {what} is damaged: nfqdpi lists update {what}" if facts else
                          f"no version of {what} is stored yet")
        return stored.text, stored.facts.form
    try:
        return read_file(Path(what), _LARGEST), None
    except SourceError as error:
        fail(Exit.USAGE, f"{what}: {error}")


def _counts(by_kind: dict[Kind, Entries]) -> dict[str, int]:
    return {kind.name.lower(): len(entries.names) for kind, entries in by_kind.items()}


def _show(what: str, parsed: Parsed) -> None:
    exceptions = sum(_counts(parsed.excepted).values())
    kinds = ", ".join(f"{count} {kind}" for kind, count in _counts(parsed.blocked).items() if count) or "none"
    click.echo(f"{parsed.format}: {parsed.count} names ({kinds}), {exceptions} exceptions, {len(parsed.refused)} lines "
               "refused")
    for refused in parsed.refused:
        click.echo(f"{what}:{refused.line}: {printable(refused.why)}: {printable(refused.text)}")
