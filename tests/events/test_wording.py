"""The words in which a worker tells of a verdict."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from nfqdpi.config import Config
from nfqdpi.core.classifier import Classification
from nfqdpi.core.decision import Client, Judgement, Outcome
from nfqdpi.core.packet import TCP, UDP, FlowKey
from nfqdpi.core.verdict import MarkField, Reason, Verdict
from nfqdpi.daemon import channel
from nfqdpi.daemon import telling as telling_module
from nfqdpi.daemon.counters import Counters
from nfqdpi.daemon.events import ACTION_OF, Wording
from nfqdpi.daemon.record import Decided, Row
from nfqdpi.daemon.telling import Telling
from nfqdpi.events import model
from nfqdpi.events.model import App, Dns, Event, Http, Quic, Tls, VerdictPart
from nfqdpi.events.stamp import Stamps
from nfqdpi.kernel import passage
from nfqdpi.kernel.clock import Moment
from nfqdpi.policy.model import Policy

INTERFACES = {0: "", **dict(socket.if_nameindex())}
WORDING = Wording(MarkField(0xF0))  # one for all, so that what it remembers counts
KEY = FlowKey(bytes((10, 0, 0, 1)), bytes((192, 0, 2, 1)), 40000, 443, TCP)


def cut(text: str) -> str:
    return text[:1024]


def model_of(judgement: Judgement, state: Verdict, answered: Moment) -> tuple[Row, Event]:
    """Row and event made part by part, and slowly."""
    (src, dst, sport, dport, proto), client, outcome = judgement.key, judgement.client, judgement.outcome
    found = judgement.classification or Classification("")
    said = {name: cut(text) for name, text in found.attributes.items()}
    joined = said.get("dns", "")
    names = [cut(name) for name in found.names if not joined or name != found.attributes["dns"]][:17]
    name, protocol, get = names[0] if names else "", found.protocol, said.get
    own: dict[str, dict[str, Any]] = {
        "tls": {"tls": Tls(name, get("version", ""), get("alpn", ""), get("ja4", ""), get("ech", ""))},
        "quic": {"quic": Quic(name, get("quic", ""), get("alpn", ""), get("ja4", ""), get("ech", ""))},
        "http": {"http": Http(name, get("method", ""), get("url", ""))},
        "dns": {"dns": Dns(get("type", ""), name, get("rrtype", ""), get("rcode", ""))},
    }
    app = App(name, {cut(key): cut(text) for key, text in islice(found.attributes.items(), 16)
                     if key not in {"advice", "dns", "sni_mismatch"}})
    parts = own.get(protocol, {"app": app} if name or said else {})
    event = Event(
        timestamp=Stamps().text(answered.wall), flow_id=hash((judgement.key, judgement.base)) % (1 << 48),
        src_ip=shown(src), src_port=sport, dest_ip=shown(dst), dest_port=dport, proto="TCP" if proto == TCP else "UDP",
        app_proto=protocol or "unknown", in_iface=INTERFACES[client.interface],
        verdict=VerdictPart(ACTION_OF[outcome.verdict], outcome.reason, outcome.rule, outcome.list, state << 4),
        client=model.Client(client.mac.hex(":") if any(client.mac) else ""), packets=judgement.packets,
        latency_us=max(0, int((answered.steady - judgement.since) * 1e6 + 0.5)), dns_name=joined,
        advice=get("advice", ""), sni_mismatch=get("sni_mismatch", ""), other_names=tuple(names[1:]), **parts)
    decided = Decided(tuple(filter(None, (*names, joined))), protocol or "unknown", client, outcome.verdict,
                      outcome.reason, outcome.rule, state, Verdict.UNSEEN, found.asks)
    return (passage.key(proto, src, sport, dst, dport), decided), event


def shown(address: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)


# Few of each, so that flows come that have much in common; what may need an escape or is long; what is not there.
texts = st.one_of(
    st.sampled_from(["", "a.example", 'a"b\\c', "\x00\x1b\x7f\n", "ü\u2028\U0001f600", "é" * 2000, "/" * 1024]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
keys = st.sampled_from(["method", "url", "version", "alpn", "ja4", "ech", "quic", "type", "rrtype", "rcode",
                        "dns", "advice", "sni_mismatch"])
attributes = st.dictionaries(st.one_of(keys, texts), texts, max_size=20)
founds = st.none() | st.builds(
    Classification, st.sampled_from(["http", "tls", "quic", "dns", "ssh", "", 'x"y']),
    st.lists(texts, max_size=3).map(tuple) | st.lists(texts, min_size=15, max_size=20).map(tuple), attributes,
    asks=st.booleans())
outcomes = st.builds(
    Outcome, st.sampled_from([Verdict.INSPECT, Verdict.ACCELERATE, Verdict.BLOCK, Verdict.BLOCK_SILENT]),
    st.sampled_from(Reason), st.sampled_from([None, "ads", 'r"ü']), st.sampled_from([None, "list", "\\"]))
ports = st.sampled_from([0, 80, 255, 256, 1023, 1024, 65535])


@st.composite
def judgements(draw: st.DrawFn) -> Judgement:
    size = draw(st.sampled_from([4, 16]))
    src, dst = (draw(st.sampled_from([bytes(size), bytes(range(size)), b"\xfe" * size])) for _ in range(2))
    key = FlowKey(src, dst, draw(ports), draw(ports), draw(st.sampled_from([TCP, UDP])))
    mac = draw(st.sampled_from([b"", bytes(6), b"\x02\0\0\0\0\xff"]))
    return Judgement(key, Client(src, mac, draw(st.sampled_from(list(INTERFACES)))), draw(outcomes), draw(founds),
                     draw(st.sampled_from([0, 1, 1023, 1024])), draw(st.floats(0, 3)), draw(st.integers(0, 2**32 - 1)))


@given(judgements(), st.sampled_from(Verdict), st.floats(0, 4e9), st.floats(0, 4))
def test_a_verdict_is_told_as_the_structs_have_it(judgement: Judgement, state: Verdict, wall: float, steady: float
                                                  ) -> None:
    """What flows have in common is encoded once, and every byte is the same as if it were not: of the line in the file,
    and of what the record gets."""
    answered = Moment(wall, steady)
    row, line = WORDING.told(judgement, state, answered, line=True)
    expected, event = model_of(judgement, state, answered)
    assert line == msgspec.json.encode(event) + b"\n"
    assert row == msgspec.msgpack.encode(expected)
    assert WORDING.told(judgement, state, answered, line=False) == (row, b"")


def test_times_are_eves() -> None:
    """Microseconds, and a zone without a colon; in whatever order they are asked for."""
    stamps, times = Stamps(), (1.0, 1795335300.25, 1795335300.25, 1795335300 + 2**-10, 1795335299.75, 1.0)
    told = [stamps.text(time) for time in times]
    assert all(len(text) == len("2026-11-22T08:15:00.123456+0100") for text in told)
    assert [text[19:26] for text in told] == [".000000", ".250000", ".250000", ".000976", ".750000", ".000000"]
    assert told == [Stamps().text(time) for time in times]


def test_all_events_of_a_flow_have_its_id() -> None:
    """Each request of a kept-alive connection; the next flow on the same ports has another one."""
    ids = []
    for since, base in ((1.0, 7), (2.0, 7), (2.0, 8)):
        judgement = Judgement(KEY, Client(KEY.src), Outcome(Verdict.ACCELERATE, Reason.DEFAULT), None, 1, since, base)
        _, line = WORDING.told(judgement, Verdict.INSPECT, Moment(0.0, 9.0), line=True)
        ids.append(msgspec.json.decode(line, type=Event).flow_id)
    assert ids[0] == ids[1] != ids[2]


def test_the_longest_event_fits_into_a_message() -> None:
    """All that a classifier says is cut, whatever its protocol; and where it takes six bytes a character in JSON, no
    line is cut off."""
    long = "\0" * 2000
    attributes = {f"{number}{long}": long for number in range(13)} | dict.fromkeys(
        ("type", "rrtype", "rcode", "version", "alpn", "ja4", "ech", "quic", "method", "url"), long) | dict.fromkeys(
        ("dns", "advice", "sni_mismatch"), "\0" * 2001)
    ours, theirs = channel.pair()
    with ours, theirs:
        telling = Telling(Config(), Policy(), Counters(), theirs)
        for protocol in ("x", "dns", "http", "quic", "tls"):
            found = Classification(protocol, tuple(f"{number}{long}" for number in range(20)), attributes)
            judgement = Judgement(KEY, Client(KEY.src), Outcome(Verdict.BLOCK, Reason.RULE), found, 1, 0.0)
            short = Judgement(KEY, Client(KEY.src), Outcome(Verdict.BLOCK, Reason.RULE), None, 1, 0.0)
            while telling._size + 500 < telling_module._BATCH_BYTES:
                telling.note(short, Verdict.BLOCK, Moment(1.0, 1.0))
            telling.note(judgement, Verdict.BLOCK, Moment(1.0, 1.0))
            count, _, lines = channel.decided_of(channel.received(ours)[1:])
            assert lines.count(b"\n") == count > 1
            told: dict[str, Any] = msgspec.json.decode(lines.splitlines()[-1])
            assert all(len(text) <= 1024 for text in texts_of(told))


def texts_of(told: Any) -> Iterator[str]:
    if isinstance(told, str):
        yield told
    elif isinstance(told, dict | list | tuple):
        for one in (*told, *told.values()) if isinstance(told, dict) else told:
            yield from texts_of(one)


def test_what_is_no_text_costs_no_other_event() -> None:
    """A plugin's name with half a surrogate pair cannot be told; what was noted before and after it is told whole."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        telling = Telling(Config(), Policy(), Counters(), theirs)
        for name in ("a.example", "\ud800", "b.example"):
            found = Classification("x", (name,), {"note": name})
            judgement = Judgement(KEY, Client(KEY.src), Outcome(Verdict.BLOCK, Reason.RULE), found, 1, 0.0)
            try:
                telling.note(judgement, Verdict.BLOCK, Moment(1.0, 1.0))
            except UnicodeEncodeError:
                assert name == "\ud800"
        telling.flush()
        count, rows, lines = channel.decided_of(ours.recv(channel.LONGEST)[1:])
    assert count == 2
    told = msgspec.msgpack.decode(rows, type=list[Row])
    assert [decided.names for _, decided in told] == [("a.example",), ("b.example",)]
    assert [msgspec.json.decode(line, type=Event).names for line in lines.splitlines()] == [
        ("a.example",), ("b.example",)]
