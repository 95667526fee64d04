"""`nfqdpi explain` with lists, clients, schedules, limits and changes by hand."""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner, Result

from nfqdpi.cli import main
from nfqdpi.config import load
from nfqdpi.lists.store import Store
from nfqdpi.lists.update import update
from nfqdpi.policy.overrides import Override
from nfqdpi.state import State

CONFIG = """
[state]
directory = "{folder}/state"
[policy]
time_zone = "Europe/Berlin"
[clients]
names = "{folder}/names"
[[list]]
name = "ads"
path = "{folder}/ads.txt"
[[list]]
name = "later"
path = "{folder}/ads.txt"
[[group]]
name = "kids"
clients = ["tablet", "192.168.1.64/26"]
interfaces = ["lo"]
[[schedule]]
name = "night"
windows = ["21:00-07:00"]
[[rule]]
name = "old"
action = "block"
enabled = false
[[rule]]
name = "sleep"
action = "block"
groups = ["kids"]
schedule = "night"
[[rule]]
name = "play"
action = "block"
groups = ["kids"]
domains = ["game.example"]
limit = "1h"
[[rule]]
name = "ads"
action = "block"
lists = ["ads", "later"]
"""
ADS = "# one of many\n0.0.0.0 a.co.uk\n0.0.0.0 ads.example b.example # two\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "nfqdpi.toml").write_text(CONFIG.format(folder=tmp_path))
    (tmp_path / "names").write_text("02:00:00:00:00:07 Tablet\n192.168.1.20 printer\n")
    (tmp_path / "ads.txt").write_text(ADS)
    return tmp_path


@pytest.fixture
def fetched(folder: Path) -> Path:
    config = load(folder / "nfqdpi.toml")
    for result in update(config.list[:1], Store(config.state.directory), lambda name, share: None):
        assert not result.problem
    return folder


def explain(folder: Path, *args: str) -> Result:
    return CliRunner().invoke(main, ["explain", *args, "-c", str(folder / "nfqdpi.toml")])


def told(folder: Path, *args: str) -> dict[str, Any]:
    result = explain(folder, *args, "--json")
    assert result.exit_code in (0, 1), result.output
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def passed_over(folder: Path, *args: str) -> list[tuple[str, str]]:
    return [(one["rule"], one["why"]) for one in told(folder, *args)["passed_over"]]


def test_the_line_of_the_list_is_shown(fetched: Path) -> None:
    """With its number and as it was written; the registrable domain, too."""
    answer = told(fetched, "B.example")
    assert (answer["rule"], answer["list"], answer["line"], answer["pattern"]) == ("ads", "ads", 3, "=b.example")
    assert answer["text"] == "0.0.0.0 ads.example b.example # two"
    text = explain(fetched, "a.co.uk").stdout
    assert "a.co.uk: block by rule 'ads' (list ads, line 2: 0.0.0.0 a.co.uk)" in text
    assert "x.y.co.uk [y.co.uk]: accelerate, as no rule" in explain(fetched, "x.y.co.uk").stdout


def test_every_rule_that_was_passed_over_says_why(fetched: Path) -> None:
    """In order, one reason each."""
    assert passed_over(fetched, "game.example", "--client", "192.168.1.70", "--at", "2026-06-01 12:00") == [
        ("old", "it is not enabled"), ("sleep", "its schedule is not active"), ("play", "its limit is not reached"),
        ("ads", "the name does not match")]
    assert passed_over(fetched, "game.example", "--at", "2026-06-01 22:00") == [
        ("old", "it is not enabled"), ("sleep", "the client is in none of its groups"),
        ("play", "the client is in none of its groups"), ("ads", "the name does not match")]


@pytest.mark.parametrize("client", [("tablet",), ("02:00:00:00:00:07",), ("10.0.0.1", "--mac", "02-00-00-00-00-07"),
                                    ("192.168.1.64",), ("10.0.0.1", "--interface", "lo")])
def test_a_client_in_many_ways(fetched: Path, client: tuple[str, ...]) -> None:
    """By its name, its MAC address, its address, or the interface it comes in by."""
    assert told(fetched, "game.example", "--at", "2026-06-01 22:00", "--client", *client)["rule"] == "sleep"


@pytest.mark.parametrize("written", ["2001:db8::1", "[2001:DB8::1]", "[2001:db8::1]:443", "10.0.0.9:8443", "10.0.0.9"])
def test_an_address_is_a_name(fetched: Path, written: str) -> None:
    """With the port or without, in brackets or not."""
    with (fetched / "nfqdpi.toml").open("a") as file:
        file.write('[[rule]]\nname = "bare"\naction = "block"\ndomains = ["2001:db8::1", "10.0.0.9"]\n')
    assert told(fetched, written)["rule"] == "bare"


