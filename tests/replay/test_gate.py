"""Captured flows of every shape to rows: what would have been queued, and what would have come of it."""

from __future__ import annotations

from ipaddress import ip_address
from itertools import permutations
from pathlib import Path
from typing import Any

import msgspec
import pytest

from nfqdpi.config import Config
from nfqdpi.testing.dns import ASKED, A, answer, resource
from nfqdpi.testing.flows import Talk
from nfqdpi.testing.http import request, response
from nfqdpi.testing.packets import ACK, CLIENT, CLIENT6, FIN, RST, SERVER, SERVER6, SYN, ip, tcp, udp
from nfqdpi.testing.tls import hello, real_hello, record, server_hello
from tests.replay.files import names, rows_of

_STRICT, _FAST = Config(), msgspec.convert({"inspect": {"mode": "fast"}}, Config, strict=False)


def _blocking(*domains: str, **rule: str) -> Config:
    rules = [{"name": "no", "action": "block", "domains": list(domains), **rule}]
    return msgspec.convert({"rule": rules}, Config, strict=False, dec_hook=lambda kind, value: kind.parse(value))


@pytest.fixture(params=[_STRICT, _FAST], ids=["strict", "fast"])
def mode(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_row(tmp_path: Path) -> None:
    """A row has what the flow is, its name, and what came of it."""
    talk = Talk()
    (row,) = rows_of(tmp_path, [*talk.opening(), talk.says(hello("bad.example")), talk.hears(server_hello())],
                     _blocking("bad.example"))
    assert row == {
        "pcap": str(tmp_path / "some.pcap"), "proto": "tls", "src": "10.0.0.2", "sport": 40000, "dst": "10.0.1.2",
        "dport": 8123, "name": "bad.example", "verdict": "block", "reason": "rule", "rule": "no",
    }


@pytest.mark.parametrize(("rule", "verdict"), [
    ({"action": "block"}, "block"), ({"respond": "drop"}, "block_silent"), ({"action": "inspect"}, "inspect"),
    ({"action": "accelerate"}, "accelerate")])
def test_verdict_words(tmp_path: Path, mode: Config, rule: dict[str, str], verdict: str) -> None:
    """The four words a verdict can be."""
    config = msgspec.structs.replace(_blocking("a.example", **rule), inspect=mode.inspect)
    talk = Talk()
    (row,) = rows_of(tmp_path, [*talk.opening(), talk.says(request("a.example"))], config)
    assert (row["verdict"], row["reason"], row["rule"]) == (verdict, "rule", "no")


@pytest.mark.parametrize("ends", [("10.0.0.2", "10.0.1.2"), (CLIENT6, SERVER6)], ids=["v4", "v6"])
def test_whole_flow(tmp_path: Path, mode: Config, ends: tuple[str, str]) -> None:
    """One flow is one row, whatever else follows."""
    talk = Talk(*ends)
    packets = [*talk.opening(), talk.says(real_hello("a.example")), talk.hears(server_hello()), talk.says(b"\x17" * 50)]
    packets += [talk.hears(bytes(1400)) for _ in range(20)] + [talk.says(flags=FIN | ACK), talk.hears(flags=FIN | ACK)]
    (row,) = rows_of(tmp_path, packets, mode)
    assert (row["src"], row["name"], row["verdict"]) == (ends[0], "a.example", "accelerate")


def test_extension_headers(tmp_path: Path) -> None:
    """IPv6 extension headers do not hide a flow."""
    chain = [(0, bytes(7)), (60, bytes(7))]
    packet = ip(6, tcp(request("a.example")), CLIENT6, SERVER6, chain=chain)
    assert names(rows_of(tmp_path, [packet])) == ["a.example"]


def test_segments_in_any_order(tmp_path: Path) -> None:
    """A hello of several segments is read in whatever order they come, and however often."""
    whole = hello("a.example", quantum=True)
    cuts = [0, 500, 1000, 1500, len(whole)]
    for order in permutations(range(4)):
        talk = Talk()
        pieces = [talk.says(whole[cuts[n] : cuts[n + 1]], at=cuts[n]) for n in order]
        assert names(rows_of(tmp_path, [*talk.opening(), *pieces[:2], *pieces])) == ["a.example"]


def test_keep_alive_probes(tmp_path: Path, mode: Config) -> None:
    """A probe's byte of garbage is no part of the stream (RFC 9293, 3.8.4)."""
    talk = Talk()
    packets = [*talk.opening(), talk.says(b"\0", at=-1), talk.says(request("a.example")), talk.says(b"\0", at=15)]
    if mode is _FAST:
        del packets[3]  # a gateway in fast mode would begin at the probe
    assert names(rows_of(tmp_path, packets, mode)) == ["a.example"]


def test_reused_tuple(tmp_path: Path, mode: Config) -> None:
    """Each opening on a five-tuple is a flow of its own; a repeated one is not."""
    packets = []
    for isn, name in ((1000, "one.example"), (9_000_000, "two.example"), (77, "three.example")):
        talk = Talk(isn=isn)
        opening = talk.opening()
        packets += [opening[0], *opening, opening[1], talk.says(request(name)), talk.hears(response())]
    assert names(rows_of(tmp_path, packets, mode)) == ["one.example", "two.example", "three.example"]


def test_roles_exchanged(tmp_path: Path, mode: Config) -> None:
    """Once a flow is closed its server may open one the other way round; before that it may not."""
    forth, back = Talk(), Talk("10.0.1.2", "10.0.0.2", sport=8123, dport=40000)
    first = [*forth.opening(), forth.says(request("one.example"))]
    second = [*back.opening(), back.says(request("two.example"))]
    assert names(rows_of(tmp_path, [*first, forth.hears(flags=RST), *second], mode)) == ["one.example", "two.example"]
    assert names(rows_of(tmp_path, [*first, back.opening()[0]], mode)) == ["one.example"]


@pytest.mark.parametrize("missing", [(0,), (1,), (0, 1), (0, 1, 2)], ids=["SYN", "SYN+ACK", "both", "all"])
def test_opening_not_captured(tmp_path: Path, mode: Config, missing: tuple[int, ...]) -> None:
    """A name is found without the opening's packets."""
    talk = Talk()
    opening = [packet for n, packet in enumerate(talk.opening()) if n not in missing]
    rows = rows_of(tmp_path, [*opening, talk.says(request("a.example")), talk.hears(response())], mode)
    assert [(row["src"], row["name"]) for row in rows] == [("10.0.0.2", "a.example")]


@pytest.mark.parametrize("before", [b"\x17\x03\x03\x00\x10" + bytes(16), b"the tail of a body", response() + b"body"])
def test_server_first(tmp_path: Path, mode: Config, before: bytes) -> None:
    """A capture that begins with the server's bytes still tells which side is the client."""
    talk = Talk()
    packets = [talk.hears(before), talk.hears(before), talk.says(request("a.example")), talk.hears(response())]
    rows = rows_of(tmp_path, packets, mode)
    assert [(row["src"], row["dport"], row["name"]) for row in rows] == [("10.0.0.2", 8123, "a.example")]


def test_body_first(tmp_path: Path, mode: Config) -> None:
    """A capture that begins in the middle of a request finds the next one."""
    talk = Talk()
    packets = [talk.says(bytes(1000)), talk.says(b"more, and the end"), talk.hears(response()),
               talk.says(request("a.example"))]
    assert names(rows_of(tmp_path, packets, mode)) == ["a.example"]


def test_midstream_in_any_order(tmp_path: Path, mode: Config) -> None:
    """Where the opening is missing, the first segment seen need not be the first that was sent."""
    whole = hello("a.example", quantum=True)
    cuts = [0, 700, 1400, len(whole)]
    for order in permutations(range(3)):
        talk = Talk()
        pieces = [talk.says(whole[cuts[n] : cuts[n + 1]], at=cuts[n]) for n in order]
        assert names(rows_of(tmp_path, pieces, mode)) == ["a.example"]


def test_midstream_probe(tmp_path: Path) -> None:
    """A keep-alive probe is not taken for an earlier segment."""
    talk = Talk()
    whole = request("a.example")
    packets = [talk.says(whole[:20], at=0), talk.says(b"\0", at=-1), talk.says(whole[20:], at=20)]
    assert names(rows_of(tmp_path, packets)) == ["a.example"]


def test_sequence_wrap(tmp_path: Path, mode: Config) -> None:
    """Sequence numbers start again at 0 in the middle of a hello."""
    whole = hello("a.example")
    for missing in (0, 3):
        talk = Talk(isn=(1 << 32) - 21)
        packets = [*talk.opening()[missing:], talk.says(whole[:50]), talk.says(whole[50:])]
        assert names(rows_of(tmp_path, packets, mode)) == ["a.example"]


def test_fast_open(tmp_path: Path, mode: Config) -> None:
    """What a SYN brings along (RFC 7413) is read, whether the server took it or had it sent again."""
    whole = request("a.example")
    for taken in (True, False):
        talk = Talk()
        syn, _, _ = talk.opening()
        syn = ip(6, tcp(whole, seq=talk.isn, flags=SYN, sport=talk.sport, dport=talk.dport))
        acked = talk.isn + 1 + (len(whole) if taken else 0)
        syn_ack = ip(6, tcp(seq=5000, ack=acked, flags=SYN | ACK, sport=talk.dport, dport=talk.sport), talk.server,
                     talk.client)
        again = [] if taken else [talk.says(whole)]
        assert names(rows_of(tmp_path, [syn, syn_ack, *again], mode)) == ["a.example"]


def test_one_side_captured(tmp_path: Path, mode: Config) -> None:
    """The client's side alone is enough; the server's alone has nothing to show."""
    talk = Talk()
    packets = [*talk.opening(), talk.says(hello("a.example")), talk.hears(server_hello()), talk.says(record(b"x" * 40))]
    client = ip_address("10.0.0.2").packed
    assert names(rows_of(tmp_path, [p for p in packets if p[12:16] == client], mode)) == ["a.example"]
    assert set(names(rows_of(tmp_path, [p for p in packets if p[12:16] != client], mode))) <= {None}


def test_reply_missed(tmp_path: Path) -> None:
    """What the capture missed of a server's reply is no fault of the client's."""
    talk = Talk()
    packets = [*talk.opening(), talk.says(hello("a.example")), talk.hears(server_hello()),
               talk.hears(record(bytes(90))), talk.says(record(bytes(40)))]
    for missing in (4, 5):
        (row,) = rows_of(tmp_path, [packet for n, packet in enumerate(packets) if n != missing])
        assert (row["name"], row["verdict"], row["reason"]) == ("a.example", "accelerate", "default")


def test_sent_before_the_reply(tmp_path: Path) -> None:
    """Handshake bytes behind a hello that the server has not answered are blocked."""
    talk = Talk()
    (row,) = rows_of(tmp_path, [*talk.opening(), talk.says(hello("a.example")), talk.says(hello("b.example"))])
    assert (row["name"], row["verdict"], row["reason"]) == ("a.example", "block", "malformed")


def test_same_numbers_again(tmp_path: Path, mode: Config) -> None:
    """A client that begins twice with the same sequence number has two flows: the first is closed, or the server's
    number is another.
    """
    first, second = Talk(), Talk()
    packets = [*first.opening(), first.says(request("one.example"))]
    again = [*second.opening(), second.says(request("two.example"))]
    assert names(rows_of(tmp_path, [*packets, first.says(flags=RST), *again], mode)) == ["one.example", "two.example"]
    answer = ip(6, tcp(seq=6000, ack=1001, flags=SYN | ACK, sport=8123, dport=40000), "10.0.1.2", "10.0.0.2")
    asks = ip(6, tcp(request("two.example"), seq=1001, ack=6001, sport=40000, dport=8123), "10.0.0.2", "10.0.1.2")
    rows = rows_of(tmp_path, [*packets, again[0], answer, asks], mode)
    assert names(rows) == ["one.example", "two.example"]
    rows = rows_of(tmp_path, [packets[0], *packets, answer, packets[3]], mode)  # a second answer to the same SYN
    assert names(rows) == ["one.example"]


def test_later_block(tmp_path: Path) -> None:
    """A flow that is blocked after its first name was allowed has the name that it began with, and the block."""
    talk = Talk()
    packets = [*talk.opening(), talk.says(request("good.example")), talk.hears(response("204 No Content")),
               talk.says(request("bad.example")), talk.says(request("good.example"))]
    (row,) = rows_of(tmp_path, packets, _blocking("bad.example"))
    assert (row["name"], row["verdict"], row["rule"]) == ("good.example", "block", "no")


def test_decoy(tmp_path: Path) -> None:
    """A hello with another name in the same place as the one that was allowed is a conflict."""
    talk = Talk()
    packets = [*talk.opening(), talk.says(hello("good.example"), at=0), talk.says(hello("evil.example"), at=0)]
    (row,) = rows_of(tmp_path, packets)
    assert (row["name"], row["verdict"], row["reason"]) == ("good.example", "block", "overlap")


def test_confirmed(tmp_path: Path) -> None:
    """Once the server's hello has confirmed a name, nothing of the flow is looked at any more."""
    talk = Talk()
    packets = [*talk.opening(), talk.says(hello("good.example")), talk.hears(server_hello()),
               talk.says(hello("evil.example"), at=0)]
    (row,) = rows_of(tmp_path, packets)
    assert (row["verdict"], row["reason"]) == ("accelerate", "default")


def test_flawed_name(tmp_path: Path) -> None:
    """A name that is none is shown, and the flow is blocked as malformed."""
    talk = Talk()
    (row,) = rows_of(tmp_path, [*talk.opening(), talk.says(request("${jndi:x}"))])
    assert (row["name"], row["verdict"], row["reason"]) == ("${jndi:x}", "block", "malformed")


def test_nothing_recognised(tmp_path: Path, mode: Config) -> None:
    """Flows without a known protocol give rows only when all are asked for, and no name in any case."""
    talk, silent, mail = Talk(), Talk(sport=2), Talk(sport=3)
    packets = [talk.says(b"\0\1\2"), talk.hears(b"\3\4\5"), *silent.opening(), *mail.opening(),
               mail.says(b"EHLO a.example\r\n"), ip(17, b"\0\1\0\1\0\x08\0\0"), ip(1, bytes(8))]
    assert rows_of(tmp_path, packets, mode) == []
    rows = rows_of(tmp_path, packets, mode, show_all=True)
    assert [(row["sport"], row["proto"], row["name"]) for row in rows] == [
        (40000, None, None), (2, None, None), (3, None, None), (1, None, None)]


def test_pure_acks_open_nothing(tmp_path: Path) -> None:
    """A stray ACK, FIN or RST is no flow."""
    talk = Talk()
    packets = [talk.says(), talk.hears(flags=FIN | ACK), talk.says(flags=RST)]
    assert rows_of(tmp_path, packets, show_all=True) == []


def test_bounded(tmp_path: Path) -> None:
    """With more flows at once than the configuration allows, those that are silent longest end first."""
    config = msgspec.convert({"inspect": {"max_flows": 16}}, Config, strict=False)
    talks = [Talk(sport=port) for port in range(1, 41)]
    packets = [packet for talk in talks for packet in (*talk.opening(), talk.says(request(f"n{talk.sport}.example")))]
    rows = rows_of(tmp_path, packets, config)
    assert names(rows) == [f"n{talk.sport}.example" for talk in talks]
    assert rows == rows_of(tmp_path, packets)


def test_captured_times(tmp_path: Path) -> None:
    """Time is the capture's: a hello that dawdles beyond the limit is blocked for that."""
    talk = Talk()
    whole = hello("a.example")
    packets = [*talk.opening(), talk.says(whole[:50]), talk.says(whole[50:60]), talk.says(whole[60:])]
    assert names(rows_of(tmp_path, packets, times=[0, 0, 0, 1, 2, 20])) == ["a.example"]
    (row,) = rows_of(tmp_path, packets, times=[0, 0, 0, 1, 40, 41], show_all=True)
    assert (row["verdict"], row["reason"]) == ("block", "timeout")


def test_a_name_that_dns_knows_is_not_the_flows_own(tmp_path: Path, mode: Config) -> None:
    """It is judged by it, and its row has the names that are in it."""
    asks = msgspec.structs.replace(_blocking("a.example"), inspect=mode.inspect)
    told = answer("a.example", A, resource(ASKED, A, ip_address(SERVER).packed))
    harmless = answer("b.example", A, resource(ASKED, A, ip_address("10.0.1.3").packed))
    talk, other = Talk(), Talk(server="10.0.1.3", sport=40001)
    packets = [ip(17, udp(data, sport=53, dport=3), src=SERVER, dst=CLIENT) for data in (told, harmless)]
    packets += [*talk.opening(), talk.says(hello(None)), *other.opening(), other.says(hello(None))]
    rows = [row for row in rows_of(tmp_path, packets, asks) if row["proto"] == "tls"]
    assert [row["name"] for row in rows] == [None, None]
