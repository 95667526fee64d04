"""The command line without a daemon: answers, exit codes, and what it costs to start."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nfqdpi import __version__
from nfqdpi.cli import main
from nfqdpi.cli.common import printable
from nfqdpi.core import engine

POLICY = """
[policy]
default = "block"
[[group]]
name = "kids"
clients = ["10.0.0.0/24", "fd00::/64"]
[[rule]]
name = "school"
action = "accelerate"
domains = ["school.example"]
[[rule]]
action = "block"
respond = "drop"
domains = ["*casino*"]
groups = ["kids"]
[[rule]]
action = "accelerate"
groups = ["kids"]
"""


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    file = tmp_path / "nfqdpi.toml"
    file.write_text(f'{POLICY}[state]\ndirectory = "{tmp_path}"\n')  # what the machine's own has is no matter
    return file


def call(*args: object) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


def test_version_says_what_runs() -> None:
    """The version, and whether packets meet machine code or Python."""
    source = (engine.__file__ or "").endswith(".py")
    said = CliRunner().invoke(main, ["--version"]).output
    assert said == f"nfqdpi, version {__version__}{'' if source else ' (compiled)'}\n"


def test_explain_says_yes_and_no(policy: Path) -> None:
    """Exit 0: the name would pass, 1: it would be blocked; the text names the rule and the pattern."""
    yes = call("explain", "www.School.example.", "-c", policy)
    assert (yes.exit_code, "by rule 'school' (pattern school.example)" in yes.output) == (0, True)
    no = call("explain", "preschool.example", "-c", policy)
    assert (no.exit_code, "no rule matches: [policy] default" in no.output) == (1, True)


def test_explain_as_json_tells_the_rules_passed_over(policy: Path) -> None:
    """For a client: each rule above the deciding one, with why it did not decide."""
    result = call("explain", "my-casino.example", "--client", "fd00::7", "--json", "-c", policy)
    assert result.exit_code == 1
    told = json.loads(result.output)
    assert (told["verdict"], told["rule"], told["pattern"]) == ("block_silent", "rule 2", "*casino*")
    assert told["passed_over"] == [{"rule": "school", "why": "the name does not match"}]


def test_explain_refuses_what_is_no_address(policy: Path) -> None:
    """A client that is no address is a usage error."""
    assert call("explain", "x", "--client", "10.0.0", "-c", policy).exit_code == 2


@pytest.mark.parametrize("name", ["", ".", "http://school.example/", "a\x1b[31m", "a\udcff", "*.example", "=x.example",
                                  "foo..example", "[::1"])
def test_explain_refuses_what_is_no_name(policy: Path, name: str) -> None:
    """What no client could ask for is a usage error, not a yes."""
    result = call("explain", name, "--json", "-c", policy)
    assert (result.exit_code, "is not a name" in result.stderr) == (2, True)


def test_explain_takes_a_port_off(policy: Path) -> None:
    """A name as a browser's address line shows it is judged as the Host field is; an IPv6 literal has no port."""
    assert call("explain", "school.example:8443", "-c", policy).exit_code == 0
    assert json.loads(call("explain", "fd00::7", "--json", "-c", policy).output)["name"] == "fd00::7"


def test_rules_render_as_json(policy: Path) -> None:
    """One object with the text that iptables-restore reads."""
    told = json.loads(call("rules", "render", "--family", "6", "--json", "-c", policy).output)
    assert told == {"family": 6, "rules": call("rules", "render", "--family", "6", "-c", policy).output}


