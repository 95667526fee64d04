"""Writes what is generated from the commands below a root: man pages and the completion of bash, zsh and fish.

    python packaging/generate.py ROOT
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from inspect import cleandoc
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from nfqdpi import __version__
from nfqdpi.cli import COMMANDS, main
from nfqdpi.cli.common import DEFAULT_CONFIG, Exit
from nfqdpi.config import Config

NAME = "nfqdpi"
COMPLETIONS = {
    "bash": "usr/share/bash-completion/completions/nfqdpi",
    "zsh": "usr/share/zsh/vendor-completions/_nfqdpi",
    "fish": "usr/share/fish/vendor_completions.d/nfqdpi.fish",
}
_EXIT = {
    Exit.OK: "yes; done",
    Exit.NO: "no: a negative answer, or it could not be done",
    Exit.USAGE: "usage, or a bad configuration",
    Exit.NOT_RUNNING: "the daemon is not running",
    Exit.NOT_PERMITTED: "not permitted",
    Exit.DEGRADED: "something is missing or does not work as it should",
}
_SECTIONS = {"iptables": 8, "conntrack": 8, "systemd.service": 5}  # of pages that are not ours
_LINE = 500  # characters that a command's one-line description may have: all of it


def generate(root: Path) -> None:
    """All of it."""
    for path, text in (*_pages(), *_completions()):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def _completions() -> Iterator[tuple[str, str]]:
    for shell, path in COMPLETIONS.items():
        if kind := get_completion_class(shell):
            yield path, kind(main, {}, NAME, f"_{NAME.upper()}_COMPLETE").source()


# --- man pages: one for the program, one for each command, with what is below it ---

def _pages() -> Iterator[tuple[str, str]]:
    top = click.Context(main, info_name=NAME, **main.context_settings)
    commands = list(_below(top))
    yield _page(NAME, "\n".join([
        *_name(top),
        *_synopsis(top),
        *_description(top, ".SH DESCRIPTION"),
        *_options(top, ".SH OPTIONS"),
        ".SH COMMANDS", *(line for ctx in commands for line in (
            ".TP", _reference(_page_name(ctx)), _roff(_line(ctx)))),
        ".SH EXIT STATUS", *(line for code in Exit for line in (".TP", rf"\fB{code}\fR", _roff(_EXIT[code]))),
        ".SH FILES", *(line for path, what in _files() for line in (".TP", rf"\fI{_roff(path)}\fR", _roff(what))),
        _see_also("iptables", "conntrack", "systemd.service"),
    ]))
    for ctx in commands:
        others = [_page_name(other) for other in commands if other is not ctx]
        yield _page(_page_name(ctx), "\n".join([
            *_name(ctx),
            *_synopsis(ctx),
            *_description(ctx, ".SH DESCRIPTION"),
            *_options(ctx, ".SH OPTIONS"),
            *(line for below in _all_below(ctx) for line in (
                f".SH {_roff(below.command_path.removeprefix(NAME + ' ').upper())}",
                *_usage(below), *_description(below, ".PP"), *_options(below, ".PP"))),
            ".SH EXIT STATUS", rf"Those of \fB{NAME}\fR(1), where nothing else is said.",
            _see_also(NAME, *others),
        ]))


def _page(name: str, body: str) -> tuple[str, str]:
    day = datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", "0")), UTC).strftime("%Y-%m-%d")
    head = f'.TH "{name.upper()}" "1" "{day}" "{NAME} {__version__}" "{NAME}"\n'
    return f"usr/share/man/man1/{name}.1", f"{head}{body}\n"


def _below(ctx: click.Context) -> Iterator[click.Context]:
    """The commands of a group, but for those that it hides."""
    if isinstance(ctx.command, click.Group):
        for name in ctx.command.list_commands(ctx):
            command = ctx.command.get_command(ctx, name)
            if command is not None and not command.hidden:
                yield click.Context(command, info_name=name, parent=ctx)


def _all_below(ctx: click.Context) -> Iterator[click.Context]:
    for below in _below(ctx):
        yield below
        yield from _all_below(below)


def _page_name(ctx: click.Context) -> str:
    return ctx.command_path.replace(" ", "-")


def _name(ctx: click.Context) -> list[str]:
    return [".SH NAME", rf"{_roff(_page_name(ctx))} \- {_roff(_line(ctx).rstrip('.'))}"]


def _line(ctx: click.Context) -> str:
    """What it is, in a line; that of a command is the one that the list of commands shows."""
    return COMMANDS[ctx.info_name or ""][1] if ctx.parent else ctx.command.get_short_help_str(_LINE)


def _synopsis(ctx: click.Context) -> list[str]:
    return [".SH SYNOPSIS", *_usage(ctx)]


def _usage(ctx: click.Context) -> list[str]:
    pieces = " ".join(ctx.command.collect_usage_pieces(ctx))
    return [rf"\fB{_roff(ctx.command_path)}\fR {_roff(pieces)}"]


def _description(ctx: click.Context, head: str) -> Iterator[str]:
    if ctx.command.help:
        yield head
        yield from _paragraphs(ctx.command.help)
    if ctx.command.epilog:
        yield ".PP"
        yield from _paragraphs(ctx.command.epilog)


def _paragraphs(text: str) -> Iterator[str]:
    """As click reads a help text: a blank line between paragraphs; one that begins with \\b keeps its lines."""
    for number, paragraph in enumerate(cleandoc(text.partition("\f")[0]).split("\n\n")):
        if number:
            yield ".PP"
        if paragraph.lstrip().startswith("\b"):
            yield ".nf"
            yield from (_roff(line) for line in paragraph.lstrip().removeprefix("\b").lstrip("\n").splitlines())
            yield ".fi"
        else:
            yield _roff(" ".join(paragraph.split()))


def _options(ctx: click.Context, head: str) -> Iterator[str]:
    records = (record for param in ctx.command.get_params(ctx) if (record := param.get_help_record(ctx)))
    told = [(names, text) for names, text in records if text]  # of an argument the description tells
    if told:
        yield head
    for names, text in told:
        yield from (".TP", rf"\fB{_roff(names)}\fR", _roff(text))


def _files() -> list[tuple[str, str]]:
    config = Config()
    return [
        (str(DEFAULT_CONFIG), "The configuration."),
        (f"{DEFAULT_CONFIG.parent}/conf.d/*.toml", "Parts of it, read afterwards in the order of their names."),
        (config.events.file, "Verdict events, one JSON object a line."),
        (config.state.directory, "Lists as fetched and compiled, changes by hand, time used."),
        (config.control.socket, "Where the commands reach the daemon."),
    ]


def _see_also(*names: str) -> str:
    return ".SH SEE ALSO\n" + ",\n".join(map(_reference, names))


def _reference(page: str) -> str:
    return rf"\fB{_roff(page)}\fR({_SECTIONS.get(page, 1)})"


def _roff(text: str) -> str:
    """Text that groff prints as it is."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-")
    return rf"\&{escaped}" if escaped[:1] in {".", "'"} else escaped


if __name__ == "__main__":
    generate(Path(sys.argv[1]))
