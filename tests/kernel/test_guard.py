"""The guard of the rules, beside whoever else changes them."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path

import pytest

from nfqdpi.daemon import guard
from nfqdpi.daemon.guard import Guard
from nfqdpi.kernel.ruleset import RuleSet
from nfqdpi.lab.network import Lab
from tests.kernel.daily import Gateway, ask, config, nfqdpi, notices, wait_until
from tests.kernel.namespaces import fresh
from tests.kernel.origin import Origin, Visitor

PASSED = "iptables -R NFQDPI_BYPASSED 1 -c {count} 1000 -j MARK --set-xmark 0x0/0xf"


def test_what_has_passed_stays_counted_when_rules_are_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether anybody has asked before the flush or not, and though more pass after it than before."""
    monkeypatch.setattr(guard, "_LOOK", 0.01)
    restored = asyncio.Event()
    with fresh() as namespace:
        ours = Guard(RuleSet(), lambda kind, message, count: restored.set())
        ours.install()

        async def through_a_flush() -> int:
            namespace.run(PASSED.format(count=5).split())
            namespace.run(["iptables", "-t", "mangle", "-F", "FORWARD"])
            keeping = asyncio.create_task(ours.keep())
            await asyncio.wait_for(restored.wait(), 10)
            namespace.run(PASSED.format(count=7).split())
            keeping.cancel()
            await asyncio.wait({keeping})
            return ours.bypassed()

        assert asyncio.run(through_a_flush()) == 12


@pytest.mark.parametrize("flush", [
    "iptables -F",
    "iptables -t mangle -F; ip6tables -t mangle -F",
    "for p in iptables ip6tables; do for t in filter mangle; do $p -t $t -F; $p -t $t -X; done; done",
    "iptables -t mangle -I FORWARD -j ACCEPT",
])
def test_flushed_rules_are_put_back(lab: Lab, hasty: Gateway, origin: Origin, flush: str) -> None:
    """What another program flushes, deletes or puts before our rules is mended, with an event; what a flow has been
    decided to be stays."""
    running = hasty(config(lab))
    with Visitor(lab.client, 4) as visitor:
        assert visitor.ask("allowed.example") == "ok"
        lab.gateway.run(["sh", "-c", flush])
        assert wait_until(lambda: "rules_restored" in notices(lab), 15)  # perhaps amid the flush
        assert wait_until(lambda: nfqdpi(lab, "rules", "check", "-c", running.config).returncode == 0, 15)
        assert visitor.ask("allowed.example") == "ok"
        assert visitor.ask("blocked.example") == "reset"


def test_rules_that_cannot_be_put_back(lab: Lab, hasty: Gateway, tmp_path: Path,
                                       monkeypatch: pytest.MonkeyPatch) -> None:
    """While iptables refuses, status says that the rules are not kept: exit 5; afterwards they are there again."""
    refuse = tmp_path / "refuse"
    restore = tmp_path / "iptables-restore"
    restore.write_text(f"#!/bin/sh\n[ ! -e {refuse} ] || exit 1\nexec {shutil.which('iptables-restore')} \"$@\"\n")
    restore.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    running = hasty(config(lab))
    refuse.touch()
    lab.gateway.run(["iptables", "-t", "mangle", "-F"])
    assert wait_until(lambda: "rules_lost" in notices(lab), 15)
    status = json.loads(ask(lab, running, "status", "--json", code=5))
    assert status["degraded"] == ["the rules cannot be kept in place: iptables-restore: exit code 1"]
    refuse.unlink()
    assert wait_until(lambda: "rules_restored" in notices(lab), 15)
    assert json.loads(ask(lab, running, "status", "--json"))["degraded"] == []
