"""The guard of the rules, beside whoever else changes them."""

from __future__ import annotations

import asyncio

import pytest

from nfqdpi.daemon import guard
from nfqdpi.daemon.guard import Guard
from nfqdpi.kernel.ruleset import RuleSet
from tests.kernel.namespaces import fresh

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
