"""How long it takes until a change of the policy has reached 100,000 tracked flows: `python -m bench.live --help`.

The flows are made in a namespace by ctnetlink and put on record as a worker's events would put them; then one domain in
ten is blocked, and all of it is taken back. Wall and CPU time of the supervisor's part are told.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
from collections.abc import Iterator
from statistics import median
from time import monotonic, process_time
from typing import NamedTuple

import msgspec

from nfqdpi.config import Config
from nfqdpi.core.decision import Client
from nfqdpi.core.verdict import MarkField, Reason, Verdict
from nfqdpi.daemon.live import LiveFlows
from nfqdpi.daemon.record import Decided, Record
from nfqdpi.kernel import ctnetlink, passage
from nfqdpi.kernel.ctnetlink import Entry, Tuple
from nfqdpi.kernel.netlink import CREATE, NESTED, Netlink, attribute, nested
from nfqdpi.policy.model import Policy, Rule
from nfqdpi.policy.names import Pattern
from tests.kernel.namespaces import fresh

_DOMAINS = 1000
_STATUS = 0xE  # IPS_SEEN_REPLY | IPS_ASSURED | IPS_CONFIRMED: linux/netfilter/nf_conntrack_common.h
_PORTS = 60000  # of one client


class Took(NamedTuple):
    """Seconds until the flows on record are cut, until all is done, and of processor time; how many flows changed."""

    quick: float
    wall: float
    cpu: float
    changed: int


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.live", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--flows", type=int, default=100_000, help="(default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="(default: %(default)s)")
    asked = parser.parse_args()
    print(f"Linux {os.uname().release}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}; {asked.flows} flows")
    with fresh():
        record = Record()
        flows = list(_flows(asked.flows))
        with Netlink() as kernel:
            for flow in flows:
                kernel.change(ctnetlink.NEW, _creation(flow), CREATE)
        for number, flow in enumerate(flows):
            client = socket.inet_pton(flow.family, flow.orig.src)
            key = passage.key(6, client, flow.orig.sport, socket.inet_pton(flow.family, flow.orig.dst), 443)
            record.add(msgspec.msgpack.encode([(key, Decided(
                (f"www.{number % _DOMAINS}.example",), "tls", Client(client), Verdict.ACCELERATE, Reason.DEFAULT, None,
                Verdict.ACCELERATE))]))
        for title, share in (("nothing blocked", 0), ("one in ten", _DOMAINS // 10), ("all", _DOMAINS)):
            rounds = [asyncio.run(_round(record, share)) for _ in range(asked.rounds)]
            for what, took in zip(("cut", "freed"), zip(*rounds, strict=True), strict=True):
                walls = [one.wall for one in took]
                quick = median(one.quick for one in took)
                print(f"{title:16}{what:6}{took[0].changed:8} flows  those on record {quick:5.2f} s; all "
                      f"{median(walls):5.2f} s, worst {max(walls):5.2f} s; "
                      f"CPU {median(one.cpu for one in took):5.2f} s")


async def _round(record: Record, share: int) -> tuple[Took, Took]:
    live = LiveFlows(record, MarkField())
    blocked = tuple(Pattern.parse(f"{number}.example") for number in range(share))
    cut = await _timed(live, Policy((Rule("new", Verdict.BLOCK, blocked),)) if share else Policy())
    return cut, await _timed(live, Policy())


async def _timed(live: LiveFlows, policy: Policy) -> Took:
    began, cpu = monotonic(), process_time()
    policy.set_time(0.0)
    cut = await live.cut(policy)
    quick = monotonic() - began
    settled = await live.settle(policy, Config())
    return Took(quick, monotonic() - began, process_time() - cpu, cut + settled.cut + settled.freed)


def _flows(count: int) -> Iterator[Entry]:
    """Half of them IPv4, half IPv6."""
    for number in range(count):
        client, port = divmod(number // 2, _PORTS)
        src, dst, family = ((f"10.0.0.{1 + client}", "198.51.100.2", socket.AF_INET) if number % 2 else
                            (f"fd00::{1 + client}", "2001:db8::1", socket.AF_INET6))
        orig = Tuple(6, src, 1024 + port, dst, 443)
        yield Entry(family, orig, Tuple(6, dst, 443, src, 1024 + port))


def _creation(flow: Entry) -> bytes:
    """The body that makes an accelerated, established flow (ctnetlink_create_conntrack)."""
    back = ctnetlink.name(Entry(flow.family, flow.reply, flow.reply))[8:]
    return (ctnetlink.name(flow) + attribute(2 | NESTED, back) + attribute(3, _STATUS.to_bytes(4, "big"))
            + nested(4, nested(1, attribute(1, b"\3"))) + attribute(7, (3600).to_bytes(4, "big"))
            + ctnetlink.mark_attributes(MarkField(), Verdict.ACCELERATE))


if __name__ == "__main__":
    main()
