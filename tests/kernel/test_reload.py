"""Reload: another policy in every worker, and nothing lost on the way."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from nfqdpi.lab.daemon import Daemon
from nfqdpi.lab.network import SERVER, Lab
from nfqdpi.testing.package import distribution
from tests.kernel.daily import Gateway, ask, config, nfqdpi, supervisor, wait_until, workers
from tests.kernel.origin import Load, Origin, Visitor, visit

MORE = """
[[rule]]
name = "more"
action = "block"
domains = ["allowed.example"]
"""


def reload(lab: Lab, running: Daemon, text: str, code: int = 0) -> dict[str, Any]:
    """Another configuration, put in force; what the command says."""
    running.config.write_text(text)
    reply: dict[str, Any] = json.loads(ask(lab, running, "reload", "--json", code=code))
    return reply


def test_a_reload_changes_what_is_decided(lab: Lab, gateway: Gateway, origin: Origin) -> None:
    """The same workers decide by the new rules once the command is done, and by the old ones after the way back."""
    running = gateway(config(lab))
    before = workers(lab, running)
    assert visit(lab) == "ok"
    assert reload(lab, running, config(lab) + MORE)["problems"] == []
    assert visit(lab) == "reset"
    reload(lab, running, config(lab))
    assert visit(lab) == "ok"
    assert workers(lab, running) == before


def test_a_signal_reloads(lab: Lab, gateway: Gateway, origin: Origin) -> None:
    """SIGHUP does what the command does; what comes of it stands in the log."""
    running = gateway(config(lab))
    running.config.write_text(config(lab) + MORE)
    os.kill(supervisor(running), signal.SIGHUP)
    assert wait_until(lambda: "reloaded: 0 running flows cut" in running.log.read_text(), 5)
    assert visit(lab) == "reset"
    running.config.write_text("queue =")
    os.kill(supervisor(running), signal.SIGHUP)
    assert wait_until(lambda: f"not reloaded: {running.config}: not TOML" in running.log.read_text(), 5)
    assert visit(lab) == "reset"


@pytest.mark.parametrize(("wrong", "complaint"), [
    ('[[rule]]\nname = "x"\naction = "eat"\n', "rule[3].action: 'eat' is none of"),
    ('[clients]\nnames = "/nowhere"\n', "/nowhere"),
])
def test_a_bad_configuration_changes_nothing(lab: Lab, gateway: Gateway, origin: Origin, wrong: str,
                                             complaint: str) -> None:
    """Exit 1, where and why; the policy that was in force stays."""
    running = gateway(config(lab) + MORE)
    [problem] = reload(lab, running, config(lab) + wrong, code=1)["problems"]
    assert complaint in problem
    assert visit(lab) == "reset"


def test_keys_that_only_a_start_reads_are_named(lab: Lab, gateway: Gateway, origin: Origin) -> None:
    """They stay as they are; the rest is in force."""
    running = gateway(config(lab))
    changed = config(lab, "fast", workers=1).replace("[queue]", "[queue]\nlength = 77") + MORE
    reply = reload(lab, running, changed)
    assert reply["restart"] == ["queue.workers", "queue.length", "inspect.mode"]
    assert len(workers(lab, running)) == 2
    assert visit(lab) == "reset"


def test_reloads_under_load_fail_no_flow(lab: Lab, gateway: Gateway, origin: Origin) -> None:
    """While clients fetch in a loop, ten policies come and go: every fetch is answered, and no worker is replaced."""
    running = gateway(config(lab))
    before = workers(lab, running)
    other = MORE.replace("allowed", "another")
    with Load(lab) as load:
        for number in range(10):
            assert wait_until(partial(load.has_done, load.done + 5), 10)
            reload(lab, running, config(lab) + (other if number % 2 == 0 else ""))
    assert load.failed == 0
    assert workers(lab, running) == before


def test_a_worker_that_does_not_answer_is_replaced(lab: Lab, gateway: Gateway, origin: Origin) -> None:
    """A stopped worker does not hold a reload up: its successor has the new policy."""
    running = gateway(config(lab, workers=1))
    (victim,) = workers(lab, running)
    os.kill(victim, signal.SIGSTOP)
    reload(lab, running, config(lab, workers=1) + MORE)
    assert wait_until(lambda: workers(lab, running) not in ([victim], [None]), 5)
    assert visit(lab) == "reset"


def test_the_compiled_lists_stay_or_come_back(lab: Lab, gateway: Gateway, origin: Origin) -> None:
    """Whoever else asks what a policy of other lists would say takes no list away from the daemon; and one that is gone
    is compiled again, so that changes are taken and a worker has a successor."""
    for name in "abcd":
        (lab.state / name).write_text(f"{name}.example\n")
    sources = "".join(f'[[list]]\nname = "{name}"\npath = "{lab.state / name}"\n' for name in "abcd")
    by = '[[rule]]\nname = "listed"\naction = "block"\nlists = ["{}"]\n'
    (lab.state / "nfqdpi.toml").write_text(config(lab) + sources)
    assert nfqdpi(lab, "lists", "update", "-c", lab.state / "nfqdpi.toml").returncode == 0
    running = gateway(config(lab) + sources + by.format("a"))
    [mine] = (lab.state / "state" / "compiled").glob("[0-9a-f]*")
    other = lab.state / "other.toml"
    for name in "bcd":
        other.write_text(config(lab) + sources + by.format(name))
        assert nfqdpi(lab, "explain", f"{name}.example", "-c", other).returncode == 1
    assert mine.exists()
    mine.unlink()
    ask(lab, running, "block", "allowed.example")
    assert mine.exists()
    before = workers(lab, running)
    for worker in before:
        os.kill(worker, signal.SIGKILL)
    assert wait_until(lambda: not set(before) & set(workers(lab, running)), 5)
    assert wait_until(lambda: (visit(lab), visit(lab, "a.example")) == ("reset", "reset"), 5)


def test_rules_that_are_not_logged(lab: Lab, gateway: Gateway, origin: Origin) -> None:
    """``log = false`` keeps a rule's verdicts out of the event file, and nothing else; a reload turns it on again."""
    running = gateway(config(lab) + MORE + "log = false\n")
    with Visitor(lab.client, 4) as visitor:
        assert visitor.ask("allowed.example") == "reset"
        flows = [json.loads(line) for line in ask(lab, running, "flows", "--json").splitlines()]
        assert [flow["rule"] for flow in flows if flow["src_port"] == visitor.port] == ["more"]
    assert visit(lab, "blocked.example") == "reset"
    reload(lab, running, config(lab) + MORE)
    assert visit(lab) == "reset"
    assert running.stop() == 0
    lines = (lab.state / "eve.json").read_text().splitlines()
    assert [json.loads(line)["verdict"]["rule"] for line in lines] == ["ads", "more"]


