"""What the package installs, but for the Python packages: `./dev deb --try` has the whole."""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from nfqdpi.cli import main
from nfqdpi.config import Config, load
from nfqdpi.kernel.privileges import Capability

HERE = Path(__file__).parents[2]
UNIT = "usr/lib/systemd/system/nfqdpi.service"
SHELLS = {
    "bash": "usr/share/bash-completion/completions/nfqdpi",
    "zsh": "usr/share/zsh/vendor-completions/_nfqdpi",
    "fish": "usr/share/fish/vendor_completions.d/nfqdpi.fish",
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files, as below /."""
    root = tmp_path_factory.mktemp("tree")
    subprocess.run([HERE / "packaging/deb", "tree", root], env={**os.environ, "PYTHON": sys.executable}, check=True)
    return root


def commands(ctx: click.Context) -> Iterator[click.Context]:
    """All that are not hidden, the program itself first."""
    yield ctx
    if isinstance(ctx.command, click.Group):
        for name in ctx.command.list_commands(ctx):
            below = ctx.command.get_command(ctx, name)
            assert below is not None
            if not below.hidden:
                yield from commands(click.Context(below, info_name=name, parent=ctx))


def page(tree: Path, *words: str) -> str:
    """A man page's source."""
    return gzip.decompress((tree / f"usr/share/man/man1/{'-'.join(words)}.1.gz").read_bytes()).decode()


def test_modes(tree: Path) -> None:
    """Programs can be run, all else be read, nothing be written by others, and nothing lies in odd places."""
    for path in tree.rglob("*"):
        runs = path.is_dir() or path.parent == tree / "usr/bin"
        assert path.stat().st_mode & 0o7777 == (0o755 if runs else 0o644), path
    assert {path.name for path in tree.iterdir()} == {"etc", "usr"}


def test_every_command_has_its_man_page(tree: Path) -> None:
    """With each command below it, each option, and its help; and none has a page that is no command's."""
    pages = set()
    for ctx in commands(click.Context(main, info_name="nfqdpi", **main.context_settings)):
        words = ctx.command_path.split()[:2]
        pages.add(f"{'-'.join(words)}.1.gz")
        text = page(tree, *words).replace("\\-", "-").replace("\\e", "\\")
        assert ctx.command_path in text
        for param in ctx.command.get_params(ctx):
            assert all(name in text for name in (param.opts if isinstance(param, click.Option) else ())), param
        assert not re.search(r"\.TP\n.*\n(\n|\.)", text), f"{words}: an item without a word on it"
        for sentence in re.split(r"\s*\n\s*|\x08", ctx.command.help or ""):
            assert sentence.strip() in text
    assert {path.name for path in (tree / "usr/share/man/man1").iterdir()} == pages


def test_man_pages_are_well_formed(tree: Path) -> None:
    """groff has no complaint about any."""
    for path in (tree / "usr/share/man/man1").iterdir():
        done = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-z"], input=gzip.decompress(path.read_bytes()),
                              capture_output=True, check=True)
        assert done.stderr == b"", path


def test_bash_completes(tree: Path) -> None:
    """Commands, commands below them, options and choices, as bash itself comes to them."""
    program = f"nfqdpi() {{ {sys.executable} -c 'from nfqdpi.cli import main; main(prog_name=\"nfqdpi\")'; }}"
    for words, first in ((["ru"], "run"), (["rules", "rem"], "remove"), (["rules", "render", "--fam"], "--family"),
                         (["rules", "render", "--family", ""], "4")):
        line = " ".join(f"'{word}'" for word in ["nfqdpi", *words])
        # click's function runs the program by env, which knows no function of a shell.
        script = (f"{program}; env() {{ local -x \"$1\" \"$2\" \"$3\"; \"$4\"; }}; . {tree / SHELLS['bash']}; "
                  f"COMP_WORDS=({line}) COMP_CWORD={len(words)}; _nfqdpi_completion nfqdpi; echo \"${{COMPREPLY[0]}}\"")
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == first, done.stderr


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_is_clicks_own(tree: Path, shell: str) -> None:
    """What click prints for the shell is what is installed."""
    program = "from nfqdpi.cli import main; main(prog_name='nfqdpi')"
    done = subprocess.run([sys.executable, "-c", program], env={**os.environ, "_NFQDPI_COMPLETE": f"{shell}_source"},
                          capture_output=True, text=True, check=True)
    assert (tree / SHELLS[shell]).read_text().strip() == done.stdout.strip()


def test_configuration(tree: Path) -> None:
    """The file that is installed is valid and changes no default; so is what it shows in comments."""
    file = tree / "etc/nfqdpi/nfqdpi.toml"
    assert load(file) == Config()
    shown = re.sub(r"^# (?=\[|\w+ = )", "", file.read_text(), flags=re.MULTILINE)
    assert tomllib.loads(shown)["rule"][0]["action"] == "block"


def test_unit(tree: Path, tmp_path: Path) -> None:
    """systemd reads it without complaint and rates its exposure at most 3.0; it grants what `run` asks for."""
    text = (tree / UNIT).read_text()
    for key in ("AmbientCapabilities", "CapabilityBoundingSet"):
        granted = f"{key}={Capability.CAP_NET_ADMIN.name} {Capability.CAP_NET_RAW.name}\n"
        assert re.findall(f"^{key}=.*\n", text, re.MULTILINE) == [granted]
    for directory, path in (("StateDirectory", Config().state.directory), ("RuntimeDirectory", Config().control.socket),
                            ("LogsDirectory", Config().events.file)):
        assert f"{directory}=nfqdpi\n" in text
        assert re.match("/(var/lib|run|var/log)/nfqdpi(/|$)", path)
    unit = tmp_path / "nfqdpi.service"
    unit.write_text(text.replace("/usr/bin/nfqdpi", "/bin/true"))
    for options in (["verify", "--man=no"], ["security", "--offline=true", "--threshold=30"]):
        done = subprocess.run(["systemd-analyze", *options, unit], capture_output=True, text=True, check=False)
        ours = [line for line in done.stderr.splitlines() if "nfqdpi" in line]
        assert (done.returncode, ours) == (0, []), done.stderr


def test_lock_of_the_package() -> None:
    """What the package brings along is what is tested: each is pinned as for development, and none is missing."""
    pins = {
        name: dict(re.findall(r"^([\w.-]+)==(\S+)", (HERE / f"requirements/{name}.txt").read_text(), re.MULTILINE))
        for name in ("dev", "run")
    }
    assert pins["run"].items() <= pins["dev"].items()
    project = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]
    assert {re.split(r"[<>=]", wanted)[0].lower() for wanted in project["dependencies"]} <= pins["run"].keys()
