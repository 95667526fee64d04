"""Files to settings: all problems at once, each with file, line, key and reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nfqdpi import assemble
from nfqdpi.config import Config, ConfigError, load
from nfqdpi.config.values import Duration
from nfqdpi.core.verdict import MarkField, Reason, Verdict
from nfqdpi.testing.tls import hello
from tests.core.transcript import Talk


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "nfqdpi.toml"


def problems(path: Path, text: str) -> list[str]:
    """What is wrong with a file of this text, without the directory."""
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return [problem.replace(f"{path.parent}/", "") for problem in caught.value.problems]


def test_an_empty_file_is_valid(file: Path) -> None:
    """Every key has a default."""
    file.touch()
    assert load(file) == Config() == load(file.with_name("none.toml"), required=False)


def test_a_required_file_must_be_there(file: Path) -> None:
    """Unless nobody named it."""
    with pytest.raises(ConfigError, match=r"nfqdpi\.toml: No such file"):
        load(file)


def test_every_section(file: Path) -> None:
    """Each key reaches the settings in its type."""
    file.write_text("""
[queue]
first = 8
workers = 3
length = 100
ports = [80, 8080]
quic = "ignore"
lan = ["br0"]
wan = ["eth0"]
[marks]
mask = 0xf0
[inspect]
mode = "fast"
max_bytes = 4096
max_segments = 9
timeout = "250ms"
max_flows = 99
[fail]
default = "closed"
queue_full = "pass"
midstream = "accelerate"
[policy]
default = "block"
[[group]]
name = "kids"
clients = ["192.168.1.0/24", "fd00::7"]
[[rule]]
name = "school"
action = "accelerate"
domains = ["school.example", "*math*"]
groups = ["kids"]
[[rule]]
action = "block"
respond = "drop"
[events]
file = ""
verdicts = "none"
[control]
socket = ""
""")
    config = load(file)
    assert (config.queue.first, config.worker_count, config.queue.ports) == (8, 3, (80, 8080))
    assert (config.queue.lan, config.queue.wan) == (("br0",), ("eth0",))
    assert config.field == MarkField(0xF0)
    assert (config.inspect.mode, config.inspect.timeout, config.inspect.max_flows) == ("fast", 0.25, 99)
    assert (config.bypass, config.pass_when_full) == (False, True)
    assert config.group[0].clients == ("192.168.1.0/24", "fd00::7/128")
    assert [(rule.name, rule.action, rule.respond) for rule in config.rule] == [
        ("school", "accelerate", "reset"), ("", "block", "drop")]
    assert config.exceptions[Reason.MIDSTREAM] is Verdict.ACCELERATE
    assert config.exceptions[Reason.PLUGIN_ERROR] is config.exceptions[Reason.NO_NAME] is Verdict.BLOCK


def test_one_switch_for_all_conditions() -> None:
    """Open and closed differ in what is an accident, not in what is evidence."""
    is_open = Config().exceptions
    assert {reason for reason, verdict in is_open.items() if verdict.blocks} == {
        Reason.MALFORMED, Reason.OVERLAP, Reason.TOO_BIG, Reason.TIMEOUT, Reason.TRUNCATED}
    assert (Config().bypass, Config().pass_when_full) == (True, True)
    assert Config().worker_count >= 1


def test_more_files(file: Path) -> None:
    """conf.d is read in order: a later scalar wins, tables of lists are joined."""
    file.write_text('[policy]\ndefault = "accelerate"\n[queue]\nfirst = 3\n[[rule]]\naction = "block"\nname = "one"\n')
    (file.parent / "conf.d").mkdir()
    (file.parent / "conf.d/10.toml").write_text(
        '[[rule]]\naction = "block"\nname = "two"\n[policy]\ndefault = "block"\n')
    (file.parent / "conf.d/20.toml").write_text('[queue]\nports = [81]\n')
    config = load(file)
    assert [rule.name for rule in config.rule] == ["one", "two"]
    assert (config.policy.default, config.queue.first, config.queue.ports) == ("block", 3, (81,))


def test_a_problem_in_a_second_file_says_where(file: Path) -> None:
    """A rule's number counts through all files, its line in its own."""
    (file.parent / "conf.d").mkdir()
    (file.parent / "conf.d/10.toml").write_text('\n[[rule]]\naction = "bock"\n')
    [problem] = problems(file, '[[rule]]\naction = "block"\n')
    assert problem.startswith("conf.d/10.toml:3: rule[2].action: 'bock' is none of 'block', 'accelerate', 'inspect'")


