"""Verdict events: what one says (Suricata's EVE names where EVE has the field), and the file they go to."""

from __future__ import annotations

import os
import socket
from datetime import datetime
from functools import lru_cache
from hashlib import blake2b
from ipaddress import ip_address
from pathlib import Path

import msgspec

from nfqdpi.core.decision import Judgement
from nfqdpi.core.packet import TCP
from nfqdpi.core.verdict import Verdict

_LONGEST_TEXT = 1024  # characters of anything that came off the wire
_MOST_NAMES = 16  # of one request or hello, beside the first; honest ones have none


class Tls(msgspec.Struct, omit_defaults=True):
    """EVE's ``tls``."""

    sni: str = ""
    version: str = ""
    alpn: str = ""
    ja4: str = ""
    ech: str = ""


class Http(msgspec.Struct, omit_defaults=True):
    """EVE's ``http``."""

    hostname: str = ""
    http_method: str = ""
    url: str = ""


class VerdictPart(msgspec.Struct):
    """What was decided, and why; ``rule`` is null where none spoke, ``list`` where the rule names none."""

    action: str
    reason: str
    rule: str | None
    list: str | None
    mark: int


class Client(msgspec.Struct, omit_defaults=True):
    """The client beside its address."""

    mac: str = ""


class Event(msgspec.Struct, omit_defaults=True):
    """One line of the event file. ``other_names``: names that the same request or hello had beside the first."""

    timestamp: str
    flow_id: int
    event_type: str
    src_ip: str
    src_port: int
    dest_ip: str
    dest_port: int
    proto: str
    app_proto: str
    in_iface: str
    verdict: VerdictPart
    client: Client
    packets: int
    latency_us: int
    tls: Tls | None = None
    http: Http | None = None
    other_names: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names that were judged."""
        name = self.tls.sni if self.tls else self.http.hostname if self.http else ""
        return (name, *self.other_names) if name else ()


def event(judgement: Judgement, mark: int, now: float) -> Event:
    """The event that tells a judgement; ``mark`` is what the flow has got by it (in strict mode an allowed flow may be
    watched on), ``now`` in the seconds of ``judgement.since``."""
    key, client, outcome, found = judgement.key, judgement.client, judgement.outcome, judgement.classification
    name = found.name or "" if found else ""
    attributes = found.attributes if found else {}
    action = "block" if outcome.verdict is Verdict.BLOCK_SILENT else outcome.verdict.name.lower()
    made = Event(
        timestamp=datetime.now().astimezone().strftime("%Y-%m-%dT%H:%M:%S.%f%z"),  # as EVE writes it
        flow_id=int.from_bytes(blake2b(repr((key, judgement.since)).encode(), digest_size=6).digest(), "big"),
        event_type="verdict",
        src_ip=str(ip_address(key.src)), src_port=key.sport, dest_ip=str(ip_address(key.dst)), dest_port=key.dport,
        proto="TCP" if key.proto == TCP else "UDP",
        app_proto=found.protocol if found else "unknown",
        in_iface=_interface_name(client.interface),
        verdict=VerdictPart(action, outcome.reason, outcome.rule, outcome.list, mark),
        client=Client(client.mac.hex(":") if any(client.mac) else ""),
        packets=judgement.packets,
        latency_us=max(0, round((now - judgement.since) * 1e6)),
    )
    if found:
        made.other_names = tuple(other[:_LONGEST_TEXT] for other in found.names[1 : 1 + _MOST_NAMES])
    if found and found.protocol == "tls":
        made.tls = Tls(name, attributes.get("version", ""), attributes.get("alpn", "")[:_LONGEST_TEXT],
                       attributes.get("ja4", ""), attributes.get("ech", ""))
    elif found and found.protocol == "http":
        made.http = Http(name[:_LONGEST_TEXT], attributes.get("method", ""), attributes.get("url", "")[:_LONGEST_TEXT])
    return made


@lru_cache(maxsize=256)
def _interface_name(index: int) -> str:
    try:
        return socket.if_indextoname(index)
    except OSError:
        return ""


class EventFile:
    """Appends lines to a file; one writer a process, whole lines only. ``path`` "" switches it off.

    Raises OSError where the file cannot be opened; a line that cannot be written later is counted in ``lost``.
    """

    def __init__(self, path: str) -> None:
        self.lost = 0
        self._fd: int | None = None
        if path:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            # Not blocking: a pipe whose reader is slow, or not there, must not hold up the supervisor.
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
            self._fd = os.open(path, flags, 0o640)

    def write(self, lines: bytes | bytearray) -> None:
        """Append whole lines."""
        if self._fd is None:
            return
        try:
            while lines:
                lines = lines[os.write(self._fd, lines) :]
        except OSError:
            self.lost += lines.count(b"\n")
