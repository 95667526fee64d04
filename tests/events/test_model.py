"""What an event says, and the schema that is kept of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from nfqdpi.core.classifier import Classification
from nfqdpi.core.decision import Client, Judgement, Outcome
from nfqdpi.core.packet import FlowKey
from nfqdpi.core.verdict import MarkField, Reason, Verdict
from nfqdpi.daemon.events import Wording
from nfqdpi.events import reference
from nfqdpi.events.model import Line, notice, schema, sentence
from nfqdpi.kernel.clock import Moment
from tests.events import samples

SCHEMA = Path(__file__).parents[2] / "docs" / "events.schema.json"
KEY = FlowKey(bytes((10, 0, 0, 1)), bytes((192, 0, 2, 1)), 40000, 443, 6)


def told(verdict: Verdict, reason: Reason, found: Classification | None) -> dict[str, Any]:
    judgement = Judgement(KEY, Client(KEY.src, bytes(6), 0), Outcome(verdict, reason, "r", "l"), found, 3, 1.0)
    _, line = Wording(MarkField()).told(judgement, Verdict.BLOCK, Moment(0.0, 1.5), line=True)
    decoded: dict[str, Any] = msgspec.json.decode(line)
    return decoded


def test_the_schema_is_kept() -> None:
    """The file in docs is made of the structs: python -c 'import json; from nfqdpi.events.model import schema;
    print(json.dumps(schema(), indent=2))' > docs/events.schema.json."""
    assert json.loads(SCHEMA.read_text()) == json.loads(json.dumps(schema()))


def test_the_reference_is_kept() -> None:
    """docs/events.md is what the module prints, and explains every reason."""
    assert SCHEMA.with_name("events.md").read_text() == reference.markdown()
    assert list(reference.REASONS) == list(Reason)


@pytest.mark.parametrize("verdict", [Verdict.INSPECT, Verdict.ACCELERATE, Verdict.BLOCK, Verdict.BLOCK_SILENT])
@pytest.mark.parametrize("reason", Reason)
@pytest.mark.parametrize("found", [
    None,
    Classification("tls", ("a.example",), {"version": "1.3", "alpn": "h2", "ja4": "t13", "ech": "outer"}),
    Classification("http", ("a.example", "b.example"), {"method": "GET", "url": "/" * 5000}),
    Classification("quic"),
])
def test_every_event_is_of_the_schema(verdict: Verdict, reason: Reason, found: Classification | None) -> None:
    """It reads back into the structs that the schema is made of, which write the very same again."""
    made = told(verdict, reason, found)
    again = msgspec.json.decode(msgspec.json.encode(msgspec.convert(made, Line)))
    assert again == made
    assert set(made) >= {"timestamp", "event_type", "flow_id", "verdict"}
    assert (made["event_type"], made["latency_us"]) == ("verdict", 500_000)


def test_a_silent_block_is_a_block() -> None:
    """How the client hears of it is the rule's affair."""
    assert told(Verdict.BLOCK_SILENT, Reason.RULE, None)["verdict"]["action"] == "block"


def test_a_notice_is_of_the_schema() -> None:
    """What befell the gateway is a line as well, of another type."""
    made = msgspec.json.decode(notice("events_lost", "2 events are missing here", 2), type=Line)
    assert sentence(made) == "2 events are missing here"
    assert json.loads(notice("rules_restored", "as they were"))["notice"] == {
        "kind": "rules_restored", "message": "as they were"}


def test_an_event_in_words() -> None:
    """Action, name, client, server and why."""
    assert sentence(samples.event()) == "block www.x.example for 10.0.0.1 to 198.51.100.2 port 443: rule 'ads'"
    assert sentence(samples.event("", rule=None)).endswith("tls without a name for 10.0.0.1 to 198.51.100.2 port 443: "
                                                           "default")