@pytest.mark.parametrize(("text", "expected"), [
    ('[queu]\nfirst = 1', "nfqdpi.toml:1: queu: unknown key; did you mean 'queue'?"),
    ('[queue]\n\nfrist = 1', "nfqdpi.toml:3: queue.frist: unknown key; did you mean 'first'?"),
    ('[queue]\nfirst = "x"', "nfqdpi.toml:2: queue.first: Expected `int`, got `str`"),
    ('[queue]\nports = []', "nfqdpi.toml:2: queue.ports: Expected `array` of length >= 1"),
    ('[queue]\nports = [80, 0]', "nfqdpi.toml:2: queue.ports[2]: Expected `int` >= 1"),
    ('[queue]\nlan = ["a b"]', "nfqdpi.toml:2: queue.lan[1]: Expected `str` matching regex"),
    ('[queue]\nfirst = 65535\nworkers = 2', "nfqdpi.toml:2: queue.first: queue numbers end at 65535"),
    ('[service]\nworker_memory = 256', "nfqdpi.toml:2: service.worker_memory: at least 67108864 bytes, or 0"),
    ('[marks]\nmask = 5', "nfqdpi.toml:2: marks.mask: mark mask 0x5 is not one run of at least 3 bits"),
    ('[inspect]\ntimeout = 30', 'nfqdpi.toml:2: inspect.timeout: expected a duration above 0'),
    ('[inspect]\ntimeout = "0s"', 'nfqdpi.toml:2: inspect.timeout: expected a duration above 0'),
    ('[[group]]\nclients = ["10.0.0.1/8"]\nname = "x"',
     "nfqdpi.toml:2: group[1].clients[1]: 10.0.0.1/8 has host bits set"),
    ('[[group]]\nname = "x"\n[[group]]\nname = "x"',
     "nfqdpi.toml:4: group[2].name: another group is named 'x'"),
    ('[[rule]]\naction = "block"\n[[rule]]\naction = "block"\nname = "rule 1"',
     "nfqdpi.toml:5: rule[2].name: another rule is named 'rule 1'"),
    ('[[rule]]\naction = "block"\nname = "rule 2"\n[[rule]]\naction = "block"',
     "nfqdpi.toml:4: rule[2].name: another rule is named 'rule 2'"),
    ('[[rule]]\naction = "block"\nname = "by hand 7"', "nfqdpi.toml:3: rule[1].name: changes by hand are named so"),
    ('[[group]]\nname = "x"\nclients = [7]',
     "nfqdpi.toml:3: group[1].clients[1]: expected an address, a CIDR, a MAC address or a name"),
    ('[[rule]]\nname = "x"', "nfqdpi.toml:1: rule[1].action: missing"),
    ('[[rule]]\naction = "block"\ngroups = ["kids"]',
     "nfqdpi.toml:3: rule[1].groups: no group is named 'kids'"),
    ('[[rule]]\naction = "block"\ndomains = ["a b"]',
     "nfqdpi.toml:3: rule[1].domains[1]: 'a b' is not a domain pattern"),
    ('[rule]\naction = "block"', "nfqdpi.toml:1: rule: expected tables: [[rule]]"),
    ('rule = [1]', "nfqdpi.toml:1: rule[1]: expected a table"),
    ('queue = 5', "nfqdpi.toml:1: queue: expected a table"),
    ('[queue]\nlan = ["-x"]', "nfqdpi.toml:2: queue.lan[1]: Expected `str` matching regex"),
    ('[queue]\nlan = ["eth;0"]', "nfqdpi.toml:2: queue.lan[1]: Expected `str` matching regex"),
    ('[queue]\nlan = ["eth0\\n"]', "nfqdpi.toml:2: queue.lan[1]: Expected `str` matching regex"),
    ('[fail]\nqueue_full = "block"', "nfqdpi.toml:2: fail.queue_full: 'block' is none of 'pass', 'drop'"),
    ('[inspect]\ntimeout = "\u0661s"', "nfqdpi.toml:2: inspect.timeout: expected a duration"),
    ('[[rule]]\naction = "block"\ndomains = [7]', "nfqdpi.toml:3: rule[1].domains[1]: expected a domain pattern"),
    ('[events]\nfile = "a\\u0000b"', "nfqdpi.toml:2: events.file: Expected `str` matching regex"),
    (f'[control]\nsocket = "/{"x" * 107}"', "nfqdpi.toml:2: control.socket: Expected `str` of length <= 107"),
    ('[queue\nx', "nfqdpi.toml:1: not TOML"),
    (f'x = {"[" * 20000}', "nfqdpi.toml: nested too deeply"),
    ("#" * (16 << 20) + "\n", "nfqdpi.toml: larger than 16 MiB"),
    ('\udcff', "nfqdpi.toml: not UTF-8 at byte 0"),
])
def test_problems(file: Path, text: str, expected: str) -> None:
    """Each is one line that an operator can go to."""
    file.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ConfigError) as caught:
        load(file)
    [problem] = caught.value.problems
    assert problem.replace(f"{file.parent}/", "").startswith(expected)