def test_time_is_local(fetched: Path) -> None:
    """As the clock on the wall shows it, in the configured zone; of today where no day is given."""
    for at, rule in (("21:00", "sleep"), ("20:59", None), ("2026-06-01T19:00+00:00", "sleep"),
                     ("2026-06-01 07:00", None)):
        assert told(fetched, "x.example", "--client", "tablet", "--at", at)["rule"] == rule


def test_changes_by_hand_and_used_time_count(fetched: Path) -> None:
    """Those that the state directory has, until they end; the latest goes first."""
    zone = ZoneInfo("Europe/Berlin")
    noon = datetime(2026, 6, 1, 12, tzinfo=zone).timestamp()
    state = State(str(fetched / "state"))
    state.use("2026-06-01", {"play": 3600.0})
    assert told(fetched, "game.example", "--client", "tablet", "--at", "2026-06-01 12:00")["rule"] == "play"
    state.add(Override(0, "allow", "game.example", None, "kids", noon, noon + 600))
    state.add(Override(0, "block", "=www.game.example", "tablet", None, noon + 1, None))
    for name, at, rule in (("game.example", "12:05", "by hand 1"), ("www.game.example", "12:05", "by hand 2"),
                           ("game.example", "12:10", "play")):
        assert told(fetched, name, "--client", "tablet", "--at", f"2026-06-01 {at}")["rule"] == rule


def test_the_latest_change_goes_first_whatever_the_clock_said(fetched: Path) -> None:
    """One that was made while the clock was ahead does not outlive what the operator says later."""
    state = State(str(fetched / "state"))
    state.add(Override(0, "block", "x.example", None, None, 4e9, None))
    assert explain(fetched, "x.example").exit_code == 1
    state.add(Override(0, "allow", "x.example", None, None, 1.8e9, None))
    assert explain(fetched, "x.example").exit_code == 0


def test_the_time_used_is_shown(fetched: Path) -> None:
    """Of each limit, reached or not; of the day that is asked about."""
    state = State(str(fetched / "state"))
    state.use("2026-06-01", {"play": 2400.0})
    args = ("game.example", "--client", "tablet", "--at")
    noon = (*args, "2026-06-01 12:00")
    assert "rule 'play': its limit is not reached; 40m of 1h used that day" in explain(fetched, *noon).stdout
    assert "not reached; 0s of 1h" in explain(fetched, *args, "2026-06-02 12:00").stdout
    state.use("2026-06-01", {"play": 5400.0})
    assert "by rule 'play' (pattern game.example); 1h30m of 1h" in explain(fetched, *noon).stdout
    assert told(fetched, *noon)["limit"] == {"used_s": 5400, "limit_s": 3600.0}


PROTOCOLS = """
[[rule]]
name = "hellos"
action = "block"
domains = ["x.example"]
protocols = ["tls", "quic"]
[[rule]]
name = "told"
action = "redirect"
domains = ["y.example"]
redirect = ["192.0.2.1", "2001:db8::1"]
protocols = ["dns"]
[[rule]]
name = "shell"
action = "block"
protocols = ["ssh"]
"""


def test_a_name_is_judged_in_every_protocol_that_rules_are_for(fetched: Path) -> None:
    """One that is blocked makes the answer no; those that are treated as all others are not told apart. A protocol that
    has no names is not asked about."""
    with (fetched / "nfqdpi.toml").open("a") as file:
        file.write(PROTOCOLS)
    result = explain(fetched, "x.example")
    shown = [line for line in result.stdout.splitlines() if line[0] != " "]
    assert (result.exit_code, shown) == (1, [
        "other protocols:", "x.example: accelerate, as no rule matches: [policy] default",
        "quic:", "x.example: block by rule 'hellos' (pattern x.example)",
        "tls:", "x.example: block by rule 'hellos' (pattern x.example)"])
    lines = explain(fetched, "x.example", "--json").stdout.splitlines()
    assert [(one["protocol"], one["verdict"]) for one in map(json.loads, lines)] == [
        (None, "accelerate"), ("quic", "block"), ("tls", "block")]
    assert explain(fetched, "z.example").stdout.count("z.example: ") == 1


