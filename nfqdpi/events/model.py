"""What an event says: Suricata's EVE names where EVE has the field. The JSON schema is made of these structs."""

from __future__ import annotations

from time import time
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from nfqdpi.core.verdict import Reason
from nfqdpi.events.stamp import Stamps

# Not checked while reading, which costs the daemon time; what is written has this shape.
Timestamp = Annotated[str, Meta(
    description="Local time, as EVE writes it: 2026-11-22T08:15:00.123456+0100",
    extra_json_schema={"pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}[+-]\d{4}$"})]
Port = Annotated[int, Meta(ge=0, le=65535)]
ClientPort = Annotated[Port, Meta(description="The client's")]
ServerPort = Annotated[Port, Meta(description="The server's, behind any DNAT")]
Count = Annotated[int, Meta(ge=0)]


class Tls(Struct, omit_defaults=True):
    """EVE's ``tls``."""

    sni: Annotated[str, Meta(description="The server name")] = ""
    version: Annotated[str, Meta(description="The newest that the client offers: 1.3")] = ""
    alpn: Annotated[str, Meta(description="The protocols that it offers, with commas between them: h2,http/1.1")] = ""
    ja4: Annotated[str, Meta(description="JA4, the fingerprint of the client's program")] = ""
    ech: Annotated[str, Meta(description='"outer" where an encrypted hello with another name may lie within')] = ""


class Http(Struct, omit_defaults=True):
    """EVE's ``http``."""

    hostname: Annotated[str, Meta(description="The Host, without a port")] = ""
    http_method: Annotated[str, Meta(description="As the client wrote it")] = ""
    url: Annotated[str, Meta(description="As the client wrote it, up to 1024 characters")] = ""


class Quic(Struct, omit_defaults=True):
    """EVE's ``quic``."""

    sni: Annotated[str, Meta(description="The server name")] = ""
    version: Annotated[str, Meta(description="QUIC's: 1, 2, draft-29")] = ""
    alpn: Annotated[str, Meta(description="The protocols that the client offers, with commas between them")] = ""
    ja4: Annotated[str, Meta(description="JA4, the fingerprint of the client's program")] = ""
    ech: Annotated[str, Meta(description='"outer" where an encrypted hello with another name may lie within')] = ""


class Dns(Struct, omit_defaults=True):
    """EVE's ``dns``, of one message."""

    type: Annotated[str, Meta(description='"query" or "answer"')] = ""
    rrname: Annotated[str, Meta(description="The name asked for")] = ""
    rrtype: Annotated[str, Meta(description="The type asked for: A, AAAA, HTTPS, TYPE65280")] = ""
    rcode: Annotated[str, Meta(description="Of an answer: NOERROR, NXDOMAIN")] = ""


class App(Struct, omit_defaults=True):
    """What a classifier says of any other protocol."""

    name: Annotated[str, Meta(description="The first name, where the protocol has names")] = ""
    attributes: Annotated[dict[str, str], Meta(description="What else the classifier says")] = {}


class VerdictPart(Struct):
    """What was decided, and why; ``rule`` is null where none spoke, ``list`` where the rule names none."""

    action: Annotated[Literal["inspect", "accelerate", "block"], Meta(description="What was decided")]
    reason: Annotated[Reason, Meta(description="Why")]
    rule: Annotated[str | None, Meta(description="The rule that decided, or null")]
    list: Annotated[str | None, Meta(description="The list in which that rule found the name, or null")]
    mark: Annotated[int, Meta(ge=0, le=0xFFFFFFFF, description="Our field of the conntrack mark, all other bits 0")]


class Client(Struct, omit_defaults=True):
    """The client beside its address."""

    mac: Annotated[str, Meta(description="Off its own packet; behind another router, that router's")] = ""


class Event(Struct, omit_defaults=True, tag_field="event_type", tag="verdict"):
    """The verdict on a flow or, of a kept-alive HTTP connection, on a request. ``other_names``: names that the same
    request or hello had beside the first."""

    timestamp: Timestamp
    flow_id: Annotated[int, Meta(ge=0, lt=1 << 48, description="The same in all events of a flow")]
    src_ip: Annotated[str, Meta(description="The client's address")]
    src_port: ClientPort
    dest_ip: Annotated[str, Meta(description="The server's, behind any DNAT")]
    dest_port: ServerPort
    proto: Literal["TCP", "UDP"]
    app_proto: Annotated[str, Meta(description='The classifier\'s protocol: "tls", "http"; "unknown" without one')]
    in_iface: Annotated[str, Meta(description="The interface that the client came in by")]
    verdict: VerdictPart
    client: Client
    packets: Annotated[int, Meta(ge=0, description="Payload packets that were looked at")]
    latency_us: Annotated[int, Meta(ge=0, description="From the first of them to the verdict")]
    tls: Tls | None = None
    http: Http | None = None
    quic: Quic | None = None
    dns: Dns | None = None
    app: App | None = None
    dns_name: Annotated[str, Meta(description="What the client asked DNS for when it was given the server's address, "
                                              "where the flow has no name or hides it")] = ""
    advice: Annotated[str, Meta(description="The plugin that wants it so, and why: NAME: WHY")] = ""
    sni_mismatch: Annotated[str, Meta(description="The same, where the flow says another name")] = ""
    other_names: Annotated[tuple[str, ...], Meta(description="Up to 16 names beside the first; honest clients have "
                                                             "none")] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names that were judged."""
        name = (self.tls.sni if self.tls else self.http.hostname if self.http else self.quic.sni if self.quic else
                self.dns.rrname if self.dns else self.app.name if self.app else "")
        return tuple(filter(None, (name, *self.other_names, self.dns_name)))


class NoticePart(Struct, omit_defaults=True):
    """``kind`` is for programs, ``message`` for people."""

    kind: Annotated[str, Meta(description="For programs", extra_json_schema={"pattern": "^[a-z_]+$"})]
    message: Annotated[str, Meta(description="For people")]
    count: Annotated[Count, Meta(description="How many, where it is about several")] = 0


class Notice(Struct, tag_field="event_type", tag="notice"):
    """What befell the gateway itself. Of kind ``events_lost``: ``count`` events before this line are missing here."""

    timestamp: Timestamp
    notice: NoticePart


Line = Event | Notice


def notice(kind: str, message: str, count: int = 0) -> bytes:
    """A whole line."""
    return msgspec.json.encode(Notice(Stamps().text(time()), NoticePart(kind, message, count))) + b"\n"


def sentence(line: Line) -> str:
    """An event in words; names are as they came off the wire."""
    if isinstance(line, Notice):
        return line.notice.message
    what, verdict = line.names[0] if line.names else f"{line.app_proto} without a name", line.verdict
    why = f"rule {verdict.rule!r}" if verdict.rule is not None else str(verdict.reason)
    why += f", list {verdict.list!r}" if verdict.list is not None else ""
    return f"{verdict.action} {what} for {line.src_ip} to {line.dest_ip} port {line.dest_port}: {why}"


def schema() -> dict[str, Any]:
    """The JSON schema of a line."""
    made = msgspec.json.schema(Line)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "A line of nfqdpi's event file", **made}
