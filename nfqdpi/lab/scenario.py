"""The lab's cases run against the real daemon, and what was seen of each."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, get_args

from nfqdpi.core.verdict import MarkField
from nfqdpi.lab import gauges
from nfqdpi.lab.cases import CASES, ELSEWHERE, NAMES, NOWHERE, Case, Mode, Outcome
from nfqdpi.lab.clients import Answer
from nfqdpi.lab.daemon import back_ends, daemon
from nfqdpi.lab.echo import Echo
from nfqdpi.lab.gauges import Tap, Tracked
from nfqdpi.lab.network import Family, Lab
from nfqdpi.lab.resolver import Resolver
from nfqdpi.lab.web import WebServer

_RESET_MS = 500  # a blocked client learns of it at once, not by a timeout; a busy machine takes its time
_EVENT_TIMEOUT = 2.0  # seconds for the daemon to write an event


@dataclass(frozen=True, slots=True)
class Row:
    """A case as it went. ``answer`` is the client's own account; ``rule`` the rule that the event names."""

    mode: Mode
    back_end: str
    family: Family
    case: Case
    expected: Outcome
    seen: Outcome
    answer: Answer
    rule: str | None

    @property
    def wrong(self) -> tuple[str, ...]:
        """The names of what disagrees with the expectation."""
        seen, expected = self.seen, self.expected
        # openssl's time has its start-up in it.
        slow = self.case.client == "curl" and seen.client == "reset" and self.answer.ms > _RESET_MS
        wanted = self.case.answer(self.family)
        partial = seen.client == "ok" and wanted is not None and self.answer.detail != wanted
        agrees = {
            "verdict": seen.verdict == expected.verdict,
            "client": seen.client == expected.client and not slow and not partial,
            "queued": seen.queued <= expected.queued,
            "mark": seen.mark == expected.mark,
            "server": expected.server is None or (seen.server or 0) <= expected.server,
        }
        return tuple(name for name, agreed in agrees.items() if not agreed)


def config_text(lab: Lab, mode: Mode = "strict") -> str:
    """The lab's policy: blocked.example is reset, silent.example dropped, all else passes; DNS leads
    moved.example elsewhere and nowhere.example nowhere."""
    return f"""\
[inspect]
mode = "{mode}"

[[rule]]
name = "blocked"
action = "block"
domains = ["blocked.example"]

[[rule]]
name = "silent"
action = "block"
domains = ["silent.example"]
respond = "drop"

[[rule]]
name = "elsewhere"
action = "redirect"
domains = ["moved.example"]
redirect = [{_listed(ELSEWHERE)}]

[[rule]]
name = "nowhere"
action = "redirect"
domains = ["nowhere.example"]
redirect = [{_listed(NOWHERE)}]

[plugin.dns]
enabled = true

[state]
directory = "{lab.state}/state"

[events]
file = "{lab.state}/eve.json"

[control]
socket = "{lab.state}/control.sock"
"""


def _listed(addresses: dict[Family, str]) -> str:
    return ", ".join(f'"{address}"' for address in addresses.values())


def run() -> Iterator[Row]:
    """Every case in both modes, on every back end of iptables that is there; each set-up in a lab of its own."""
    with Lab() as lab:
        ends = back_ends(lab)
    for back_end, mode in product(ends, get_args(Mode)):
        with Lab() as lab:
            web = WebServer(lab.server, lab.state / "web", NAMES)
            with (Echo(lab.server), Resolver(lab.server, lab.state / "resolver"),
                  daemon(lab, config_text(lab, mode), back_end)):
                yield from _rows(lab, web, mode, back_end)


def _rows(lab: Lab, web: WebServer, mode: Mode, back_end: str) -> Iterator[Row]:
    flows: dict[Family, set[Tracked]] = {4: set(), 6: set()}
    with Tap(lab.server) as tap:
        for case, family in product(CASES, flows):
            expected = case.expected(mode)
            queued = gauges.queued(lab.gateway)
            tap.take()
            answer = case.run(lab, family, web.ca)
            earlier, flows[family] = flows[family], gauges.tracked(lab.gateway, family)
            flow = next(iter(flows[family] - earlier), None)
            event = _event(lab.state / "eve.json", flow.sport if flow else answer.port)
            seen = Outcome(event.get("action"), answer.outcome, gauges.queued(lab.gateway) - queued,
                           MarkField().read(flow.mark) if flow else None, tap.take())
            yield Row(mode, back_end, family, case, expected, seen, answer, event.get("rule"))


def _event(file: Path, port: int) -> dict[str, Any]:
    """The ``verdict`` of the last event about the client's port; empty if the daemon writes none in time."""
    deadline = time.monotonic() + _EVENT_TIMEOUT
    while time.monotonic() < deadline:
        lines = file.read_text().splitlines() if file.exists() else []
        for line in reversed(lines):
            event = json.loads(line)
            if event["event_type"] == "verdict" and event["src_port"] == port:
                verdict: dict[str, Any] = event["verdict"]
                return verdict
        time.sleep(0.005)
    return {}
