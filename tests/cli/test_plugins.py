"""``nfqdpi plugins``: from a new package to one that is tested, timed and switched on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nfqdpi.cli import main
from nfqdpi.plugins import PluginError, readers
from nfqdpi.testing import flow, hello, pcap_of
from nfqdpi.testing.package import distribution

Plugins = Callable[..., Result]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration without a daemon."""
    path = tmp_path / "nfqdpi.toml"
    path.write_text(f'[control]\nsocket = "{tmp_path}/none.sock"\n')
    return path


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plugins:
    """``plugins(*words, code=0)``: what the command says, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str | Path, code: int = 0) -> Result:
        done = CliRunner().invoke(main, ["plugins", *map(str, words)])
        assert done.exit_code == code, done.output
        return done

    return run


def test_a_new_package(plugins: Plugins, tmp_path: Path) -> None:
    """Its expectations hold, its own tests pass, and nothing in it is of the model."""
    plugins("new", "gopher")
    folder = tmp_path / "nfqdpi-gopher"
    (folder / ".hidden").mkdir()
    (folder / ".hidden/x.toml").write_text("capture")
    told = plugins("test", folder).stdout.splitlines()
    assert [line.partition(": ")[2] for line in told] == ["whole", "cut at every byte", "reordered at every byte"]
    assert all(line.startswith("ok ") for line in told)
    assert not any(b"greeting" in path.read_bytes().lower() for path in folder.rglob("*") if path.is_file()
                   and path.suffix in (".py", ".toml", ".pcap"))
    env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run([sys.executable, "-m", "pytest", "-q"], cwd=folder, env=env, capture_output=True, text=True,
                          check=False)
    assert "4 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["Gopher", "go-pher", "1st", "../x", "", "class", "tls"])
def test_names_that_no_package_can_have(plugins: Plugins, tmp_path: Path, name: str) -> None:
    """Exit 2, and nothing is written."""
    plugins("new", name, code=2)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_over(plugins: Plugins, tmp_path: Path) -> None:
    """Where the folder is there already, it stays as it is."""
    (tmp_path / "nfqdpi-gopher").mkdir()
    assert "is there already" in plugins("new", "gopher", code=2).stderr
    assert list((tmp_path / "nfqdpi-gopher").iterdir()) == []


def test_what_is_not_as_expected(plugins: Plugins, tmp_path: Path) -> None:
    """Exit 1, with what was expected and what was seen; --json has the same."""
    plugins("new", "gopher")
    file = tmp_path / "nfqdpi-gopher/tests/gopher.toml"
    file.write_text(file.read_text().replace("count = 2", "count = 3").replace("www.blocked", "blocked"))
    told = plugins("test", "nfqdpi-gopher", code=1).stdout.splitlines()
    assert told[:4] == [
        "FAIL nfqdpi-gopher/tests/gopher.toml: whole",
        "     0 flows, not 1, with proto = 'gopher', name = 'blocked.example', verdict = 'block', rule = 'no'",
        "     2 flows, not 3, with proto = 'gopher', name = 'allowed.example', verdict = 'accelerate'",
        "     not expected: proto = 'gopher', name = 'www.blocked.example', verdict = 'block', reason = 'rule', "
        "rule = 'no'",
    ]
    rows = [json.loads(line) for line in plugins("test", "nfqdpi-gopher", "--json", code=1).stdout.splitlines()]
    assert [(row["name"], len(row["problems"])) for row in rows] == [
        ("whole", 3), ("cut at byte 1", 3), ("reordered at byte 1", 3)]


@pytest.mark.parametrize(("before", "after", "way"), [
    ("    if not end:\n        return NEED_MORE", "    if not end:\n        return NO_MATCH", "cut at byte 1"),
    ("_BEGINS.startswith(prefix)", "len(prefix) == 3", "cut at byte 1"),
    ('("greeting", (line', '("greeting", (prefix[300], line', "whole"),
    ("        return NEED_MORE", "        raise SystemExit", "cut at byte 1"),
])
def test_a_classifier_that_is_wrong(plugins: Plugins, tmp_path: Path, before: str, after: str, way: str) -> None:
    """It is found where a name comes in pieces, or it raises."""
    plugins("new", "gopher")
    code = tmp_path / "nfqdpi-gopher/nfqdpi_gopher.py"
    text, before, after = code.read_text(), before.replace("greeting", "gopher"), after.replace("greeting", "gopher")
    assert before in text
    code.write_text(text.replace(before, after))
    done = subprocess.run([sys.executable, "-m", "nfqdpi", "plugins", "test", "nfqdpi-gopher"], capture_output=True,
                          text=True, check=False)
    assert done.returncode == 1, done.stderr
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
    assert failed[0].endswith(f": {way}")


@pytest.mark.parametrize(("name", "text", "said"), [
    ("tests/x.toml", "capture = 3", "Expected `str`"),
    ("tests/x.toml", 'capture = "none.pcap"', "No such file"),
    ("tests/x.toml", 'capture = "x.pcap"\nexpect = 1', "unknown field"),
    ("tests/x.toml", 'capture = "x.pcap"\n[settings]\nrules = 1', "did you mean 'rule'"),
    ("tests/x.toml", 'capture = "x.toml"', "not a pcap"),
    ("tests/x.toml", "capture", "x.toml: "),
    ("pyproject.toml", "[project]\nname = 'x'", "no [project.entry-points"),
    ("pyproject.toml", "[project.entry-points.'nfqdpi.classifiers']\nx = 'nowhere:x'\n[project]\nname = 'x'", "'x'"),
])
def test_files_that_cannot_be_used(plugins: Plugins, tmp_path: Path, name: str, text: str, said: str) -> None:
    """Exit 2, with the file and the reason."""
    folder = tmp_path / "plugin"
    (folder / "tests").mkdir(parents=True)
    (folder / "tests/x.pcap").write_bytes(pcap_of(flow(hello("a.example"))))
    (folder / "tests/y.toml").write_text('capture = "x.pcap"')
    (folder / name).write_text(text)
    assert said in plugins("test", folder, code=2).stderr


def test_no_files(plugins: Plugins, tmp_path: Path) -> None:
    """Exit 2: what tests nothing has not passed."""
    assert "no folder with a TOML file" in plugins("test", tmp_path, code=2).stderr
    assert "no folder with a TOML file" in plugins("test", tmp_path / "none", code=2).stderr


def test_attributes_fast_mode_and_what_is_installed(plugins: Plugins, tmp_path: Path) -> None:
    """A folder without a package tests what is installed. Fast mode is not asked about packets in disorder."""
    (tmp_path / "x.pcap").write_bytes(pcap_of(flow(hello("a.example"))))
    (tmp_path / "x.toml").write_text(
        'capture = "x.pcap"\n[settings.inspect]\nmode = "fast"\n[[flow]]\nattributes = { alpn = "h2,http/1.1" }\n')
    told = plugins("test", tmp_path).stdout
    assert "whole" in told
    assert "reordered" not in told


def test_bench(plugins: Plugins, config: Path) -> None:
    """Calls, their time and a share that is one."""
    rows = [json.loads(line) for line in plugins("bench", "-c", config, "--json").stdout.splitlines()]
    by_name = {row["name"]: row for row in rows}
    assert by_name["http"]["calls"] >= by_name["tls"]["calls"] > 0
    assert all(0 < row["share"] < 1 and row["us"] > 0 for row in rows if row["calls"])
    (row,) = plugins("bench", "ssh", "-c", config, "--json").stdout.splitlines()
    assert json.loads(row)["name"] == "ssh"
    plugins("bench", "nothing", "-c", config, code=2)
    assert "observes" in plugins("bench", "devices", "-c", config, code=2).stderr


def test_bench_with_a_capture(plugins: Plugins, config: Path, tmp_path: Path) -> None:
    """Its packets, be there any or none."""
    for packets, calls in ((flow(hello("a.example")), 1), ([], 0)):
        (tmp_path / "x.pcap").write_bytes(pcap_of(packets))
        told = plugins("bench", "tls", "--capture", tmp_path / "x.pcap", "-c", config, "--json").stdout
        assert json.loads(told)["calls"] == calls


def test_info(plugins: Plugins, config: Path) -> None:
    """What it reads, its settings and their defaults."""
    config.write_text(config.read_text() + "[plugin.dns]\nttl = 5\n")
    told = plugins("info", "dns", "-c", config).stdout
    assert "reads     dns (version 1) over UDP: datagrams of both sides, port 53\n" in told
    assert "setting   ttl = 5  (default: 60)\n" in told
    about = json.loads(plugins("info", "ssh", "-c", config, "--json").stdout)
    assert (about["enabled"], about["reads"][0]["needs"], about["settings"]) == (False, 255, {})
    assert "verdicts, and flows that have ended" in plugins("info", "devices", "-c", config).stdout
    plugins("info", "nothing", "-c", config, code=2)


def test_slow_advisers(plugins: Plugins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What becomes of flows meanwhile is told; two of one name cannot be told apart, and are refused."""
    (tmp_path / "slowpoke.py").write_text(
        "from nfqdpi.core.plugin import Adviser, Slow\n"
        "def advise(found, client, server): return None\n"
        "held, passed = (Adviser('slowpoke', '1', advise, slow=Slow(1.5, waits=waits)) for waits in (True, False))\n"
        "wrong = Adviser('wrong', '1', advise, slow=True)\n")
    distribution(tmp_path, "slowpoke", {name: f"slowpoke:{name}" for name in ("held", "passed", "wrong")})
    monkeypatch.syspath_prepend(tmp_path)
    assert "what other plugins find; its flow waits for up to 1.5 s (version 1)" in plugins("info", "held").stdout
    assert json.loads(plugins("info", "passed", "--json").stdout)["reads"][0]["slow"] == {
        "patience": 1.5, "waits": False}
    with pytest.raises(PluginError, match="slow is no Slow"):
        readers({})
    with pytest.raises(PluginError, match="two slow advisers are named 'slowpoke'"):
        readers({"wrong": {"enabled": False}})
    assert "held" in readers({name: {"enabled": False} for name in ("wrong", "passed")})


