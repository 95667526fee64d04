"""``nfqdpi marks``: the verdicts in conntrack. Asks the kernel, so it works without the daemon."""

from __future__ import annotations

import functools
import ipaddress
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click
from msgspec import Struct

from nfqdpi.cli.common import Exit, config_option, emit_json, fail, json_option, kernel_errors, need, table
from nfqdpi.cli.terminal import busy
from nfqdpi.core.verdict import MarkField, Verdict
from nfqdpi.kernel import conntrack
from nfqdpi.kernel.ctnetlink import Entry, Tuple
from nfqdpi.kernel.netlink import Netlink
from nfqdpi.kernel.privileges import Capability

if TYPE_CHECKING:
    from nfqdpi.config import Config

F = TypeVar("F", bound=Callable[..., Any])

_VERDICT = click.Choice([verdict.name.lower() for verdict in Verdict])
_FAMILIES = {"4": socket.AF_INET, "6": socket.AF_INET6}
_PROTOCOLS = {6: "tcp", 17: "udp", 1: "icmp", 58: "icmpv6", 132: "sctp", 33: "dccp", 47: "gre", 136: "udplite"}


class Filter(Struct, frozen=True):
    """Which flows are meant, by the tuple of their first packet."""

    verdict: Verdict | None = None
    family: int = socket.AF_UNSPEC
    src: ipaddress.IPv4Network | ipaddress.IPv6Network | None = None
    dst: ipaddress.IPv4Network | ipaddress.IPv6Network | None = None
    sport: int | None = None
    dport: int | None = None

    def dump(self, field: MarkField) -> list[Entry]:
        """The entries that match; verdict and family are filtered by the kernel."""
        with busy("reading conntrack"):
            return [entry for entry in conntrack.dump(field, self.verdict, self.family)
                    if self._matches_tuple(entry.orig)]

    def dump_marked(self, field: MarkField) -> list[Entry]:
        """As ``dump``, without entries that carry no verdict, unless these are asked for."""
        return [entry for entry in self.dump(field) if self.verdict is Verdict.UNSEEN or entry.mark & field.mask]

    def matches_marked(self, entry: Entry, field: MarkField) -> bool:
        """True of an entry that ``dump_marked`` would list."""
        verdict = field.read(entry.mark)
        return (
            (verdict is not Verdict.UNSEEN if self.verdict is None else verdict is self.verdict)
            and self.family in (socket.AF_UNSPEC, entry.family)
            and self._matches_tuple(entry.orig)
        )

    def _matches_tuple(self, orig: Tuple) -> bool:
        return (
            self.sport in (None, orig.sport)
            and self.dport in (None, orig.dport)
            and (self.src is None or ipaddress.ip_address(orig.src) in self.src)
            and (self.dst is None or ipaddress.ip_address(orig.dst) in self.dst)
        )


_dry_run = click.option("--dry-run", is_flag=True, help="Change nothing; print how many flows it would be.")


def _filter_options(function: F) -> F:
    @click.option("--verdict", type=_VERDICT, help="Flows that carry it.")
    @click.option("--family", type=click.Choice(list(_FAMILIES)), help="IPv4 or IPv6.")
    @click.option("--src", metavar="NETWORK", type=ipaddress.ip_network, help="The client's address or network.")
    @click.option("--dst", metavar="NETWORK", type=ipaddress.ip_network, help="The server's, as the client sees it.")
    @click.option("--sport", type=click.IntRange(0, 65535), help="The client's port.")
    @click.option("--dport", type=click.IntRange(0, 65535), help="The server's port.")
    @functools.wraps(function)
    def wrapped(*args: Any, verdict: str | None, family: str | None, **options: Any) -> Any:
        which = Filter(
            verdict=Verdict[verdict.upper()] if verdict else None,
            family=_FAMILIES[family] if family else socket.AF_UNSPEC,
            **{name: options.pop(name) for name in ("src", "dst", "sport", "dport")},
        )
        need(Capability.CAP_NET_ADMIN)
        with kernel_errors():
            return function(*args, which=which, **options)

    return wrapped  # type: ignore[return-value]  # the decorated signature is click's business


@click.group()
def command() -> None:
    """List, set, clear, flush and watch the verdicts that conntrack holds."""


