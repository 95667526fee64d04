"""The help of every command."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import click
import pytest

from nfqdpi.cli import main


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, with how it is called."""
    if isinstance(command, click.Group):
        if command.invoke_without_command:
            yield " ".join(path), command
        ctx = click.Context(command)
        for name in command.list_commands(ctx):
            below = command.get_command(ctx, name)
            assert below is not None
            yield from leaves(below, (*path, name))
    else:
        yield " ".join(path), command


@pytest.mark.parametrize(("name", "command"), [pytest.param(*leaf, id=leaf[0]) for leaf in leaves(main)])
def test_an_example(name: str, command: click.Command) -> None:
    """Each has one, which the command itself can read."""
    (line,) = [line.strip() for line in (command.help or "").splitlines() if line.strip().startswith("Example: ")]
    before, _, options = line.removeprefix("Example: ").partition("|")[0].partition(f"nfqdpi {name}")
    assert before == ""
    command.make_context(name, shlex.split(options))