def test_enable_and_disable(plugins: Plugins, config: Path, tmp_path: Path) -> None:
    """It is written beside the configuration, and nothing else of it changes."""
    part = tmp_path / "conf.d/plugins.toml"
    plugins("enable", "ssh", "-c", config)
    plugins("disable", "http", "-c", config)
    assert part.read_text() == '[plugin."ssh"]\nenabled = true\n\n[plugin."http"]\nenabled = false\n'
    plugins("disable", "ssh", "-c", config)
    rows = [json.loads(line) for line in plugins("ls", "-c", config, "--json").stdout.splitlines()]
    assert {row["name"]: row["enabled"] for row in rows}.items() >= {"ssh": False, "http": False, "tls": True}.items()
    assert "there are devices, dns" in plugins("enable", "nothing", "-c", config, code=2).stderr


def test_what_is_written_by_hand_stays(plugins: Plugins, config: Path, tmp_path: Path) -> None:
    """A file that says more than we write is not written over; another file may have the last word."""
    part, later = tmp_path / "conf.d/plugins.toml", tmp_path / "conf.d/z.toml"
    part.parent.mkdir()
    part.write_text("[plugin.dns]\nttl = 5\n")
    assert "edit it there" in plugins("enable", "ssh", "-c", config, code=2).stderr
    assert part.read_text() == "[plugin.dns]\nttl = 5\n"
    part.unlink()
    later.write_text("[plugin.ssh]\nenabled = false\n")
    assert "last word" in plugins("enable", "ssh", "-c", config, code=1).stderr