@command.command("list")
@config_option
@_filter_options
@json_option
def list_(config: Config, which: Filter, as_json: bool) -> None:
    """The flows that carry a verdict (with --verdict unseen, those that carry none).

    Example: nfqdpi marks list --verdict block
    """
    entries = which.dump_marked(config.field)
    if not as_json:
        table(("proto", "client", "server", "verdict", "mark", "state"),
              [_cells(entry, config.field) for entry in entries])
        return
    for entry in entries:
        emit_json(_row(entry, config.field))


@command.command("set")
@config_option
@click.argument("verdict_name", metavar="VERDICT", type=_VERDICT)
@_filter_options
@click.option("--all", "everything", is_flag=True, help="Every flow that is tracked.")
@_dry_run
def set_(config: Config, verdict_name: str, which: Filter, *, everything: bool, dry_run: bool) -> None:
    """Give the flows that match a verdict; prints how many.

    Example: nfqdpi marks set block --src 192.168.1.7 --dry-run
    """
    if which == Filter() and not everything:
        fail(Exit.USAGE, "this would set every flow; say which (--src, --dst, --verdict ...) or --all")
    entries = which.dump(config.field)
    if dry_run:
        click.echo(f"{len(entries)} would be set")
        return
    with Netlink() as kernel, busy("setting marks"):
        count = conntrack.Conntrack(kernel).set_marks(entries, config.field, Verdict[verdict_name.upper()])
    click.echo(f"{count} set")


@command.command()
@config_option
@_filter_options
@_dry_run
def clear(config: Config, which: Filter, *, dry_run: bool) -> None:
    """Take the verdict off the flows that match (all that carry one): they are looked at anew. Prints how many.

    Example: nfqdpi marks clear --verdict block --dport 443
    """
    entries = which.dump_marked(config.field)
    if dry_run:
        click.echo(f"{len(entries)} would be cleared")
        return
    with Netlink() as kernel, busy("clearing marks"):
        count = conntrack.Conntrack(kernel).set_marks(entries, config.field, Verdict.UNSEEN)
    click.echo(f"{count} cleared")


@command.command()
@config_option
@_filter_options
@_dry_run
def flush(config: Config, which: Filter, *, dry_run: bool) -> None:
    """Make conntrack forget the flows that match (all that carry a verdict); prints how many.

    Example: nfqdpi marks flush --src 192.168.1.7
    """
    entries = which.dump_marked(config.field)
    if dry_run:
        click.echo(f"{len(entries)} would be flushed")
        return
    with Netlink() as kernel, busy("flushing"):
        count = conntrack.Conntrack(kernel).delete_each(entries)
    click.echo(f"{count} flushed")


@command.command()
@config_option
@_filter_options
@json_option
def watch(config: Config, which: Filter, as_json: bool) -> None:
    """Follow the flows that carry a verdict, as the kernel changes them, until Ctrl-C.

    Example: nfqdpi marks watch --verdict block
    """
    try:
        for event in conntrack.watch():
            if event.entry is None:
                click.echo("nfqdpi: some events were lost: the kernel made more than could be read", err=True)
            elif which.matches_marked(event.entry, config.field):
                if as_json:
                    emit_json({"event": event.change, **_row(event.entry, config.field)})
                else:
                    click.echo("  ".join((event.change, *_cells(event.entry, config.field))))
    except KeyboardInterrupt:
        return


def _row(entry: Entry, field: MarkField) -> dict[str, object]:
    return {
        "proto": _PROTOCOLS.get(entry.orig.proto, str(entry.orig.proto)),
        "src": entry.orig.src, "sport": entry.orig.sport, "dst": entry.orig.dst, "dport": entry.orig.dport,
        "verdict": field.read(entry.mark).name.lower(), "mark": entry.mark,
        "state": entry.tcp_state, "timeout": entry.timeout, "id": entry.id,
        "packets": entry.packets, "bytes": entry.volume,
        "reply": {"src": entry.reply.src, "sport": entry.reply.sport,
                  "dst": entry.reply.dst, "dport": entry.reply.dport},
    }


def _cells(entry: Entry, field: MarkField) -> tuple[str, ...]:
    row = _row(entry, field)
    return (str(row["proto"]), f"{row['src']} {row['sport']}", f"{row['dst']} {row['dport']}", str(row["verdict"]),
            f"{entry.mark:#x}", entry.tcp_state or "-")