def test_all_problems_at_once(file: Path) -> None:
    """An operator mends a file in one go."""
    found = problems(file, '[queue]\nfirst = "x"\nport = 3\n[[rule]]\ngroups = 7\n[control]\nsocket = 1\n'
                           '[[rule]]\naction = "block"\ndomains = ["a..b", "ok.example", "c d"]\ngroups = ["nobody"]\n'
                           '[marks]\nmask = 5\n')
    assert [problem.split(": ")[:2] for problem in found] == [
        ["nfqdpi.toml:2", "queue.first"], ["nfqdpi.toml:3", "queue.port"], ["nfqdpi.toml:5", "rule[1].groups"],
        ["nfqdpi.toml:4", "rule[1].action"], ["nfqdpi.toml:10", "rule[2].domains[1]"],
        ["nfqdpi.toml:10", "rule[2].domains[3]"], ["nfqdpi.toml:7", "control.socket"],
        ["nfqdpi.toml:13", "marks.mask"], ["nfqdpi.toml:11", "rule[2].groups"]]


@pytest.mark.parametrize(("text", "seconds"), [
    ("250ms", 0.25), ("1.5s", 1.5), ("10m", 600), ("2h", 7200), ("1d", 86400)])
def test_durations(text: str, seconds: float) -> None:
    """A number and its unit."""
    assert Duration.parse(text) == seconds


values = st.recursive(st.integers() | st.booleans() | st.sampled_from(['"a"', '"block"', '"30s"', '""', "1.5"]),
                      lambda inner: st.lists(inner, max_size=2), max_leaves=4)
keys = st.sampled_from(["queue", "rule", "group", "marks", "inspect", "name", "action", "clients", "domains", "mask",
                        "timeout", "mode", "x"])
lines = keys.map("[{}]".format) | keys.map("[[{}]]".format) | st.tuples(keys, values).map(
    lambda pair: f"{pair[0]} = {str(pair[1]).replace(chr(39), '').lower()}")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(lines, max_size=8).map("\n".join) | st.text(max_size=40))
def test_any_file_is_settings_or_problems(file: Path, text: str) -> None:
    """Whatever stands in the file: settings, or lines that name it; never anything else."""
    file.write_bytes(text.encode(errors="replace"))
    config, named = None, []
    try:
        config = load(file)
    except ConfigError as error:
        named = [str(file) in problem for problem in error.problems]
    if config is None:
        assert named
        assert all(named)
    else:
        assemble.policy(config)


def test_an_engine_as_configured(file: Path) -> None:
    """The rules decide in the order of the file, with the answer that they ask for, for the clients that they name."""
    file.write_text("""
[[group]]
name = "here"
clients = ["10.0.0.0/24", "fd00::/64"]
[[rule]]
action = "block"
respond = "drop"
groups = ["here"]
domains = ["blocked.example"]
[[rule]]
name = "rest"
action = "block"
domains = ["blocked.example", "other.example"]
""")
    config = load(file)
    for name, said, rule in (("blocked.example", "block_silent rule", "rule 1"),
                             ("other.example", "block rule", "rest")):
        flow = Talk(assemble.engine(config, assemble.policy(config)))
        flow.opens()
        assert flow.client(hello(name)) == said
        assert flow.judgements[0].outcome.rule == rule
    assert assemble.engine(config, assemble.policy(config)).strict
