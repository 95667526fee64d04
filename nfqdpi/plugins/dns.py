"""DNS: who asks for which name, and what is answered (RFC 1035), over UDP and TCP.

Every message is judged by itself, and stands for the names in it: a query for the one it asks for, an answer for those
that lead from there to addresses, too (CNAME, DNAME, the targets of services). Over UDP a ruling is carried out on the
message: a query for a blocked name is answered here, an answer with one is replaced, so that no real address gets
through. In a TCP stream no byte can be replaced: a blocked name ends it.

Attributes: ``type`` ("query" or "answer"), ``rrtype`` (what is asked for), ``rcode`` (of an answer).

Nothing on the ports is another's protocol: a stranger's first message must not free the flow for a query behind it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Annotated, Literal

from msgspec import Meta, Struct

from nfqdpi.core.classifier import (
    NEED_MORE,
    Advised,
    Answer,
    Back,
    Classification,
    Classifier,
    DatagramClassifier,
    Known,
    Message,
    Onward,
)
from nfqdpi.core.plugin import Plugin
from nfqdpi.core.verdict import Verdict
from nfqdpi.core.wire import Malformed
from nfqdpi.plugins.dns_answer import BLOCKED, FORGED, addresses, denial, without_ech
from nfqdpi.plugins.dns_message import (
    AAAA,
    CNAME,
    DNAME,
    IN,
    LONGEST_TTL,
    NO_ERROR,
    QUERY,
    SERVICES,
    A,
    Record,
    Wire,
    parameters,
    parse,
)

_PORT = 53
_LENGTH = 2  # bytes in front of each message over TCP (RFC 7766, 8)
_MOST_BYTES = _LENGTH + 0xFFFF
_ALIASES = (CNAME, DNAME, *SERVICES)
_IPV4_HINT, _IPV6_HINT = 4, 6  # service parameters (RFC 9460, 7.3)
_CANARY = "use-application-dns.net"  # where it does not exist, Firefox asks this resolver and not its own
_NULL = (bytes(4), bytes(16))  # 0.0.0.0 and ::, which lead nowhere

# The names that are written for the numbers (the registry of RFC 6895, 3.1 and 2.3).
_KINDS = {1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 13: "HINFO", 15: "MX", 16: "TXT", 28: "AAAA", 33: "SRV",
          35: "NAPTR", 39: "DNAME", 43: "DS", 46: "RRSIG", 47: "NSEC", 48: "DNSKEY", 52: "TLSA", 64: "SVCB",
          65: "HTTPS", 251: "IXFR", 252: "AXFR", 255: "ANY", 257: "CAA"}
_RCODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}

# --- our limits ---
_MOST_NAMES = 64  # in a message; resolvers follow a chain of 8 to 16
_MOST_KNOWN = 64  # addresses of an answer that are remembered


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """``[plugin.dns]``. ``blocked``: what is said of a blocked name, that it does not exist or has the null address.
    ``ttl``: seconds for which our answers may be kept. ``strip_ech``: no keys for encrypted hellos. ``canary``: Firefox
    is told to ask this resolver."""

    blocked: Literal["nxdomain", "zero"] = "nxdomain"
    ttl: Annotated[int, Meta(ge=0, le=LONGEST_TTL)] = 60
    strip_ech: bool = False
    canary: bool = True


def _read(payload: bytes, settings: Settings) -> Message:
    """One message over UDP."""
    wire = parse(payload)
    names = _names(wire)
    flaw = wire.flaw or _excess(names)
    edit = partial(_edit, wire, settings) if wire.opcode == QUERY and not flaw else None
    known = () if flaw else tuple(islice(_known(wire), _MOST_KNOWN))
    return Message("dns", names, _attributes(wire), flaw, not wire.is_answer, edit, known)


def _classify(prefix: bytes) -> Answer:
    """One of a client's messages over TCP."""
    length = _LENGTH + int.from_bytes(prefix[:_LENGTH], "big")
    if len(prefix) < length:
        return NEED_MORE
    wire = parse(prefix[_LENGTH:length])
    names = _names(wire)
    return Classification("dns", names, _attributes(wire), wire.flaw or _excess(names), length, then=_classify,
                          asks=True)


