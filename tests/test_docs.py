"""What the documents say: their links lead somewhere, their commands are commands, their example works."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from nfqdpi.cli import main
from nfqdpi.core.classifier import Classification
from tests.plugins.prefixes import answer

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
STOPS = ("|", "&&", ";", ">")  # the shell's


def commands(text: str) -> Iterator[str]:
    """In blocks of code, and in lines; a usage with [OPTIONS] is none."""
    in_blocks = re.findall(r"^ {4,}(?:sudo |\$ )?(nfqdpi [a-z].*)$", text, re.MULTILINE)
    in_lines = re.findall(r"`(nfqdpi [^`]*)`", text)
    yield from (line for line in in_blocks + in_lines if "[" not in line)


def parse(line: str) -> None:
    """Raises click.UsageError where nfqdpi would. Of words with a bar between them, the first."""
    words = [word.partition("|")[0] or "|" for word in shlex.split(line, comments=True)]
    words = words[: next((n for n, word in enumerate(words) if word in STOPS), len(words))]
    command: click.Command = main
    ctx = click.Context(main)
    name, *words = words
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        name, *words = words
        below = command.get_command(ctx, name.rstrip(","))
        assert below is not None, f"there is no command {name}"
        command = below
    if words and not isinstance(command, click.Group):  # else it is only named
        command.make_context(name, words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links(page: Path) -> None:
    """To files that are there."""
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands(page: Path) -> None:
    """The command line takes them."""
    for line in commands(page.read_text()):
        try:
            parse(line)
        except (click.UsageError, AssertionError) as error:
            pytest.fail(f"{line}: {error}")


def test_every_page_is_linked() -> None:
    """From the README."""
    readme = (ROOT / "README.md").read_text()
    assert [page.name for page in PAGES if page.parent.name == "docs" and f"docs/{page.name})" not in readme] == []


def test_the_example_of_a_classifier() -> None:
    """It does what the page says, and keeps the rules of every classifier."""
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/plugins.md").read_text(), re.DOTALL)
    module: dict[str, object] = {}
    exec(code, module)  # noqa: S102  it is ours
    body = b"git-upload-pack /project.git\0host=My.Server.example:9418\0"
    classifier = module["classifier"]
    found = answer(classifier.classify, f"{len(body) + 4:04x}".encode() + body)  # type: ignore[attr-defined]
    assert isinstance(found, Classification)
    assert (found.protocol, found.names) == ("git", ("my.server.example",))
