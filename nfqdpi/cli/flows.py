"""``nfqdpi flows``: what the kernel tracks on our ports, with the names that the daemon knows."""

from __future__ import annotations

import gc
import socket
import sys
from collections.abc import Iterator
from time import time
from typing import TYPE_CHECKING, Any

import click
from msgspec import Struct, json

from nfqdpi.cli.common import config_option, json_option, kernel_errors, need, table
from nfqdpi.cli.filters import filter_options
from nfqdpi.cli.terminal import busy
from nfqdpi.config import Config
from nfqdpi.core.verdict import Verdict

if TYPE_CHECKING:
    from nfqdpi.events.filter import Filter

_UNKNOWN = (None, None, None, None)
_PROTOCOLS = {socket.IPPROTO_TCP: "TCP", socket.IPPROTO_UDP: "UDP"}


class Row(Struct, gc=False):
    """A flow as ``--json`` writes it, with the fields that events have where they have them. What is null is not
    known: a name and why, where no daemon remembers; packets, bytes and age, where the kernel does not count."""

    src_ip: str
    src_port: int
    dest_ip: str
    dest_port: int
    proto: str
    verdict: str
    mark: int
    name: str | None
    app_proto: str | None
    reason: str | None
    rule: str | None
    state: str | None
    packets: int | None
    bytes: int | None
    age_s: int | None
    timeout_s: int


@click.command("flows")
@config_option
@filter_options([v.name.lower() for v in Verdict])
@json_option
def command(config: Config, accepts: Filter | None, *, as_json: bool) -> None:
    """One row a flow, from conntrack; works with the daemon down, then without names.

    Of one filter given several times, one must fit; of several filters, all.

    Example: nfqdpi flows --client 192.168.1.0/24 --name video.example --not verdict=accelerate
    """
    from nfqdpi.kernel.privileges import Capability

    need(Capability.CAP_NET_ADMIN)
    gc.disable()  # a quarter of the time, where there are many flows; and nothing here is garbage before the end
    names = _names(config)
    with kernel_errors():
        rows = _rows(config, names, accepts)
        if as_json:
            encode = json.Encoder().encode
            sys.stdout.writelines(f"{encode(row).decode()}\n" for row in rows)
            return
        with busy("reading conntrack"):
            cells = [(f"{row.src_ip} {row.src_port}", f"{row.dest_ip} {row.dest_port}", row.name or "-", row.verdict,
                      row.rule or row.reason or "-", _or_dash(row.packets), _or_dash(row.bytes), _or_dash(row.age_s))
                     for row in rows]
    table(("client", "server", "name", "verdict", "why", "packets", "bytes", "age"), cells)


def _rows(config: Config, names: dict[str, Any], accepts: Filter | None) -> Iterator[Row]:
    from nfqdpi.events.filter import Subject
    from nfqdpi.kernel import conntrack

    field, ports, now = config.field, frozenset(config.queue.ports), time()
    words = {field.value(verdict): verdict.name.lower() for verdict in Verdict}
    only = accepts.only("verdict") if accepts else None
    for entry in conntrack.dump(field, Verdict[only.upper()] if only else None):
        orig, far, state = entry.orig, entry.reply, entry.mark & field.mask
        proto = _PROTOCOLS.get(orig.proto)
        # What carries a mark of ours, on whatever port a plugin reads, and what may get one.
        if proto is None or not (state or (proto == "TCP" and orig.dport in ports)):
            continue
        name, protocol, reason, rule = _UNKNOWN
        if names:  # events tell the server as the FORWARD chain sees it: behind DNAT
            ends = f"{orig.src} {orig.sport} {far.src} {far.sport} {proto}"
            name, protocol, reason, rule = names.get(ends, _UNKNOWN)
        verdict = words.get(state, "unseen")
        if accepts and not accepts(Subject(verdict, orig.src, "", (name,) if name else (), reason, rule)):
            continue
        yield Row(orig.src, orig.sport, orig.dst, orig.dport, proto, verdict, entry.mark, name, protocol, reason, rule,
                  entry.tcp_state, entry.packets, entry.volume,
                  None if entry.started is None else max(0, round(now - entry.started)), entry.timeout)


def _or_dash(number: int | None) -> int | str:
    return "-" if number is None else number


def _names(config: Config) -> dict[str, Any]:
    """What the daemon remembers of decided flows; nothing where it is down."""
    from nfqdpi.daemon.ask import NotRunning, ask

    try:
        with busy("waiting for the daemon"):
            reply = ask(config.control.socket, "flows")
    except (NotRunning, PermissionError) as error:
        click.echo(f"nfqdpi: without names: {error}", err=True)
        return {}
    names: dict[str, Any] = reply.get("flows", {})
    return names
