"""``nfqdpi flows``: what the kernel tracks on our ports, with the names that the daemon knows."""

from __future__ import annotations

import socket
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

import click

from nfqdpi.cli.common import config_option, emit_json, json_option, kernel_errors, need, table
from nfqdpi.config import Config
from nfqdpi.core.verdict import Verdict


@click.command("flows")
@click.option("--verdict", type=click.Choice([v.name.lower() for v in Verdict]), help="Only flows in this state.")
@click.option("--client", metavar="NETWORK", type=ip_network, help="Only flows of this client address or network.")
@config_option
@json_option
def command(config: Config, verdict: str | None, client: IPv4Network | IPv6Network | None, *, as_json: bool) -> None:
    """One row a flow, from conntrack; works with the daemon down, then without names."""
    from nfqdpi.kernel import conntrack
    from nfqdpi.kernel.privileges import Capability

    need(Capability.CAP_NET_ADMIN)
    names = _names(config)
    with kernel_errors():
        entries = list(conntrack.dump(config.field, Verdict[verdict.upper()] if verdict else None))
    rows = []
    for entry in entries:
        orig = entry.orig
        if orig.proto != socket.IPPROTO_TCP or orig.dport not in config.queue.ports:
            continue
        if client is not None and ip_address(orig.src) not in client:
            continue
        key = f"{orig.src} {orig.sport} {orig.dst} {orig.dport} TCP"
        name, protocol, reason, rule = names.get(key, (None, None, None, None))
        rows.append({
            "src_ip": orig.src, "src_port": orig.sport, "dest_ip": orig.dst, "dest_port": orig.dport,
            "proto": "TCP", "verdict": config.field.read(entry.mark).name.lower(), "mark": entry.mark, "name": name,
            "app_proto": protocol, "reason": reason, "rule": rule, "state": entry.tcp_state,
            "packets": entry.packets, "bytes": entry.volume, "timeout_s": entry.timeout,
        })
    if as_json:
        for row in rows:
            emit_json(row)
        return
    table(("client", "server", "name", "verdict", "reason", "rule", "state"),
          [(f"{r['src_ip']} {r['src_port']}", f"{r['dest_ip']} {r['dest_port']}", r["name"] or "-", r["verdict"],
            r["reason"] or "-", r["rule"] or "-", r["state"] or "-") for r in rows])


def _names(config: Config) -> dict[str, Any]:
    """What the daemon remembers of decided flows; nothing where it is down."""
    from nfqdpi.daemon.control import NotRunning, ask

    try:
        names: dict[str, Any] = ask(config.control.socket, "flows")["flows"]
    except (NotRunning, PermissionError):
        return {}
    return names
