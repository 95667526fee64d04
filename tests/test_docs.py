"""What the documents say: their links lead somewhere, their commands are commands, their tutorial works."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import pytest

from nfqdpi.cli import main

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
NFQDPI = (sys.executable, "-m", "nfqdpi", "plugins")
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


def tutorial() -> dict[str, str]:
    """The files that the page on plugins has its reader write, by their paths."""
    blocks = re.findall(r"```(?:python|toml)\n# (\S+)\n(.*?)```", (ROOT / "docs/plugins.md").read_text(), re.DOTALL)
    return dict(blocks)


def test_the_tutorial(tmp_path: Path) -> None:
    """What it builds passes its own tests, and its capture is as it says: whole, cut and in disorder."""
    files = tutorial()
    assert len(files) == 6
    run([*NFQDPI, "new", "sshbanner"], tmp_path)
    folder = tmp_path / "nfqdpi-sshbanner"
    for file in folder.glob("tests/*"):
        assert file.name == "sshbanner.pcap" or str(file.relative_to(folder)) in files, "the page replaces it"
    for path, text in files.items():
        (folder / path).write_text(text)
    run([sys.executable, "tests/capture.py"], folder)
    assert run([*NFQDPI, "test", folder], tmp_path).count("ok ") == 3
    assert "5 passed" in run([sys.executable, "-m", "pytest", "-q"], folder)


def run(command: Sequence[str | Path], folder: Path) -> str:
    """What a program prints that ends well."""
    env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
