"""From a judgement to the event that tells it, and to what the supervisor keeps of it: both as they are sent."""

from __future__ import annotations

import os
import socket
from itertools import islice
from typing import Final, Literal

import msgspec

from nfqdpi.core.decision import Client, Judgement
from nfqdpi.core.memo import Memo
from nfqdpi.core.packet import TCP
from nfqdpi.core.verdict import MarkField, Reason, Verdict
from nfqdpi.events import model
from nfqdpi.events.model import App, Dns, Http, Quic, Tls, VerdictPart
from nfqdpi.events.stamp import Stamps
from nfqdpi.kernel import passage
from nfqdpi.kernel.clock import Moment

_LONGEST_TEXT: Final = 1024  # characters of anything that came off the wire
_FLOW_ID: Final = (1 << 48) - 1
_MOST_NAMES: Final = 16  # of one request or hello, beside the first, and attributes; honest ones have none
_UNKNOWN: Final = "unknown"  # protocol
_NOTES: Final = ("advice", "dns", "sni_mismatch")  # told on their own

ACTION_OF: dict[Verdict, Literal["inspect", "accelerate", "block"]] = {
    Verdict.INSPECT: "inspect", Verdict.ACCELERATE: "accelerate", Verdict.BLOCK: "block", Verdict.BLOCK_SILENT: "block",
}

_json: Final = msgspec.json.Encoder().encode
_pack: Final = msgspec.msgpack.Encoder().encode
_LENGTHS: Final = [bytes((length,)) for length in range(256)]
_NUMBERS: Final = [str(number) for number in range(1024)]
_NONE: Final[dict[str, str]] = {}

# What tells flows of one client apart that are otherwise the same: protocol and IP's protocol; verdict, reason, rule
# and list; what the mark says; whether it asks.
_Kind = tuple[Client, str, int, Verdict, Reason, str | None, str | None, Verdict, bool]


