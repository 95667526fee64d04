"""Fast mode: one queued packet a flow, no SYN+ACK, clients that co-operate."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nfqdpi.core.table import FlowTable
from nfqdpi.core.verdict import Verdict
from nfqdpi.policy.model import Policy
from nfqdpi.testing.http import request
from nfqdpi.testing.tls import hello
from tests.core.transcript import ALLOWED, BLOCKED, CLOSED, OPEN, SILENT, WATCHED, Talks


@pytest.fixture
def quick(talk: Talks) -> Talks:
    """``quick(...)``: a flow before a fast engine."""
    return lambda **settings: talk(strict=False, **settings)


@pytest.mark.parametrize("make", [hello, request])
def test_one_packet_decides(quick: Talks, make: Callable[[str], bytes]) -> None:
    """The first packet with the name settles the flow, without an answer of the server's."""
    assert quick().client(make(ALLOWED)) == "accelerate default"
    assert quick().client(make(BLOCKED)) == "block rule"
    assert quick().client(make(SILENT)) == "block_silent rule"
    assert quick(default=Verdict.BLOCK).client(make(ALLOWED)) == "block default"


def test_cut_at_every_byte(quick: Talks) -> None:
    """A ClientHello in two segments takes two packets."""
    data = hello(BLOCKED, quantum=True)
    for cut in range(1, len(data)):
        assert quick().clients(data[:cut], data[cut:]) == ["inspect need_more", "block rule"]


def test_a_seen_opening_is_used(quick: Talks) -> None:
    """Where a SYN+ACK comes by all the same, it gives the base."""
    flow, data = quick(), hello(BLOCKED)
    assert [flow.opens(), flow.client(data[50:], at=50), flow.client(data[:50], at=0)] == [
        "inspect need_more", "inspect need_more", "block rule"]


def test_decided_flows_repeat_themselves(quick: Talks) -> None:
    """What queued up behind the deciding packet gets its decision."""
    flow = quick()
    assert flow.clients(hello(BLOCKED), b"more") == ["block rule", "block rule"]
    assert flow.client(hello(BLOCKED), at=0) == "block rule"


def test_a_tuple_used_again(quick: Talks) -> None:
    """Far numbers, or a time in which nothing can still be queued, tell a new flow on the tuple."""
    flow = quick()
    flow.client(hello(ALLOWED))
    assert flow.client(hello(BLOCKED), at=1 << 25) == "block rule"
    flow.now += FlowTable.LINGER + 1
    assert flow.client(hello(ALLOWED), at=5000) == "accelerate default"


def test_nothing_is_dropped(quick: Talks) -> None:
    """Reordered bytes and keep-alive probes are no evasion here: they pass, and the flow is read on."""
    flow = quick()
    assert flow.client(b"GET / HTTP/1.1\r\n") == "inspect need_more"
    assert flow.client(b"\0", at=15) == "inspect need_more"
    assert flow.client(b"early", at=-5) == "inspect need_more"
    assert flow.client(b"late", at=1 << 20) == "inspect need_more"
    assert flow.client(b"Host: blocked.example\r\n\r\n", at=16) == "block rule"


def test_unknown_protocols(quick: Talks) -> None:
    """The policy's default decides at once; what is broken may be cut off in front."""
    assert quick().client(b"\0\1\2") == "accelerate unknown_protocol"
    assert quick(exceptions=CLOSED).client(b"\0\1\2") == "block unknown_protocol"
    assert quick().client(b"\x17\x03\x03") == "accelerate midstream"
    assert quick().client(request(ALLOWED + "..")) == "block malformed"


def test_watched_names_stay_in_the_queue(quick: Talks) -> None:
    """A rule that says inspect passes the flow and keeps it."""
    flow = quick()
    assert flow.clients(hello(WATCHED), b"x", bytes(1000)) == ["inspect rule", "inspect need_more", "inspect need_more"]
    assert flow.client(bytes(1000), at=1 << 20) == "inspect need_more"


def test_a_blocked_flow_is_free_when_its_mark_and_the_policy_say_so(quick: Talks) -> None:
    """Without its mark alone a blocked flow stays blocked; when the policy has changed, too, it is judged again."""
    flow = quick()
    assert flow.client(request(BLOCKED)) == "block rule"
    flow.mark = Verdict.UNSEEN
    assert flow.client(request(BLOCKED), at=0) == "block rule"
    flow.engine.govern(Policy(), OPEN)
    flow.mark = Verdict.BLOCK
    assert flow.client(request(BLOCKED), at=0) == "block rule"
    flow.mark = Verdict.UNSEEN
    assert flow.client(request(BLOCKED), at=0) == "accelerate default"
