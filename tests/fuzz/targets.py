"""What is fuzzed: each target takes any bytes, and raises where something is wrong."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, cast

from nfqdpi.core.classifier import (
    NEED_MORE,
    Classification,
    Classify,
    Glimpse,
    Message,
    Onward,
    Pending,
    Reply,
    Step,
)
from nfqdpi.core.decision import Client, Limits, Outcome
from nfqdpi.core.engine import Engine
from nfqdpi.core.packet import Datagram, Segment, Unreadable, parse
from nfqdpi.core.verdict import Reason, Verdict
from nfqdpi.plugins import dns, http, quic, ssh, tls
from nfqdpi.plugins.dns_message import parse as message
from nfqdpi.policy.model import Policy
from nfqdpi.replay.captures import BrokenCaptureError, Capture
from nfqdpi.replay.fragments import Fragments
from nfqdpi.replay.gate import Gate
from nfqdpi.replay.links import ip_packet
from nfqdpi.testing.http import request
from nfqdpi.testing.tls import extension, handshake, hello, hello_message, record, records, vector
from tests.core.transcript import OPEN, RULES
from tests.fuzz import script
from tests.fuzz.quic import datagrams, said
from tests.fuzz.units import confirm, then, unit

if TYPE_CHECKING:
    from nfqdpi.replay.entry import Entry

_MOST_UNITS = 60

_policy = Policy(RULES)
_hello = unit(tls.classifier.classify(hello("a.example")))
_chunked = unit(http.classifier.classify(request("a.example", "Transfer-Encoding: chunked")))
_upgrade = unit(http.classifier.classify(request("a.example", "Upgrade: x")))
_websocket = unit(http.classifier.classify(request("a.example", "Upgrade: websocket")))
_unread = unit(http.classifier.classify(request("a.example", "Content-Length: 40")))
_tunnel = unit(http.classifier.classify(request(None, method="CONNECT", target="a.example:443")))

_TLS_READERS = (tls.classifier.classify, then(_hello))
_HTTP_READERS = (http.classifier.classify, then(_chunked), then(_upgrade), then(_unread), then(_websocket))
_CONFIRMS = (confirm(_hello), confirm(_upgrade), confirm(_tunnel))
_dns = dns.over_udp(dns.Settings(strip_ech=True))
_RULED = (Outcome(Verdict.ACCELERATE, Reason.RULE), Outcome(Verdict.BLOCK, Reason.RULE),
          Outcome(Verdict.ACCELERATE, Reason.RULE, redirect=(bytes(4), bytes(16))))
# What the fuzzer need not get right each time: the lengths around what it writes.
_FRAMES: tuple[Callable[[bytes], bytes], ...] = (
    lambda data: data,
    lambda data: record(handshake(1, data)) if len(data) < 1 << 14 else data,
    lambda data: record(hello_message(extension(0, data[:4096]))),
    lambda data: records(handshake(1, data[1:]), 1 + (data[0] if data else 0)),
    lambda data: record(hello_message(*(extension(kind, data[:4096]) for kind in (10, 13, 16, 43, 51, 0xFE0D)))),
)


def _first(data: bytes) -> tuple[int, bytes]:
    """A number to choose by, and the rest."""
    return (data[0], data[1:]) if data else (0, b"")


def read(reader: Classify, data: bytes, cut: int) -> None:
    """A stream's units, one after the other. What a prefix (``cut``) said, the whole must not take back."""
    for _ in range(_MOST_UNITS):
        if not data:
            return
        answer = reader(data)
        early = reader(data[: cut % len(data)]) if cut % len(data) else NEED_MORE
        if isinstance(early, Glimpse):
            further = (early.then or reader)(data)
            assert type(further) is type(answer), f"{further} reads on, {answer} at once"
            assert isinstance(further, Glimpse) or further == answer, f"{further} reads on, {answer} at once"
        elif early is not NEED_MORE:
            assert type(answer) is type(early), f"{early} became {answer}"
            flawed = isinstance(early, Classification) and early.flaw and isinstance(answer, Classification)
            longer = isinstance(early, Step) and isinstance(answer, Step) and _leads_to(early, answer, data)
            same = longer or answer == early
            assert (answer.flaw if flawed else same), f"{early} became {answer}"  # type: ignore[union-attr]
        if isinstance(answer, Classification | Glimpse):
            for name in answer.names:
                assert isinstance(_policy.decide(name, Client(bytes(4))).verdict, Verdict)
        if isinstance(answer, Glimpse | Pending):
            return
        assert 0 < answer.length <= len(data)
        if isinstance(answer, Classification) and answer.confirm is not None:
            assert isinstance(answer.confirm(data), Reply | Pending)
        if answer.then is None:
            return
        data, reader = data[answer.length + answer.skip :], answer.then