_BANNER = """
from nfqdpi.core.classifier import NEED_MORE, NO_MATCH, Classification, Classifier
def classify(prefix):
    line, end, _ = prefix.partition(b"\\n")
    if not b"HELLO ".startswith(prefix[:6]): return NO_MATCH
    return Classification("hello", (line[6:].decode() + ".{end}",)) if end else NEED_MORE
classifier = Classifier("hello", "hello", "1", 100, classify, ports={ports})
"""


def test_a_plugin_is_replaced(lab: Lab, gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reload takes another version of a plugin, whose port the rules then queue; a flow that the old one has begun to
    read is read to its end by it. One that does not load leaves everything as it was."""
    distribution(tmp_path, "hello", {"hello": "hello:classifier"})
    module = tmp_path / "hello.py"
    module.write_text(_BANNER.format(end="old", ports="(2000,)"))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    text = config(lab)
    running = gateway(text)

    def told() -> list[str]:
        lines = map(json.loads, (lab.state / "eve.json").read_text().splitlines())
        return [line["app"]["name"] for line in lines if "app" in line]

    with serving(lab, 2000), serving(lab, 2001), speaking(lab, 2000) as begun:
        begun.sendall(b"HELLO begun")
        module.write_text("import time; time.sleep(0.2)\n" + _BANNER.format(end="new", ports="(2000, 2001)"))
        before = workers(lab, running)
        assert reload(lab, running, text)["problems"] == []
        begun.sendall(b"\n")
        assert wait_until(lambda: told() == ["begun.old"], 5), told()
        with speaking(lab, 2001) as later:
            later.sendall(b"HELLO later\n")
            assert wait_until(lambda: told() == ["begun.old", "later.new"], 5), told()
        assert workers(lab, running) == before  # it was slow to load, and that is no packet's time
        module.write_text("this is no Python")
        assert "hello" in nfqdpi(lab, "reload", "-c", running.config).stderr
        with speaking(lab, 2001) as again:
            again.sendall(b"HELLO again\n")
            assert wait_until(lambda: told() == ["begun.old", "later.new", "again.new"], 5), told()


@contextmanager
def serving(lab: Lab, port: int) -> Iterator[None]:
    """Someone who listens there and says nothing."""
    with lab.server.entered():
        listener = socket.create_server((SERVER[4], port))
    with listener:
        yield


def speaking(lab: Lab, port: int) -> socket.socket:
    """A flow to it."""
    with lab.client.entered():
        return socket.create_connection((SERVER[4], port), 5)
