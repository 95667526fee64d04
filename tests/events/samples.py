"""Events for tests."""

from __future__ import annotations

import socket
from datetime import datetime
from time import time
from typing import Any

import msgspec

from nfqdpi.core.decision import Client as Asker
from nfqdpi.core.verdict import Reason, Verdict
from nfqdpi.daemon.record import Decided
from nfqdpi.events.model import Client, Event, Tls, VerdictPart
from nfqdpi.events.stamp import Stamps


def event(name: str = "www.x.example", action: Any = "block", *, when: datetime | None = None, client: str = "10.0.0.1",
          rule: str | None = "ads", mac: str = "") -> Event:
    """A TLS flow's, one packet after it began."""
    verdict = VerdictPart(action, Reason.RULE if rule else Reason.DEFAULT, rule, None, 3)
    moment = when.astimezone().strftime("%Y-%m-%dT%H:%M:%S.%f%z") if when else Stamps().text(time())
    return Event(moment, 7, client, 40000, "198.51.100.2", 443, "TCP", "tls", "lan0", verdict, Client(mac), 1,
                 900, Tls(name, "1.3"))


def decided(name: str = "www.x.example", verdict: Verdict = Verdict.BLOCK, *, client: str = "10.0.0.1",
            rule: str | None = "ads") -> Decided:
    """What a worker tells of a TLS flow."""
    reason = Reason.RULE if rule else Reason.DEFAULT
    return Decided((name,), "tls", Asker(socket.inet_aton(client)), verdict, reason, rule, verdict)


def line(*args: Any, **options: Any) -> bytes:
    """The same as a line."""
    return msgspec.json.encode(event(*args, **options)) + b"\n"
