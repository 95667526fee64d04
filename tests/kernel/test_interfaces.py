"""Interfaces, whose names may be any bytes but a few (net/core/dev.c: dev_valid_name)."""

from __future__ import annotations

import socket

import msgspec

from nfqdpi.core.decision import Client, Judgement, Outcome
from nfqdpi.core.packet import TCP, FlowKey
from nfqdpi.core.verdict import MarkField, Reason, Verdict
from nfqdpi.daemon.events import Wording
from nfqdpi.events.model import Event
from nfqdpi.kernel.clock import Moment
from tests.kernel.namespaces import fresh


def test_an_event_names_any_interface() -> None:
    """With a quote, a backslash, and a byte that is no text; without the interface, the name is ""."""
    told = {}
    with fresh() as namespace:
        namespace.run(["ip", "link", "add", 'a"\\b', "type", "veth", "peer", "name", "c\udcff"])
        for index in (*(number for number, _ in socket.if_nameindex()), 4000):
            client = Client(bytes((10, 0, 0, 1)), b"", index)
            judgement = Judgement(FlowKey(client.address, bytes((192, 0, 2, 1)), 40000, 443, TCP), client,
                                  Outcome(Verdict.BLOCK, Reason.RULE), None, 1, 0.0)
            _, line = Wording(MarkField()).told(judgement, Verdict.BLOCK, Moment(0.0, 1.0), line=True)
            told[index] = msgspec.json.decode(line, type=Event).in_iface
    assert sorted(told.values()) == ["", 'a"\\b', "c\\xff", "lo"]
    assert told[4000] == ""
