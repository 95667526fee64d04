"""The packets of flows as the queue hands them over, always the same: `python -m bench.transcript MODE FLOWS` has an
engine decide them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

from bench.ground import HELLOS
from nfqdpi import assemble
from nfqdpi.config import Config
from nfqdpi.config.model import Inspect, Rule
from nfqdpi.config.values import Domain
from nfqdpi.core.decision import Path
from nfqdpi.core.engine import Engine
from nfqdpi.core.packet import TCP, Flags
from nfqdpi.core.verdict import Verdict

_IPV4, _TCP_HEADER = Struct("!BBHHHBBH4s4s"), Struct("!HHIIBBHHH")
_TIMESTAMPS = bytes.fromhex("0101080a0001e2400003a980")  # the options that Linux sends
_SEGMENT = 1448  # bytes of payload
_CLIENT, _SERVER = b"\x0a\x01\x00\x01", b"\x0a\x02\x00\x01"
_REQUEST = (b"GET /index.html HTTP/1.1\r\nHost: www.allowed.example\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n"
            b"Accept: */*\r\nAccept-Language: en\r\nAccept-Encoding: gzip, br\r\n\r\n")
_SERVER_HELLO = (b"\x16\x03\x03\x00\x5a\x02\x00\x00\x56\x03\x03" + bytes(range(32)) + b"\x00\x13\x01\x00\x00\x2e"
                 b"\x00\x2b\x00\x02\x03\x04\x00\x33\x00\x24\x00\x1d\x00\x20" + bytes(32))
HTTP, TLS = 80, 443


class Queued(NamedTuple):
    """A packet, and what the flow's mark said of it."""

    data: bytes
    state: Verdict


def engine(*, strict: bool) -> Engine:
    """One with the built-in classifiers and a few rules; its events are the caller's."""
    rules = tuple(Rule(action="block", name=f"rule {n}", domains=(Domain(f"blocked{n}.example"),)) for n in range(10))
    config = Config(inspect=Inspect(mode="strict" if strict else "fast"), rule=rules)
    return assemble.engine(config, assemble.policy(config))


def flow(number: int, port: int, hello: str = "curl", *, strict: bool) -> list[Queued]:
    """What the rules of a mode queue of one allowed flow."""
    unit = _REQUEST if port == HTTP else (HELLOS / f"{hello}.bin").read_bytes()
    sport, isn = 10_000 + number % 50_000, number * 7919
    packets = [Queued(_packet(False, sport, port, 5000, isn + 1, Flags.SYN | Flags.ACK, b""), Verdict.UNSEEN)] * strict
    state = Verdict.INSPECT if strict else Verdict.UNSEEN
    for at in range(0, len(unit), _SEGMENT):
        data = _packet(True, sport, port, isn + 1 + at, 5001, Flags.ACK, unit[at : at + _SEGMENT])
        packets.append(Queued(data, state))
        state = Verdict.INSPECT
    if strict and port == TLS:
        data = _packet(False, sport, port, 5001, isn + 1 + len(unit), Flags.ACK, _SERVER_HELLO)
        packets.append(Queued(data, Verdict.CONFIRM))
    elif strict:
        data = _packet(True, sport, port, isn + 1 + len(unit), 5001, Flags.FIN | Flags.ACK, b"")
        packets.append(Queued(data, Verdict.INSPECT))
    return packets


def _packet(to_server: bool, client: int, server: int, seq: int, ack: int, flags: int,  # noqa: PLR0913, PLR0917
            payload: bytes) -> bytes:
    ends = (_CLIENT, _SERVER) if to_server else (_SERVER, _CLIENT)
    ports = (client, server) if to_server else (server, client)
    header = _TCP_HEADER.size + len(_TIMESTAMPS)
    return (_IPV4.pack(0x45, 0, _IPV4.size + header + len(payload), 0, 0x4000, 63, TCP, 0, *ends)
            + _TCP_HEADER.pack(*ports, seq % 2**32, ack % 2**32, header << 2, flags, 500, 0, 0) + _TIMESTAMPS + payload)


def packets(flows: int, port: int, *, strict: bool) -> Iterator[Queued]:
    """Of so many flows, one after the other."""
    for number in range(flows):
        yield from flow(number, port, strict=strict)


def main() -> None:
    mode, flows = sys.argv[1:]
    strict = mode == "strict"
    judge = engine(strict=strict)
    now, path = 0.0, Path(2, 3, b"\x02\x00\x00\x00\x00\x01\x00\x00")
    judgements = 0
    for port in (HTTP, TLS):
        for data, state in packets(int(flows), port, strict=strict):
            now += 0.0001
            judgements += len(judge.process(data, now, path, state).judgements)
    if judgements != 2 * int(flows):
        sys.exit(f"{judgements} judgements of {2 * int(flows)} flows")


if __name__ == "__main__":
    main()