class Wording:
    """Words a judgement as a ``Row`` of the record and as an ``Event`` of the event file. What many have in common is
    encoded once. What came off the wire is encoded by msgspec: no byte of it is ours to escape."""

    def __init__(self, field: MarkField) -> None:
        self._field = field
        self._stamps = Stamps()
        self._interfaces = Memo(_interface_name, 256)
        self._servers = Memo(_server, 4096)
        self._kinds = Memo(self._kind, 4096)
        self._hellos = Memo(_hello, 256)

    def told(self, judgement: Judgement, state: Verdict, answered: Moment, *, line: bool) -> tuple[bytes, bytes]:
        """The row as msgpack has it, and the line where one is wanted, else b"". ``state``: what the flow's mark says
        by the judgement (in strict mode an allowed flow may be watched on); ``answered``: when."""
        src, dst, sport, dport, proto = judgement.key
        outcome, found = judgement.outcome, judgement.classification
        names: tuple[str, ...] = ()
        joined, protocol, asks, attributes = "", _UNKNOWN, False, _NONE
        if found is not None:
            names, protocol, asks = found.names, found.protocol or _UNKNOWN, found.asks
            attributes = found.attributes if isinstance(found.attributes, dict) else dict(found.attributes)
            if joined := attributes.get("dns", ""):
                names = tuple([name for name in names if name != joined])
                joined = joined[:_LONGEST_TEXT]
            if len(names) > 1 or (names and len(names[0]) > _LONGEST_TEXT):
                names = tuple([name[:_LONGEST_TEXT] for name in names[: 1 + _MOST_NAMES]])
        judged = names if not joined and "" not in names else tuple([name for name in (*names, joined) if name])
        kind_row, client, kind = self._kinds[
            judgement.client, protocol, proto, outcome.verdict, outcome.reason, outcome.rule, outcome.list, state, asks]
        key = passage.key(proto, src, sport, dst, dport)
        # msgpack: an array of two, of which the first is so many bytes, the second an array of nine.
        row = b"\x92\xc4%b%b\x99%b%b" % (_LENGTHS[len(key)], key, _pack(judged), kind_row)
        if not line:
            return row, b""
        flow_id = hash((judgement.key, judgement.base)) & _FLOW_ID  # keyed by the interpreter; workers are forks of one
        packets, took = judgement.packets, answered.steady - judgement.since
        head = (
            f'{{"event_type":"verdict","timestamp":"{self._stamps.text(answered.wall)}","flow_id":{flow_id}'
            f'{client}{sport}{self._servers[dst]}{_NUMBERS[dport] if dport < 1024 else str(dport)}'
            f'{kind}{_NUMBERS[packets] if packets < 1024 else str(packets)},'
            f'"latency_us":{int(took * 1e6 + 0.5) if took > 0 else 0}').encode()
        if found is None:
            return row, head + b"}\n"
        part = self._part(found.protocol, names[0] if names else "", attributes)
        if joined or len(names) > 1 or "advice" in attributes or "sni_mismatch" in attributes:
            part += _notes(names[1:], joined, attributes)
        return row, b"%b%b}\n" % (head, part)

    def _kind(self, of: _Kind) -> tuple[bytes, str, str]:
        """What flows of a kind have in common: behind the names of a row; in a line, in front of the client's port,
        and between the server's and the number of packets."""
        client, protocol, proto, verdict, reason, rule, on, state, asks = of
        row = b"".join(map(_pack, (protocol, client, verdict, reason, rule, state, Verdict.UNSEEN, asks)))
        line = b',"proto":"%b","app_proto":%b,"in_iface":%b,"verdict":%b,"client":%b,"packets":' % (
            b"TCP" if proto == TCP else b"UDP", _json(protocol), _json(self._interfaces[client.interface]),
            _json(VerdictPart(ACTION_OF[verdict], reason, rule, on, self._field.value(state))),
            _json(model.Client(client.mac.hex(":") if any(client.mac) else "")))
        return row, f',"src_ip":"{_text(client.address)}","src_port":', line.decode()

    def _part(self, protocol: str, name: str, attributes: dict[str, str]) -> bytes:
        """The part of an event that is the protocol's own, as it goes on behind others."""
        if protocol == "http":
            method, url = _said(attributes, "method"), _said(attributes, "url")
            if name and method and url:
                return b',"http":{"hostname":%b,"http_method":%b,"url":%b}' % (_json(name), _json(method), _json(url))
            return b',"http":' + _json(Http(name, method, url))
        if protocol in {"tls", "quic"}:
            alone, before, behind = self._hellos[
                protocol, _said(attributes, "version" if protocol == "tls" else "quic"), _said(attributes, "alpn"),
                _said(attributes, "ja4"), _said(attributes, "ech")]
            return b"%b%b%b" % (before, _json(name), behind) if name else alone
        if protocol == "dns":
            return b',"dns":' + _json(Dns(_said(attributes, "type"), name, _said(attributes, "rrtype"),
                                          _said(attributes, "rcode")))
        if name or attributes:
            return b',"app":' + _json(App(name, {
                key[:_LONGEST_TEXT]: value[:_LONGEST_TEXT]
                for key, value in islice(attributes.items(), _MOST_NAMES) if key not in _NOTES}))
        return b""


def _said(attributes: dict[str, str], key: str) -> str:
    """As much of an attribute as is told; "" without one."""
    return attributes.get(key, "")[:_LONGEST_TEXT]


def _hello(of: tuple[str, str, str, str, str]) -> tuple[bytes, bytes, bytes]:
    """The part of a protocol whose hello has these: without a name; and what is in front of one, and behind."""
    protocol, *texts = of
    part = (Tls if protocol == "tls" else Quic)("", *texts)
    before, alone = f',"{protocol}":'.encode(), _json(part)
    return before + alone, before + b'{"sni":', b"," * (len(alone) > 2) + alone[1:]


def _notes(others: tuple[str, ...], joined: str, attributes: dict[str, str]) -> bytes:
    """What else an event may have to say, in the order of its fields."""
    said = b',"dns_name":' + _json(joined) if joined else b""
    for note in ("advice", "sni_mismatch"):
        if text := _said(attributes, note):
            said += b',"%b":%b' % (note.encode(), _json(text))
    return said + b',"other_names":' + _json(others) if others else said


def _server(address: bytes) -> str:
    """What a line has in front of the server's port."""
    return f',"dest_ip":"{_text(address)}","dest_port":'


def _text(address: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)


def _interface_name(index: int) -> str:
    try:
        return os.fsencode(socket.if_indextoname(index)).decode(errors="backslashreplace")  # any bytes may be a name
    except OSError:
        return ""
