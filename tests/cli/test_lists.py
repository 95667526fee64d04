"""``nfqdpi lists``: what it says of lists, and what it changes."""

from __future__ import annotations

import asyncio
import json
import threading
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nfqdpi.cli import main
from nfqdpi.config.model import Control as Settings
from nfqdpi.daemon.control import Control

LIST = "0.0.0.0 a.example\n0.0.0.0 b.example\n0.0.0.0 bad^\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "nfqdpi.toml"
    file.write_text(f'[state]\ndirectory = "{tmp_path}/state"\n[control]\nsocket = "{tmp_path}/control.sock"\n'
                    f'[[list]]\nname = "ads"\npath = "{tmp_path}/ads.txt"\n'
                    f'[[list]]\nname = "far"\nurl = "http://127.0.0.1:9/far.txt"\n')
    (tmp_path / "ads.txt").write_text(LIST)
    return file


def call(*args: object) -> Result:
    return CliRunner().invoke(main, ["lists", *map(str, args)])


def rows(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_update_says_what_became_of_each(config: Path) -> None:
    """Exit 1 where one brought nothing, with the reason; 0 where all did; 2 for one that nobody knows."""
    result = call("update", "-c", config)
    assert (result.exit_code, result.stdout) == (1, "ads: new: 2 names (hosts), 1 lines refused\n")
    assert result.stderr == ("nfqdpi: far: refused: [Errno 111] Connection refused; "
                             "there is no version of it yet\n")
    again = call("update", "ads", "--json", "-c", config)
    assert (again.exit_code, rows(again)) == (
        0, [{"name": "ads", "outcome": "unchanged", "problem": "", "names": 2}])
    assert call("update", "adds", "-c", config).exit_code == 2


def test_update_without_a_list(tmp_path: Path) -> None:
    """There is nothing to do, and that is said."""
    (tmp_path / "empty.toml").touch()
    result = call("update", "-c", tmp_path / "empty.toml")
    assert (result.exit_code, result.stderr) == (0, "nfqdpi: no list is configured\n")


def test_ls(config: Path) -> None:
    """A list that was never asked for, one that is good, and one whose new version was refused."""
    assert [(row["name"], row["state"], row["due_in"]) for row in rows(call("ls", "--json", "-c", config))] == [
        ("ads", "missing", 0.0), ("far", "missing", 0.0)]
    call("update", "-c", config)
    good, far = rows(call("ls", "--json", "-c", config))
    assert (good["format"], good["names"], good["refused"], good["state"], good["due_in"]) == (
        "hosts", 2, 1, "good", None)
    assert (far["state"], "refused" in str(far["problem"])) == ("missing", True)
    (config.parent / "ads.txt").write_text("<html>")
    call("update", "-c", config)
    old = rows(call("ls", "--json", "-c", config))[0]
    assert (old["names"], old["state"], old["problem"]) == (2, "old", "it is HTML or XML, not a list")
    shown = call("ls", "-c", config).stdout.splitlines()
    assert shown[0].split() == ["name", "source", "format", "names", "refused", "age", "next", "state"]
    assert shown[1].endswith("old: it is HTML or XML, not a list")


def test_a_stored_list_that_is_damaged(config: Path) -> None:
    """Is said by whoever looks, and mended by an update."""
    call("update", "ads", "-c", config)
    stored = config.parent / "state/lists/ads/list"
    stored.write_bytes(stored.read_bytes().replace(b"b.example", b"B.example"))
    assert rows(call("ls", "--json", "-c", config))[0]["state"] == "damaged"
    check = call("check", "ads", "-c", config)
    assert (check.exit_code, "is damaged: nfqdpi lists update ads" in check.stderr) == (1, True)
    assert call("update", "ads", "-c", config).exit_code == 0
    assert rows(call("ls", "--json", "-c", config))[0]["state"] == "good"


def test_a_password_is_not_shown(config: Path) -> None:
    """By whoever lists the lists."""
    config.write_text(config.read_text().replace("http://127", "http://me:se@cret@127"))
    for args in ((), ("--json",)):
        shown = call("ls", *args, "-c", config).stdout
        assert ("http://me:***@127.0.0.1:9/far.txt" in shown, "cret" in shown) == (True, False)


@pytest.mark.parametrize("url", ["http://[::1/x", "http://lists.example:99999/", "https://:443/x", "http://x:0/",
                                 "http://me:secret@/x", "http://x:y/"])
def test_a_url_that_nobody_can_ask(config: Path, url: str) -> None:
    """Is refused by whoever reads the configuration, with the reason."""
    before = config.read_text()
    result = call("add", "bad", url, "-c", config)
    assert (result.exit_code, "list[3].url: " in result.stderr, config.read_text()) == (2, True, before)


def test_check_shows_every_refused_line(config: Path) -> None:
    """With its number and why; exit 1. A list that is stored is called by its name."""
    file = config.parent / "ads.txt"
    result = call("check", file, "-c", config)
    assert (result.exit_code, result.stdout) == (
        1, f"hosts: 2 names (2 exact), 0 exceptions, 1 lines refused\n"
           f"{file}:3: 'bad^' is no domain name: 0.0.0.0 bad^\n")
    assert "no version of ads" in call("check", "ads", "-c", config).stderr
    call("update", "ads", "-c", config)
    told = json.loads(call("check", "ads", "--json", "-c", config).stdout)
    assert (told["format"], told["names"]["exact"]) == ("hosts", 2)
    assert told["refused"] == [{"line": 3, "text": "0.0.0.0 bad^", "why": "'bad^' is no domain name"}]


def test_check_of_what_is_right(config: Path) -> None:
    """Exit 0; in the format that is named, or in the one that is found."""
    file = config.parent / "names.txt"
    file.write_text("a.example\n*.b.example\n")
    assert call("check", file, "-c", config).stdout.startswith("domains: 2 names (1 tree, 1 exact)")
    wildcard = call("check", file, "--format", "wildcard", "-c", config)
    assert (wildcard.exit_code, wildcard.stdout.split("\n")[0]) == (
        0, "wildcard: 2 names (2 tree), 0 exceptions, 0 lines refused")


@pytest.mark.parametrize(("text", "code"), [("<html>\n", 1), ("", 1), (None, 2)])
def test_check_of_what_is_no_list(config: Path, text: str | None, code: int) -> None:
    """Exit 1: there is no name in it. 2: there is no file."""
    file = config.parent / "names.txt"
    if text is not None:
        file.write_text(text)
    assert call("check", file, "-c", config).exit_code == code


def test_what_others_write_is_escaped(config: Path) -> None:
    """A line of a list does not reach the terminal raw, whatever bytes it has."""
    file = config.parent / "names.txt"
    file.write_bytes(b"a.example\n\x1b[31m.example\n\xff\n")
    assert "\x1b" not in call("check", file, "-c", config).stdout
    [told] = rows(call("check", file, "--json", "-c", config))
    assert len(told["refused"]) == 2  # type: ignore[arg-type]


def test_add_and_rm(config: Path) -> None:
    """They change a file of their own beside the configuration, which another rule may name at once."""
    own = config.parent / "conf.d" / "lists.toml"
    added = call("add", "more", config.parent / "ads.txt", "--format", "hosts", "-c", config)
    assert (added.exit_code, added.stdout.splitlines()) == (
        0, [f"more: added to {own}", "more: new: 2 names (hosts), 1 lines refused",
            'more: no [[rule]] names it yet: lists = ["more"] in one makes it count'])
    assert tomllib.loads(own.read_text()) == {"list": [
        {"name": "more", "path": str(config.parent / "ads.txt"), "format": "hosts"}]}
    own.write_text(own.read_text() + "\n# by hand\n")
    assert call("add", "web", "http://127.0.0.1:9/x", "-c", config).exit_code == 1
    assert [row["name"] for row in rows(call("ls", "--json", "-c", config))] == ["ads", "far", "more", "web"]
    assert call("rm", "web", "-c", config).exit_code == 0
    assert "# by hand" in own.read_text()
    assert call("rm", "more", "-c", config).exit_code == 0
    assert [row["name"] for row in rows(call("ls", "--json", "-c", config))] == ["ads", "far"]
    assert not (config.parent / "state" / "lists" / "more").exists()


def test_a_wrong_change_changes_nothing(config: Path) -> None:
    """A name that is taken, one that is none, a list that a rule needs, one that stands in another file: exit 2."""
    call("add", "more", config.parent / "ads.txt", "-c", config)
    own = config.parent / "conf.d" / "lists.toml"
    (config.parent / "conf.d" / "z.toml").write_text('[[rule]]\naction = "block"\nlists = ["more"]\n')
    before = own.read_text()
    for args, why in ((("add", "ads", "/x"), "another list is named 'ads'"), (("add", "a/b", "/x"), f"{own}:6"),
                      (("rm", "more"), f"{config.parent}/conf.d/z.toml:3: rule[1].lists: no list is named 'more'"),
                      (("rm", "ads"), f"{own} has no list named 'ads'"), (("add", "x", "/\udcff"), "not UTF-8"),
                      (("add", "x", "/\x7f"), "would not be TOML"),
                      (("add", "x", "ftp://lists.example/x"), "an http or https URL")):
        result = call(*args, "-c", config)
        assert (result.exit_code, why in result.stderr) == (2, True), result.stderr
        assert own.read_text() == before
    for text in ('list = [{name = "more", path = "/x"}]\n', f'{before}[policy]\ndefault = "block"\n'):
        own.write_text(text)
        assert "edit it there" in call("rm", "more", "-c", config).stderr


@contextmanager
def daemon(config: Path, reply: dict[str, object]) -> Iterator[list[str]]:
    """A control socket; what it was asked."""
    asked: list[str] = []
    loop = asyncio.new_event_loop()

    def answer() -> dict[str, object]:
        asked.append("reload")
        return reply

    control = Control(Settings(str(config.parent / "control.sock")), {"status": dict, "reload": answer})
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(control.start(), loop).result()
    try:
        yield asked
    finally:
        loop.call_soon_threadsafe(control.stop)
        time.sleep(0.05)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_the_daemon_is_told(config: Path) -> None:
    """After a change, and only then; where it does not take it, why, with exit code 5."""
    with daemon(config, {"problems": []}) as asked:
        assert "daemon has taken it" in call("update", "ads", "-c", config).stderr
        call("update", "ads", "-c", config)
        call("add", "more", config.parent / "ads.txt", "-c", config)
        call("rm", "more", "-c", config)
        assert len(asked) == 3
    refusals: list[dict[str, object]] = [{"error": "names: not\nnow"}, {"problems": ["names: not\nnow"]}]
    for refusal in refusals:
        with daemon(config, refusal):
            told = call("add", "more", config.parent / "ads.txt", "-c", config)
            assert (told.exit_code, told.stderr) == (
                5, "nfqdpi: the running daemon has not taken it:\nnfqdpi: names: not\\nnow\n")
        call("rm", "more", "-c", config)
