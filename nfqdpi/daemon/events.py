"""From a judgement to the event that tells it, and to what the supervisor keeps of it."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from functools import lru_cache
from itertools import islice
from typing import Literal

from nfqdpi.core.classifier import Classification
from nfqdpi.core.decision import Judgement
from nfqdpi.core.packet import TCP
from nfqdpi.core.verdict import Verdict
from nfqdpi.events.model import App, Client, Dns, Event, Http, Quic, Tls, VerdictPart, timestamp
from nfqdpi.kernel import passage
from nfqdpi.kernel.clock import Moment

_LONGEST_TEXT = 1024  # characters of anything that came off the wire
_FLOW_ID = (1 << 48) - 1
_MOST_NAMES = 16  # of one request or hello, beside the first, and attributes; honest ones have none
_UNKNOWN = "unknown"  # protocol
_NOTES = ("advice", "dns", "sni_mismatch")  # told on their own

ACTION_OF: dict[Verdict, Literal["inspect", "accelerate", "block"]] = {
    Verdict.INSPECT: "inspect", Verdict.ACCELERATE: "accelerate", Verdict.BLOCK: "block", Verdict.BLOCK_SILENT: "block",
}


def event(judgement: Judgement, mark: int, answered: Moment) -> Event:
    """The event that tells a judgement; ``mark`` is what the flow has got by it (in strict mode an allowed flow may be
    watched on), ``answered`` when."""
    key, client, outcome, found = judgement.key, judgement.client, judgement.outcome, judgement.classification
    names, joined = _names(found)
    made = Event(
        timestamp=timestamp(answered.wall),
        flow_id=hash((key, judgement.base)) & _FLOW_ID,  # keyed by the interpreter, and workers are forks of one
        src_ip=_text(key.src), src_port=key.sport, dest_ip=_text(key.dst), dest_port=key.dport,
        proto="TCP" if key.proto == TCP else "UDP",
        app_proto=found.protocol or _UNKNOWN if found else _UNKNOWN,
        in_iface=_interface_name(client.interface),
        verdict=VerdictPart(ACTION_OF[outcome.verdict], outcome.reason, outcome.rule, outcome.list, mark),
        client=_client(client.mac),
        packets=judgement.packets,
        latency_us=max(0, round((answered.steady - judgement.since) * 1e6)),
    )
    if found:
        attributes = found.attributes
        if len(names) > 1:
            made.other_names = names[1:]
        if joined:
            made.dns_name = joined
        if "advice" in attributes:
            made.advice = attributes["advice"][:_LONGEST_TEXT]
        if "sni_mismatch" in attributes:
            made.sni_mismatch = attributes["sni_mismatch"][:_LONGEST_TEXT]
        _tell(made, found.protocol, names[0] if names else "", attributes)
    return made


def _tell(made: Event, protocol: str, name: str, attributes: Mapping[str, str]) -> None:
    """The part of an event that is the protocol's own."""
    get = attributes.get
    if protocol == "tls":
        made.tls = Tls(name, get("version", ""), get("alpn", "")[:_LONGEST_TEXT], get("ja4", ""), get("ech", ""))
    elif protocol == "http":
        made.http = Http(name, get("method", ""), get("url", "")[:_LONGEST_TEXT])
    elif protocol == "quic":
        made.quic = Quic(name, get("quic", ""), get("alpn", "")[:_LONGEST_TEXT], get("ja4", ""), get("ech", ""))
    elif protocol == "dns":
        made.dns = Dns(get("type", ""), name, get("rrtype", ""), get("rcode", ""))
    elif name or attributes:
        made.app = App(name, {key[:_LONGEST_TEXT]: value[:_LONGEST_TEXT]
                              for key, value in islice(attributes.items(), _MOST_NAMES) if key not in _NOTES})


def row(judgement: Judgement, state: Verdict) -> tuple[bytes, tuple[object, ...]]:
    """What a judgement puts on record: a record.Row, as it is when it comes out of its message; ``state`` is what the
    flow's mark says then."""
    key, client, outcome, found = judgement.key, judgement.client, judgement.outcome, judgement.classification
    names, joined = _names(found)
    protocol, asks = (found.protocol or _UNKNOWN, found.asks) if found else (_UNKNOWN, False)
    told = names if "" not in names and not joined else tuple([name for name in (*names, joined) if name])
    return passage.key(key.proto, key.src, key.sport, key.dst, key.dport), (
        told, protocol, client, outcome.verdict, outcome.reason, outcome.rule, state, Verdict.UNSEEN, asks)


def _names(found: Classification | None) -> tuple[tuple[str, ...], str]:
    """A unit's own names as the wire has them, as many and as much as is told, and what DNS knows of it."""
    if found is None:
        return (), ""
    names, joined = found.names, found.attributes.get("dns", "")
    if joined:
        names = tuple([name for name in names if name != joined])
    return tuple([name[:_LONGEST_TEXT] for name in names[: 1 + _MOST_NAMES]]), joined[:_LONGEST_TEXT]


@lru_cache(maxsize=4096)
def _client(mac: bytes) -> Client:
    return Client(mac.hex(":") if any(mac) else "")


@lru_cache(maxsize=4096)
def _text(address: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)


@lru_cache(maxsize=256)
def _interface_name(index: int) -> str:
    try:
        return socket.if_indextoname(index)
    except OSError:
        return ""