def _names(wire: Wire) -> tuple[str, ...]:
    """The names that the message stands for; the root is none."""
    names = [question.name for question in wire.questions]
    for record in wire.answers:
        names.append(record.name)
        if record.kind in _ALIASES:
            names += record.names
    return tuple(dict.fromkeys(filter(None, names)))


def _excess(names: tuple[str, ...]) -> str:
    return f"{len(names)} names" if len(names) > _MOST_NAMES else ""


def _attributes(wire: Wire) -> dict[str, str]:
    attributes = {"type": "answer" if wire.is_answer else "query"}
    if wire.questions:
        kind = wire.questions[0].kind
        attributes["rrtype"] = _KINDS.get(kind, f"TYPE{kind}")  # RFC 3597, 5
    if wire.is_answer:
        attributes["rcode"] = _RCODES.get(wire.rcode, str(wire.rcode))
    return attributes


def _edit(wire: Wire, settings: Settings, ruling: Advised) -> Onward | Back | None:
    """What becomes of a message."""
    if ruling.verdict is Verdict.BLOCK_SILENT:
        return None
    instead = _instead(wire, settings, ruling)
    if instead is None:
        return None
    return Onward(instead) if wire.is_answer else Back(instead)


def _instead(wire: Wire, settings: Settings, ruling: Advised) -> bytes | None:
    """The answer that is given in place of the resolver's; None: the message may pass."""
    canary = settings.canary and any(question.name == _CANARY for question in wire.questions)
    if canary or (ruling.verdict.blocks and settings.blocked == "nxdomain"):
        return denial(wire, settings.ttl, BLOCKED)
    if ruling.verdict.blocks:
        return addresses(wire, _NULL, settings.ttl, BLOCKED)
    if ruling.redirect:
        return addresses(wire, ruling.redirect, settings.ttl, FORGED)
    if settings.strip_ech and wire.is_answer:
        try:
            return without_ech(wire)
        except Malformed:
            return addresses(wire, (), settings.ttl, FORGED)
    return None


def _known(wire: Wire) -> Iterator[Known]:
    """What an answer says of the name that was asked: its addresses, also at the end of a chain of aliases, for as long
    as the whole chain lasts."""
    if not wire.is_answer or wire.rcode != NO_ERROR or wire.opcode != QUERY or not wire.questions:
        return
    asked = name = wire.questions[0].name
    aliases = {record.name: record for record in reversed(wire.answers) if record.kind == CNAME and record.names}
    reached = {asked: LONGEST_TTL}  # by name: for how long it stands for the one that was asked
    while (alias := aliases.get(name)) and alias.names[0] not in reached:
        reached[alias.names[0]] = min(reached[name], alias.ttl)
        name = alias.names[0]
    for record in wire.answers:
        if record.group == IN and record.name in reached:
            for address in _addresses(wire, record):
                yield Known(asked, address, min(reached[record.name], record.ttl))


def _addresses(wire: Wire, record: Record) -> Iterator[bytes]:
    """The addresses in a record: its own, or a service's hints."""
    if record.kind in (A, AAAA):
        yield wire.data[record.data : record.end]
    elif record.kind in SERVICES:
        for key, start, end in parameters(wire.data, record.rest, record.end):
            size = {_IPV4_HINT: 4, _IPV6_HINT: 16}.get(key)
            if size is not None:
                yield from (wire.data[at : at + size] for at in range(start, end - size + 1, size))


def over_udp(settings: Settings) -> DatagramClassifier:
    """The classifier of datagrams, for these settings."""
    return DatagramClassifier("dns", "dns", "1", partial(_read, settings=settings), ports=(_PORT,), both=True)


over_tcp = Classifier("dns-tcp", "dns", "1", needs=_MOST_BYTES, classify=_classify, ports=(_PORT,), elsewhere=False)
plugin = Plugin(lambda settings: (over_udp(settings), over_tcp), Settings, enabled=False)