def _leads_to(step: Step, longer: Step, data: bytes) -> bool:
    """True where the step and what follows it end where the longer one does, and read on with the same."""
    end = longer.length + longer.skip
    while step.length + step.skip < end:
        further = step.then(data[step.length + step.skip :])
        if not isinstance(further, Step):
            return False
        step = Step(step.length + step.skip + further.length, further.skip, further.then)
    return (step.length + step.skip, step.then) == (end, longer.then)


def read_http(data: bytes) -> None:
    """Requests, chunked bodies, and what follows them."""
    choice, data = _first(data)
    cut, data = _first(data)
    read(_HTTP_READERS[choice % len(_HTTP_READERS)], data, cut)


def read_tls(data: bytes) -> None:
    """First and second hellos: raw, or as the contents of well-formed frames."""
    choice, data = _first(data)
    cut, data = _first(data)
    framed = _FRAMES[choice >> 1 & 7 if choice >> 1 & 7 < len(_FRAMES) else 0](data)
    read(_TLS_READERS[choice & 1], framed, cut * 8)


def read_ssh(data: bytes) -> None:
    """A client's first line."""
    cut, data = _first(data)
    read(ssh.classifier.classify, data, cut)


def read_quic(data: bytes) -> None:
    """A client's datagrams. One that has come already says nothing new."""
    sent = datagrams(data)
    for number, answer in enumerate(said(sent)):
        assert answer is NEED_MORE or isinstance(answer, Classification | Glimpse)
        if isinstance(answer, Classification | Glimpse):
            for name in answer.names:
                assert isinstance(_policy.decide(name, Client(bytes(4))).verdict, Verdict)
            assert answer.then is None or answer.then(sent[number]) is NEED_MORE


def read_replies(data: bytes) -> None:
    """What servers say to a hello, an upgrade, a tunnel: an answer, once given, stays."""
    choice, data = _first(data)
    cut, data = _first(data)
    confirm = _CONFIRMS[choice % len(_CONFIRMS)]
    reply, early = confirm(data), confirm(data[:cut])
    assert isinstance(reply, Reply | Pending)
    if isinstance(reply, Reply):
        assert reply.length > 0
    if isinstance(early, Reply):
        assert reply == early, f"{early} became {reply}"


def read_dns(data: bytes) -> None:
    """A message: whatever is put in its place is whole, and about the same question; over TCP it has the same names."""
    found, framed = _dns.read(data), dns.over_tcp.classify(vector(2, data[:0xFFFF]))
    assert isinstance(found, Message)
    assert isinstance(framed, Classification)
    assert (framed.names, framed.attributes, framed.flaw) == (found.names, found.attributes, found.flaw)
    for name in found.names:
        assert isinstance(_policy.decide(name, Client(bytes(4))).verdict, Verdict)
    for advice in _RULED:
        made = found.edit(advice) if found.edit is not None else None
        if made is None:
            continue
        before, after = message(data), message(made.payload)
        assert (after.flaw, after.id, after.questions) == ("", before.id, before.questions)
        assert after.is_answer
        assert after.end == len(made.payload) <= len(data) + 100
        again = _dns.read(made.payload)
        assert isinstance(again, Message)
        assert again.edit is not None
        assert again.edit(_RULED[0]) in (None, Onward(made.payload))  # nothing is left to strip


def read_packet(data: bytes) -> None:
    """A packet: whatever it is, no byte of its payload comes from elsewhere, and padding changes nothing."""
    parsed = parse(data)
    if not isinstance(parsed, Unreadable):
        assert parsed.payload in data
        assert parse(data + b"padding") == parsed
        if isinstance(parsed, Segment):
            assert parsed.signed in (True, False)


class _Held:
    """A file that is none: what ``Capture`` opens."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def open(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(cast("io.RawIOBase", io.BytesIO(self._data)))


def read_capture(data: bytes) -> None:
    """A capture file, to the last stage of a replay. What is wrong with it is said by one exception only."""
    ended: list[Entry] = []
    readers = (http.classifier, tls.classifier, quic.classifier, _dns)
    by, mirror = (Engine(readers, _policy, OPEN, limits=Limits(max_flows=16)) for _ in range(2))
    gate = Gate(by, mirror, ended.append)
    fragments = Fragments()
    with suppress(BrokenCaptureError), Capture(cast("Path", _Held(data))) as capture:
        for frame in capture.frames():
            try:
                packet = ip_packet(frame.link, frame.data)
            except KeyError:
                continue
            whole = fragments.whole(packet, frame.time) if packet else None
            match parse(whole) if whole is not None else None:
                case Segment() as segment:
                    gate.pass_by(whole or b"", segment, frame.time)
                case Datagram() as datagram:
                    gate.datagram_by(datagram, frame.time)
    gate.close()
    assert not gate.failed, gate.failure
    assert all(entry.row("") for entry in ended)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "http": read_http,
    "tls": read_tls,
    "ssh": read_ssh,
    "quic": read_quic,
    "replies": read_replies,
    "dns": read_dns,
    "packet": read_packet,
    "engine": script.play,
    "captures": read_capture,
}