@pytest.fixture
def offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """``offered(module, code, name="bad")``: a plugin is installed whose module has this code."""

    def install(module: str, code: str, name: str = "bad") -> None:
        folder = tmp_path / module
        info = folder / f"{module}-1.dist-info"
        info.mkdir(parents=True)
        (folder / f"{module}.py").write_text("from nfqdpi.core.classifier import *\nfrom nfqdpi.core.plugin import *\n"
                                             + code)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1\n")
        (info / "entry_points.txt").write_text(f"[nfqdpi.classifiers]\n{name} = {module}:plugin\n")
        monkeypatch.syspath_prepend(folder)

    return install


@pytest.mark.parametrize(("module", "code", "said"), [
    ("bad_exits", "raise SystemExit(3)", "does not load: 3"),
    ("bad_import", "import nothing_is_called_so", "does not load: No module"),
    ("bad_number", "plugin = 3", "is no Plugin"),
    ("bad_interface", "plugin = Plugin(lambda _: (), dict, interface=99)", "is made for interface 99, and this is 1"),
    ("bad_none", "plugin = Plugin(lambda _: None, dict)", "cannot be made: 'NoneType'"),
    ("bad_offer", "plugin = Plugin(lambda _: ['x'], dict)", "cannot be used: str is no Classifier"),
    ("bad_port", "plugin = Classifier('x', 'x', '1', 9, lambda _: NO_MATCH, ports=(70000,))", "cannot be used: ports"),
])
def test_a_plugin_that_cannot_be_used(plugins: Plugins, config: Path, offered: Callable[..., None], module: str,
                                      code: str, said: str) -> None:
    """ls tells why, and of the others all the same; so does config check, until it is switched off."""
    offered(module, code)
    done = plugins("ls", "-c", config, code=5)
    assert (said in done.stderr, "\nssh " in done.stdout) == (True, True), done.output
    assert said in plugins("info", "bad", "-c", config, code=5).stderr
    assert said in plugins("enable", "bad", "-c", config, code=2).stderr
    check = ["config", "check", "-c", str(config)]
    done = CliRunner().invoke(main, check)
    assert (done.exit_code, said in done.stderr) == (2, True), done.output
    plugins("disable", "bad", "-c", config)
    assert CliRunner().invoke(main, check).exit_code == 0


def test_two_observers_of_one_name(config: Path, offered: Callable[..., None]) -> None:
    """What they remember is in files of their names."""
    code = "from nfqdpi.core.observer import Observer\nplugin = Observer('same', '1', lambda _: None)"
    for name in ("bad_one", "bad_two"):
        offered(name, code, name=name)
    done = CliRunner().invoke(main, ["config", "check", "-c", str(config)])
    assert (done.exit_code, "two observers are named 'same'" in done.stderr) == (2, True), done.output


def test_two_of_one_name(plugins: Plugins, config: Path, offered: Callable[..., None]) -> None:
    """Neither passes for the other: a reader of ours least of all."""
    offered("bad_tls", "plugin = Classifier('x', 'x', '1', 9, lambda _: NO_MATCH)", name="tls")
    said = plugins("ls", "-c", config, code=5).stderr
    assert "plugin 'tls' (bad_tls:plugin) is named as nfqdpi.plugins.tls:classifier is; uninstall one" in said
