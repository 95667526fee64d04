"""What only people see: colour, the width of their terminal, and what they are waiting for."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Event, Thread
from time import monotonic

import click

_LEAST = 8  # characters: a narrower column says nothing
_SOON = 1.0  # s that need no word


def colour(environment: Mapping[str, str]) -> bool | None:
    """Never with NO_COLOR, always with FORCE_COLOR (no-color.org, force-color.org); None: on a terminal."""
    if environment.get("NO_COLOR"):
        return False
    return True if environment.get("FORCE_COLOR") else None


def fitted(widths: Sequence[int], gap: int) -> list[int]:
    """The widths of columns that go into the terminal's width, ``gap`` apart: the widest are cut. Where stdout is no
    terminal, as they are."""
    fit = list(widths)
    if not sys.stdout.isatty():
        return fit
    from shutil import get_terminal_size  # for people: it brings three compressors along

    room = get_terminal_size().columns - gap * (len(fit) - 1)
    while sum(fit) > room and max(fit) > _LEAST:
        fit[fit.index(max(fit))] -= 1
    return fit


def cut(text: str, width: int) -> str:
    """The text, or what of it fits."""
    return text if len(text) <= width else f"{text[:width - 1]}…"


@contextmanager
def busy(what: str) -> Iterator[None]:
    """Where stderr is a terminal: what goes on meanwhile, and for how long, from the first second on."""
    if not sys.stderr.isatty():
        yield
        return
    began, ended, longest = monotonic(), Event(), 0

    def tell() -> None:
        nonlocal longest
        while not ended.wait(_SOON):
            line = f"{what} ... {monotonic() - began:.0f} s"
            longest = max(longest, len(line))
            click.echo(f"\r{line}", nl=False, err=True)

    telling = Thread(target=tell, daemon=True)
    telling.start()
    try:
        yield
    finally:
        ended.set()
        telling.join()
        if longest:
            click.echo(f"\r{'':{longest}}\r", nl=False, err=True)
