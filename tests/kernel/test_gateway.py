"""The daemon in a real gateway: what clients get, what the server application sees, what the kernel holds."""

from __future__ import annotations

import json

import pytest

from nfqdpi.core.verdict import Verdict
from nfqdpi.lab.daemon import back_ends
from nfqdpi.lab.gauges import queued, tracked
from nfqdpi.lab.network import Family, Lab
from tests.kernel.daily import FAMILIES, Gateway, ask, config, wait_until
from tests.kernel.origin import Origin, Visitor


def events(lab: Lab) -> list[dict[str, object]]:
    return [json.loads(line) for line in (lab.state / "eve.json").read_text().splitlines()]


def mark(lab: Lab, family: Family, port: int) -> int:
    return next(entry.mark for entry in tracked(lab.gateway, family) if entry.sport == port)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("mode", ["strict", "fast"])
def test_blocked_name_reaches_nobody(lab: Lab, gateway: Gateway, origin: Origin, mode: str, family: Family) -> None:
    """A blocked request is reset on both sides, the application reads not a byte, and the mark says BLOCK."""
    gateway(config(lab, mode))
    with Visitor(lab.client, family) as visitor:
        assert visitor.ask("www.blocked.example") == "reset"
        assert mark(lab, family, visitor.port) == Verdict.BLOCK
    assert origin.accepted(0).ended.wait(5)
    assert origin.accepted(0).end == "reset"
    assert origin.read == b""


@pytest.mark.parametrize("family", FAMILIES)
def test_blocked_in_pieces(lab: Lab, gateway: Gateway, origin: Origin, family: Family) -> None:
    """Of a blocked request in many segments, the one that completes it never passes."""
    gateway(config(lab))
    with Visitor(lab.client, family) as visitor:
        assert visitor.ask("blocked.example", pieces=20) == "reset"
    assert origin.accepted(0).ended.wait(5)
    assert b"\r\n\r\n" not in origin.read


@pytest.mark.parametrize("family", FAMILIES)
def test_a_port_used_again_behind_a_lost_reset(lab: Lab, gateway: Gateway, origin: Origin, family: Family) -> None:
    """A server that never got the reset of a blocked flow challenges the next one on the same port (RFC 5961, 4.2); the
    client's answer to it, a bare RST that no flow of its own goes with, frees the port."""
    gateway(config(lab))
    tables = "iptables" if family == 4 else "ip6tables"
    losing = ["INPUT", "-p", "tcp", "--tcp-flags", "RST", "RST", "-j", "DROP"]
    with Visitor(lab.client, family) as visitor:
        lab.server.run([tables, "-A", *losing])
        assert visitor.ask("blocked.example") == "reset"
        # It leaves after the client's.
        assert wait_until(lambda: "[0:0] -A INPUT" not in lab.server.run([f"{tables}-save", "-c"]).stdout, 5)
    lab.server.run([tables, "-D", *losing])
    assert not origin.accepted(0).ended.wait(0.2)
    with Visitor(lab.client, family, timeout=10, source_port=visitor.port) as again:
        assert again.ask("allowed.example") == "ok"


@pytest.mark.parametrize("family", FAMILIES)
def test_silent_block_never_queues_again(lab: Lab, gateway: Gateway, origin: Origin, family: Family) -> None:
    """A flow that is dropped in silence sends again and again, and none of it enters the queue or gets by."""
    gateway(config(lab))
    with Visitor(lab.client, family, timeout=0.3) as visitor:
        assert visitor.ask("silent.example") == "silence"
        before = queued(lab.gateway)
        for _ in range(20):
            visitor.socket.send(b"X")
        assert visitor.ask("silent.example") == "silence"
        assert queued(lab.gateway) == before
        assert mark(lab, family, visitor.port) == Verdict.BLOCK_SILENT
    assert origin.read == b""


@pytest.mark.parametrize("family", FAMILIES)
def test_every_request_of_a_kept_alive_flow(lab: Lab, gateway: Gateway, origin: Origin, family: Family) -> None:
    """In strict mode the second request on a connection is judged like the first."""
    gateway(config(lab))
    with Visitor(lab.client, family) as visitor:
        assert visitor.ask("allowed.example") == "ok"
        assert visitor.ask("allowed.example") == "ok"
        assert mark(lab, family, visitor.port) == Verdict.INSPECT
        assert visitor.ask("blocked.example") == "reset"
    assert b"blocked.example" not in origin.read


