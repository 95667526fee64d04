"""Captured datagrams to rows: QUIC one a flow, DNS one a message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from nfqdpi.config import Config
from nfqdpi.replay.run import Replay, Tally
from nfqdpi.testing import dns_answer, dns_query
from nfqdpi.testing.capture import ether, pcap
from nfqdpi.testing.packets import CLIENT, CLIENT6, SERVER, SERVER6, ip, tcp, udp
from nfqdpi.testing.quic import crypto, flight, initial
from nfqdpi.testing.tls import hello
from tests.replay.files import names, rows_of

_SHORT = b"\x40" + bytes(40)  # a packet with a short header


def _config(**table: Any) -> Config:
    return msgspec.convert(table, Config, strict=False, dec_hook=lambda kind, value: kind.parse(value))


_BLOCKING = {"rule": [{"name": "no", "action": "block", "domains": ["bad.example"]}]}


def forth(payload: bytes, *, sport: int = 40000, dport: int = 443, six: bool = False) -> bytes:
    ends = (CLIENT6, SERVER6) if six else (CLIENT, SERVER)
    return ip(17, udp(payload, sport=sport, dport=dport), *ends)


def back(payload: bytes, *, sport: int = 40000, dport: int = 443) -> bytes:
    return ip(17, udp(payload, sport=dport, dport=sport), SERVER, CLIENT)


def quic(name: str, *cuts: int, **how: bytes | int) -> list[bytes]:
    return flight(hello(name)[5:], cuts, **how)


@pytest.mark.parametrize("mode", ["strict", "fast"])
@pytest.mark.parametrize(("six", "dport"), [(False, 443), (True, 443), (False, 8443)])
def test_quic(tmp_path: Path, mode: str, six: bool, dport: int) -> None:
    """A flow is a row, whatever its port; a hello over several datagrams is read in any order."""
    packets = [forth(one, dport=dport, six=six) for one in quic("a.example", 30, 60)]
    rows = rows_of(tmp_path, [*packets[::-1], forth(_SHORT, dport=dport, six=six)], _config(inspect={"mode": mode}))
    (row,) = rows
    assert row == {
        "pcap": str(tmp_path / "some.pcap"), "proto": "quic", "src": CLIENT6 if six else CLIENT, "sport": 40000,
        "dst": SERVER6 if six else SERVER, "dport": dport, "name": "a.example",
        "verdict": "accelerate", "reason": "default", "rule": None,
    }


def test_a_later_connection_is_judged(tmp_path: Path) -> None:
    """As on a strict gateway: the row has the first name, and the verdict that the flow came to. In fast mode the first
    verdict is the flow's."""
    packets = [forth(one) for one in (*quic("a.example"), *quic("bad.example", dcid=b"another one"))]
    for mode, verdict in (("strict", "block"), ("fast", "accelerate")):
        (row,) = rows_of(tmp_path, packets, _config(**_BLOCKING, inspect={"mode": mode}))
        assert (row["name"], row["verdict"]) == ("a.example", verdict)


def test_what_only_looks_like_quic(tmp_path: Path) -> None:
    """On a port of its own a packet that does not open is a flaw; on any other it is something else."""
    broken = initial(crypto(b"no hello"))
    assert [row["reason"] for row in rows_of(tmp_path, [forth(broken)])] == ["malformed"]
    assert rows_of(tmp_path, [forth(broken, dport=9), forth(_SHORT, sport=3, dport=9), forth(b"", dport=8)]) == []
    rows = rows_of(tmp_path, [forth(broken, dport=9), forth(_SHORT, sport=3, dport=9)], show_all=True)
    assert [(row["proto"], row["verdict"]) for row in rows] == [(None, "unseen"), (None, "inspect")]


def test_the_server_spoke_first(tmp_path: Path) -> None:
    """Where the capture begins with the server's side, the port says which it is."""
    (row,) = rows_of(tmp_path, [back(_SHORT), *map(forth, quic("a.example"))])
    assert (row["src"], row["name"]) == (CLIENT, "a.example")


def test_dns(tmp_path: Path) -> None:
    """Each message is a row, in the client's direction, a question or an answer, judged by the policy; though the
    plugin is not enabled on the gateway. The configuration may still disable it."""
    packets = [forth(dns_query("a.example"), dport=53), back(dns_answer("a.example", "192.0.2.9"), dport=53),
               forth(dns_query("bad.example"), dport=53), *map(forth, quic("b.example"))]
    rows = rows_of(tmp_path, packets, _config(**_BLOCKING))
    assert [(row["proto"], row["name"], row["verdict"], row["src"], row["dport"]) for row in rows] == [
        ("dns", "a.example", "accelerate", CLIENT, 53), ("dns", "a.example", "accelerate", CLIENT, 53),
        ("dns", "bad.example", "block", CLIENT, 53), ("quic", "b.example", "accelerate", CLIENT, 443)]
    disabled = _config(**_BLOCKING, plugin={"dns": {"enabled": False}})
    assert names(rows_of(tmp_path, packets, disabled)) == ["b.example"]


def test_an_answer_alone(tmp_path: Path) -> None:
    """Of a flow whose question was not captured."""
    (row,) = rows_of(tmp_path, [back(dns_answer("a.example", "192.0.2.9"), dport=53)])
    assert (row["name"], row["src"], row["dport"]) == ("a.example", CLIENT, 53)


def test_flows_of_one_file_are_no_others(tmp_path: Path) -> None:
    """Each file begins with nothing; in a row of files a tuple may come again, with another hello's front."""
    reader = Replay(Config())
    for number, name in enumerate(("a.example", "b.example")):
        path = tmp_path / f"{number}.pcap"
        path.write_bytes(pcap(ether(forth(one)) for one in quic(name, 60)[number:][::-1]))
    tally = Tally()
    assert names(reader.rows(tmp_path / "0.pcap", tally)) == ["a.example"]
    assert names(reader.rows(tmp_path / "1.pcap", tally)) == []


def test_in_the_order_in_which_they_began(tmp_path: Path) -> None:
    """Flows of TCP and UDP, and messages between."""
    flow = quic("one.example", 40)
    packets = [forth(flow[0]), forth(dns_query("two.example"), dport=53), ip(6, tcp(hello("three.example"))),
               forth(dns_query("four.example"), dport=53), forth(flow[1])]
    assert names(rows_of(tmp_path, packets)) == ["one.example", "two.example", "three.example", "four.example"]
