"""``nfqdpi import`` on the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from nfqdpi.config import load
from tests.cli.test_cli import call

ROW = {"policy": "p", "idx": 1, "name": "ads", "action": "drop", "fqdn_op": "in", "fqdns": ["ads.example"]}


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    file = tmp_path / "rows.json"
    file.write_text(json.dumps([ROW]))
    return file


def test_everything_carried_over(rows: Path, tmp_path: Path) -> None:
    """Exit 0; the file is on stdout, or whole at its place, where our own commands take it."""
    shown = call("import", "opensync", rows)
    assert (shown.exit_code, shown.stderr) == (0, "lists: 0, groups: 0, rules: 1; not carried over: 0\n")
    (tmp_path / "conf.d").mkdir()
    written = call("import", "opensync", rows, "-o", tmp_path / "conf.d" / "imported.toml")
    assert (written.exit_code, written.stdout) == (0, "")
    assert (tmp_path / "conf.d" / "imported.toml").read_text() == shown.stdout
    assert [file.name for file in (tmp_path / "conf.d").iterdir()] == ["imported.toml"]
    (tmp_path / "nfqdpi.toml").write_text("")
    assert call("explain", "ads.example", "-c", tmp_path / "nfqdpi.toml").exit_code == 1


def test_each_loss_is_a_line_with_its_place(rows: Path) -> None:
    """Exit 1; what others wrote is escaped; a note is no loss."""
    rows.write_text(json.dumps([ROW, ROW | {"idx": 2, "name": "\x1b[2J", "risk_op": "gt"}, {"idx": 3, "policy": "p"}]))
    result = call("import", "opensync", rows)
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        f"not carried over: {rows}: p idx 2: \\x1b[2J: a risk level is known to OpenSync's providers only",
        f"note: {rows}: p idx 3: row 3: without an action: FSM goes on to the next row, and so do we",
        "lists: 0, groups: 0, rules: 1; not carried over: 1"]


def test_a_category_by_a_list(rows: Path, tmp_path: Path) -> None:
    """From a file or a URL; what is neither is a usage error."""
    rows.write_text(json.dumps([{"idx": 1, "action": "drop", "fqdncat_op": "in", "fqdncats": ["set", [1, 7]]}]))
    out = tmp_path / "out.toml"
    lists = ("--category", "1=/srv/adult.txt", "--category", "7=https://x/7")
    result = call("import", "opensync", rows, *lists, "-o", out)
    assert result.exit_code == 0
    assert [(one.path, one.url) for one in load(out).list] == [("/srv/adult.txt", ""), ("", "https://x/7")]
    for wrong in ("1=adult.txt", "1", "x=/srv/adult.txt"):
        assert call("import", "opensync", rows, "--category", wrong).exit_code == 2


@pytest.mark.parametrize("source", ["pihole", "adguard", "opensync"])
def test_what_cannot_be_read(source: str, tmp_path: Path) -> None:
    """Exit 2, with the file's name and why, and nothing is written: no such file, a folder, other content."""
    (tmp_path / "other").write_text("neither")
    for file in (tmp_path / "none", tmp_path, tmp_path / "other"):
        result = call("import", source, file, "-o", tmp_path / "out.toml")
        assert (result.exit_code, str(file) in result.stderr) == (2, True)
    assert not (tmp_path / "out.toml").exists()


def test_a_list_of_a_service(tmp_path: Path) -> None:
    """AdGuard Home knows the names of its services; we are given a list."""
    (tmp_path / "AdGuardHome.yaml").write_text("filtering: {blocked_services: [tube]}")
    arguments = ("import", "adguard", tmp_path / "AdGuardHome.yaml")
    assert call(*arguments).exit_code == 1
    assert call(*arguments, "--service", "tube=/srv/tube.txt").exit_code == 0


def test_nobody_else_pays_for_it() -> None:
    """Help imports neither YAML nor anything else of an import."""
    program = ("import sys; from nfqdpi.cli import main\n"
               "try: main(['import', '--help'])\n"
               "except SystemExit: pass\n"
               "print(sorted({'yaml', 'sqlite3', 'publicsuffixlist', 'ahocorasick'} & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