def test_foreign_bits_stay(lab: Lab, gateway: Gateway, origin: Origin) -> None:
    """Bits of the conntrack mark and of the packet mark that are not ours come through every verdict unchanged."""
    rules = """*mangle
-A PREROUTING -j CONNMARK --set-xmark 0xabc0/0xfff0
-A PREROUTING -j MARK --set-xmark 0x5550/0xfff0
-A POSTROUTING -o wan0 -m mark ! --mark 0x5550/0xffffffff
COMMIT
"""
    lab.gateway.run(["iptables-restore", "--noflush"], stdin=rules)
    gateway(config(lab))
    for host, verdict in (("allowed.example", Verdict.INSPECT), ("blocked.example", Verdict.BLOCK)):
        with Visitor(lab.client, 4) as visitor:
            visitor.ask(host)
            assert mark(lab, 4, visitor.port) == 0xABC0 | verdict
    wrong = lab.gateway.run(["iptables", "-t", "mangle", "-nvxL", "POSTROUTING"]).stdout.splitlines()[2].split()
    # The reset that the gateway itself sends is no packet of a client: it never met PREROUTING.
    assert int(wrong[0]) == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_behind_nat(lab: Lab, gateway: Gateway, origin: Origin, family: Family) -> None:
    """With masquerading the server side of a blocked flow is reset too, by a packet that NAT has rewritten."""
    program = "iptables" if family == 4 else "ip6tables"
    lab.gateway.run([program, "-t", "nat", "-A", "POSTROUTING", "-o", "wan0", "-j", "MASQUERADE"])
    gateway(config(lab))
    with Visitor(lab.client, family) as visitor:
        assert visitor.ask("allowed.example") == "ok"
    with Visitor(lab.client, family) as visitor:
        assert visitor.ask("blocked.example") == "reset"
    assert origin.accepted(1).ended.wait(5)
    assert origin.accepted(1).end == "reset"
    assert b"blocked" not in origin.read


def test_events_and_flows_tell_it(lab: Lab, gateway: Gateway, origin: Origin) -> None:
    """Each verdict is one event line with the designed fields, and ``flows`` joins the name to the kernel's entry."""
    running = gateway(config(lab))
    with Visitor(lab.client, 4) as visitor:
        visitor.ask("www.blocked.example")
        flows = [json.loads(line) for line in ask(lab, running, "flows", "--json").splitlines()]
        assert [(f["src_port"], f["name"], f["verdict"], f["rule"]) for f in flows] == [
            (visitor.port, "www.blocked.example", "block", "ads")
        ]
        for client, count in (("192.0.2.0/24", 1), ("192.0.2.7", 0), ("2001:DB8:1::/64", 0)):
            assert ask(lab, running, "flows", "--json", "--client", client).count("\n") == count
        ask(lab, running, "flows", "--client", "nonsense", code=2)
    assert running.stop() == 0
    (event,) = events(lab)
    assert event["event_type"] == "verdict"
    assert (event["src_ip"], event["src_port"]) == ("192.0.2.2", visitor.port)
    assert (event["dest_ip"], event["dest_port"]) == ("198.51.100.2", 80)
    assert (event["proto"], event["app_proto"], event["in_iface"]) == ("TCP", "http", "lan0")
    assert event["http"] == {"hostname": "www.blocked.example", "http_method": "GET", "url": "/"}
    assert event["verdict"] == {"action": "block", "reason": "rule", "rule": "ads", "list": None, "mark": 3}


@pytest.mark.parametrize("back_end", ["nft", "legacy"])
def test_stop_leaves_nothing(lab: Lab, gateway: Gateway, origin: Origin, back_end: str) -> None:
    """SIGTERM: the rules go, the socket goes, the exit code is 0, and traffic flows as before the start."""
    assert back_end in back_ends(lab)
    save = [f"iptables-{back_end}-save"]
    lab.gateway.run([f"iptables-{back_end}", "-A", "FORWARD", "-p", "udp", "--dport", "9", "-j", "DROP"])
    before = chains(lab.gateway.run(save).stdout)
    running = gateway(config(lab), back_end)
    assert chains(lab.gateway.run(save).stdout) != before
    with Visitor(lab.client, 4) as visitor:
        assert visitor.ask("blocked.example") == "reset"
    assert running.stop() == 0
    assert chains(lab.gateway.run(save).stdout) == before
    assert not (lab.state / "control.sock").exists()
    assert running.log.read_text().count("ready") == 1
    with Visitor(lab.client, 4) as visitor:
        assert visitor.ask("blocked.example") == "ok"


def chains(saved: str) -> list[str]:
    """What iptables-save tells, without counters, comments and tables whose chains are all empty."""
    tables = saved.split("COMMIT")
    kept = [table for table in tables if "\n-A " in table]
    return [line.split("[")[0] for table in kept for line in table.splitlines() if line and not line.startswith("#")]