def test_config_errors_come_all_at_once(tmp_path: Path) -> None:
    """Each problem is a line with file, line, key and reason; exit 2; parts in conf.d are named as themselves."""
    (tmp_path / "conf.d").mkdir()
    extra = tmp_path / "conf.d" / "more.toml"
    extra.write_text('[[rule]]\naction = "block"\ndomains = ["a..b"]\n[queue]\nports = [0]\n')
    file = tmp_path / "nfqdpi.toml"
    file.write_text('[inspect]\ntimeout = "soon"\n[quue]\n')
    result = call("config", "check", "-c", file)
    assert result.exit_code == 2
    assert [line.removeprefix("nfqdpi: ").split(": ")[:2] for line in result.stderr.splitlines()] == [
        [f"{file}:2", "inspect.timeout"], [f"{file}:3", "quue"], [f"{extra}:3", "rule[1].domains[1]"],
        [f"{extra}:5", "queue.ports[1]"],
    ]


def test_config_errors_are_escaped(tmp_path: Path) -> None:
    """A key of a file that somebody else wrote does not reach the terminal raw."""
    file = tmp_path / "nfqdpi.toml"
    file.write_text('"\\u001b[31m" = 1\n')
    assert "\\x1b[31m: unknown key" in call("config", "check", "-c", file).stderr


def test_broken_toml_is_named_with_its_line(tmp_path: Path) -> None:
    """What is not TOML is refused with file and line."""
    file = tmp_path / "nfqdpi.toml"
    file.write_text("[queue]\nfirst = \n")
    result = call("config", "check", "-c", file)
    assert result.exit_code == 2
    assert f"{file}:2: not TOML" in result.stderr


def test_missing_config_that_was_asked_for(tmp_path: Path) -> None:
    """The default file may be absent; one that -c names may not."""
    assert call("config", "check", "-c", tmp_path / "none.toml").exit_code == 2


def test_config_show_is_a_configuration(policy: Path, tmp_path: Path) -> None:
    """What ``config show`` prints is TOML that says the same thing again."""
    shown = call("config", "show", "-c", policy).output
    assert tomllib.loads(shown)["marks"] == {"mask": 15}
    again = tmp_path / "again.toml"
    again.write_text(shown)
    assert call("config", "show", "-c", again).output == shown


def test_plugins_ls() -> None:
    """The built-in classifiers come in by the same door as anybody's."""
    rows = [json.loads(line) for line in call("plugins", "ls", "--json").output.splitlines()]
    assert {"http", "tls"} <= {row["name"] for row in rows}


@pytest.mark.parametrize("command", ["status", "stats"])
def test_no_daemon(command: str, tmp_path: Path) -> None:
    """Exit 3, and the socket that nobody answers on."""
    file = tmp_path / "nfqdpi.toml"
    file.write_text(f'[control]\nsocket = "{tmp_path}/none.sock"\n')
    result = call(command, "-c", file)
    assert (result.exit_code, f"{tmp_path}/none.sock" in result.stderr) == (3, True)


def test_names_from_the_wire_are_escaped() -> None:
    """No escape sequence of an attacker's reaches a terminal."""
    assert printable("a\x1b[2Jb\n\u202ec") == "a\\x1b[2Jb\\n\\u202ec"


def test_a_full_disk_is_told() -> None:
    """Output that cannot be written is a line on stderr, and no success."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-m", "nfqdpi", "config", "show"], stdout=full, stderr=subprocess.PIPE,
                              text=True, check=False)
    assert (done.returncode, done.stderr) == (5, "nfqdpi: [Errno 28] No space left on device\n")


@pytest.mark.parametrize(("command", "heavy"), [
    (["--help"], {"msgspec", "scapy", "pyroute2", "netfilterqueue", "asyncio", "ahocorasick"}),
    (["stats"], {"asyncio", "subprocess", "shutil", "zoneinfo", "difflib", "marisa_trie", "cryptography"}),
    (["explain", "x.example"], {"asyncio", "subprocess", "http", "ssl", "cryptography"}),
])
def test_nothing_heavy_is_imported(command: list[str], heavy: set[str]) -> None:
    """The command line starts quickly because it imports only what the command needs."""
    program = (
        "import sys; from nfqdpi.cli import main\n"
        f"try: main({command})\n"
        "except SystemExit: pass\n"
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