@pytest.mark.parametrize(("protocol", "code"), [("tls", 1), ("TLS", 1), ("http", 0), ("ssh", 1)])
def test_a_protocol_may_be_named(fetched: Path, protocol: str, code: int) -> None:
    """Then it alone is asked about."""
    with (fetched / "nfqdpi.toml").open("a") as file:
        file.write(PROTOCOLS)
    result = explain(fetched, "x.example", "--protocol", protocol)
    assert (result.exit_code, result.stdout.count("x.example: ")) == (code, 1)
    assert told(fetched, "x.example", "--protocol", protocol)["protocol"] == protocol.lower()


def test_what_dns_answers_is_shown(fetched: Path) -> None:
    """Of a rule that redirects: flows for the name pass. That nobody answers so without the plugin, is said."""
    with (fetched / "nfqdpi.toml").open("a") as file:
        file.write(PROTOCOLS)
    result = explain(fetched, "y.example", "--protocol", "dns")
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (
        0, "y.example: accelerate by rule 'told' (pattern y.example); DNS answers 192.0.2.1, 2001:db8::1; flows pass")
    assert "[plugin.dns] is not enabled" in result.stderr
    with (fetched / "nfqdpi.toml").open("a") as file:
        file.write("[plugin.dns]\nenabled = true\n")
    assert "[plugin.dns]" not in explain(fetched, "y.example").stderr
    assert told(fetched, "y.example", "--protocol", "dns")["redirect"] == ["192.0.2.1", "2001:db8::1"]


def test_a_client_of_many_addresses(fetched: Path) -> None:
    """Where they are not all treated alike, each is shown; one that is blocked makes the answer no."""
    (fetched / "names").write_text("10.0.0.7 laptop\n192.168.1.70 laptop\nfd00::7 laptop\n")
    args = ("x.example", "--client", "laptop", "--at", "2026-06-01 22:00")
    night = explain(fetched, *args)
    assert (night.exit_code, night.stdout.count("x.example: block by rule 'sleep'")) == (1, 1)
    assert [line for line in night.stdout.splitlines() if line[0] != " " and "x.example" not in line] == [
        "10.0.0.7:", "192.168.1.70:", "fd00::7:"]
    lines = explain(fetched, *args, "--json").stdout.splitlines()
    assert [(one["client"], one["rule"]) for one in map(json.loads, lines)] == [
        ("10.0.0.7", None), ("192.168.1.70", "sleep"), ("fd00::7", None)]
    (fetched / "names").write_text("10.0.0.7 laptop\nfd00::7 laptop\n02:00:00:00:00:09 laptop\n")
    assert told(fetched, *args)["mac"] == "02:00:00:00:00:09"


def test_a_list_that_is_missing_is_said(folder: Path) -> None:
    """Nobody should take a yes for more than it is."""
    result = explain(folder, "b.example")
    assert result.exit_code == 0
    assert "list 'ads' has not been fetched yet" in result.stderr
    assert told(folder, "b.example")["missing_lists"] == ["ads", "later"]


@pytest.mark.parametrize("args", [("--client", "192.168.1.0/24"), ("--client", "nobody"), ("--mac", "192.168.1.1"),
                                  ("--interface", "none0"), ("--at", "noon"), ("--at", "2026-02-30 12:00"),
                                  ("--at", "9999-12-31"), ("--at", "0001-01-01")])
def test_what_cannot_be_meant(fetched: Path, args: tuple[str, ...]) -> None:
    """A usage error."""
    assert explain(fetched, "x.example", *args).exit_code == 2


@pytest.mark.parametrize("key", ["names", "leases"])
def test_a_file_of_names_is_not_waited_for(fetched: Path, key: str) -> None:
    """A pipe, or a file without an end, is no file of names: whoever writes leases cannot hold us up."""
    config = fetched / "nfqdpi.toml"
    text = config.read_text()
    os.mkfifo(fetched / "pipe")
    (fetched / "large").touch()
    os.truncate(fetched / "large", 1 << 30)
    for name, why in (("pipe", "it is no regular file"), ("large", "larger than 16 MiB")):
        config.write_text(text.replace(f'names = "{fetched}/names"', f'{key} = "{fetched}/{name}"'))
        result = explain(fetched, "x.example")
        assert (result.exit_code, f"{fetched}/{name}: {why}" in result.stderr) == (2, True)


def test_a_bad_file_of_names_is_told(fetched: Path) -> None:
    """With file and line."""
    (fetched / "names").write_text("printer 192.168.1.20\n")
    result = explain(fetched, "x.example")
    assert (result.exit_code, f"{fetched}/names: line 1" in result.stderr) == (2, True)
