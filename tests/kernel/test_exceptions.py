"""The exception policy in the kernel: what each condition does to real connections, and to older ones."""

from __future__ import annotations

import json

import pytest

from nfqdpi.core.verdict import Verdict
from nfqdpi.lab.gauges import tracked
from nfqdpi.lab.network import Lab
from tests.kernel.daily import Gateway, ask, config
from tests.kernel.origin import Origin, Visitor


def settings(lab: Lab, section: str, line: str, **options: str) -> str:
    """The usual configuration with one more line in a section."""
    return config(lab, **options).replace(f"[{section}]", f"[{section}]\n{line}")  # type: ignore[arg-type]


def visit(lab: Lab, timeout: float = 0.5) -> str:
    try:
        with Visitor(lab.client, 4, timeout=timeout) as visitor:
            return visitor.ask("blocked.example")
    except TimeoutError:
        return "silence"


@pytest.mark.parametrize(("fail", "condition", "answer"), [
    ("open", "midstream", "ok"), ("closed", "midstream", "reset"),
    ("open", "plugin_error", "ok"), ("closed", "plugin_error", "reset"),
    ("open", "overlap", "reset"), ("open", "unknown_protocol", "ok"),
    ("open", "no_listener", "ok"), ("closed", "no_listener", "silence"),
])
def test_simulated(lab: Lab, gateway: Gateway, origin: Origin, fail: str, condition: str, answer: str) -> None:
    """Each condition does what [fail] says, is counted, and is the reason in the event."""
    running = gateway(settings(lab, "fail", f'simulate = "{condition}"', fail=fail))
    assert visit(lab) == answer
    assert (b"blocked" in origin.read) == (answer == "ok")
    if condition != "no_listener":
        assert json.loads(ask(lab, running, "stats", "--json"))["total"][f"reason_{condition}"] == 1
        assert running.stop() == 0
        (event,) = [json.loads(line) for line in (lab.state / "eve.json").read_text().splitlines()]
        assert event["verdict"]["reason"] == condition


@pytest.mark.parametrize(("fail", "answer"), [("open", "ok"), ("closed", "silence")])
def test_full_queue(lab: Lab, gateway: Gateway, origin: Origin, fail: str, answer: str) -> None:
    """What a full queue cannot hold passes or does not, as [fail] queue_full says."""
    gateway(settings(lab, "fail", f'simulate = "queue_full"\nqueue_full = "{"pass" if fail == "open" else "drop"}"'))
    assert visit(lab, timeout=3 if fail == "open" else 0.5) == answer


@pytest.mark.parametrize(("on_start", "verdict", "answer"), [
    ("accelerate", Verdict.ACCELERATE, "ok"), ("inspect", Verdict.BLOCK, "reset"), ("kill", Verdict.BLOCK, "reset"),
])
def test_flows_that_were_there_first(lab: Lab, gateway: Gateway, origin: Origin, on_start: str, verdict: Verdict,
                                     answer: str) -> None:
    """Let go, inspected from where they are, or cut."""
    lab.gateway.run(["iptables", "-A", "FORWARD", "-m", "conntrack", "--ctstate", "NEW"])  # conntrack runs already
    with Visitor(lab.client, 4) as visitor:
        assert visitor.ask("allowed.example") == "ok"
        gateway(settings(lab, "inspect", f'on_start = "{on_start}"'))
        assert visitor.ask("blocked.example") == answer
        assert [e.mark for e in tracked(lab.gateway, 4) if e.sport == visitor.port] == [verdict]
