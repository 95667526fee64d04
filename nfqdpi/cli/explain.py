"""``nfqdpi explain``: what the policy says of a name, and why, without a daemon."""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Iterator
from datetime import datetime, tzinfo
from ipaddress import ip_address
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from nfqdpi.cli.common import AS_ROOT, Exit, config_option, duration, emit_json, fail, json_option, printable
from nfqdpi.cli.terminal import busy

if TYPE_CHECKING:
    from nfqdpi.assemble import Known
    from nfqdpi.config import Config
    from nfqdpi.core.decision import Client, Outcome
    from nfqdpi.policy.model import Policy

_NOBODY = "0.0.0.0"  # noqa: S104  in no group but those of all addresses
_NAMELESS = frozenset({"ssh", "wireguard"})  # protocols that ask for no name


@click.command("explain")
@click.argument("name")
@click.option("--client", default=_NOBODY, show_default=True, metavar="CLIENT",
              help="Who asks: an address, a MAC address, or a client's name.")
@click.option("--mac", metavar="MAC", help="The client's MAC address, beside its address.")
@click.option("--interface", metavar="NAME", help="The interface that the client comes in by.")
@click.option("--protocol", metavar="PROTOCOL",
              help="As tls, http, quic or dns; default: each that a rule is for, and all others.")
@click.option("--at", metavar="TIME", help='As "2026-11-30 21:30" or, of today, "21:30"; default: now.')
@config_option
@json_option
def command(  # noqa: PLR0913  one for each option
    config: Config, name: str, *, client: str, mac: str | None, interface: str | None, protocol: str | None,
    at: str | None, as_json: bool,
) -> None:
    """Would NAME pass? Every rule that is passed over, why, and the one that decides; for each protocol, where that
    matters. Exit 0: yes, 1: it would be blocked, in one protocol at least.

    Example: nfqdpi explain www.video.example --client 192.168.1.70 --at 21:30
    """
    from nfqdpi import assemble
    from nfqdpi.kernel.privileges import as_owner
    from nfqdpi.policy.suffixes import registrable
    from nfqdpi.state import StateError

    name = _name(name)
    now = _time(at, assemble.time_zone(config))
    try:
        asking = _clients(client, mac, interface, assemble.known_clients(config))
        with busy("compiling the lists"), as_owner(Path(config.state.directory)):
            policy, used = assemble.current(config, now), assemble.used(config, now)
    except (ValueError, OverflowError) as error:  # the second: of a time at the end of all time
        fail(Exit.USAGE, str(error))
    except PermissionError as error:
        fail(Exit.NOT_PERMITTED, f"{error.filename}: not permitted: {AS_ROOT}")
    except StateError as error:
        fail(Exit.DEGRADED, str(error))
    spoken = _spoken(policy) if protocol is None else [protocol.lower()]
    outcomes = {(who, by): policy.decide(name, who, by) for who in asking for by in spoken}
    matched = {(one.rule, one.list): _matched(config, policy, one, name) for one in outcomes.values()}
    limits = {rule.name: {"used_s": round(used.get(rule.name, 0.0)), "limit_s": float(rule.limit)}
              for rule in policy.rules if rule.limit is not None}
    answers = {(who, by): {
        "name": name, "domain": registrable(name), "client": str(ip_address(who.address)),
        "mac": who.mac.hex(":") or None, "protocol": by or None,
        "time": datetime.fromtimestamp(now, assemble.time_zone(config)).isoformat(timespec="seconds"),
        "verdict": outcome.verdict.name.lower(), "rule": outcome.rule, "list": outcome.list,
        **matched[outcome.rule, outcome.list]._asdict(),
        "redirect": [str(ip_address(address)) for address in outcome.redirect],
        "limit": limits.get(outcome.rule or ""),
        "passed_over": [
            {"rule": rule.name, "why": why, **({"limit": limits[rule.name]} if rule.name in limits else {})}
            for rule, why in policy.passed_over(name, who, by)],
        "missing_lists": [one for one in assemble.lists(config) if one not in policy.lists],
    } for (who, by), outcome in outcomes.items()}
    for title, told in _distinct(answers):
        if as_json:
            emit_json(told)
        else:
            if title:
                click.echo(f"{title}:")
            _print(told)
    if any(one.redirect for one in outcomes.values()) and not config.plugin.get("dns", {}).get("enabled"):
        click.echo("[plugin.dns] is not enabled: no query is answered so", err=True)
    sys.exit(Exit.NO if any(one.verdict.blocks for one in outcomes.values()) else Exit.OK)


def _spoken(policy: Policy) -> list[str]:
    """The protocols that a name may be asked for in, and that rules are for; and "", which is every other one."""
    return ["", *sorted({protocol for rule in policy.rules for protocol in rule.protocols} - _NAMELESS)]


def _distinct(answers: dict[tuple[Client, str], dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each answer with what it is for: the client's address where its addresses are not all treated alike, and the
    protocol where it is not treated as all others are."""
    clients, protocols = (list(dict.fromkeys(part)) for part in zip(*answers, strict=True))
    said = {key: {**told, "client": "", "mac": "", "protocol": ""} for key, told in answers.items()}
    others, *named = protocols
    apart = [by for by in named if any(said[who, by] != said[who, others] for who in clients)]
    differ = any(said[who, by] != said[clients[0], by] for who, by in said)
    for who in clients if differ else clients[:1]:
        for by in (others, *apart):
            told = answers[who, by]
            title = [told["client"] + f" {told['mac']}" * bool(told["mac"])] if differ else []
            yield ", ".join([*title, by or "other protocols"] if apart else title), told


class Matched(NamedTuple):
    """What of the deciding rule matched: one of its patterns, or a line of its list."""

    pattern: str | None = None
    line: int | None = None
    text: str | None = None


def _matched(config: Config, policy: Policy, outcome: Outcome, name: str) -> Matched:
    from nfqdpi.lists.lines import line_of
    from nfqdpi.lists.store import Store
    from nfqdpi.policy.names import canonical

    if outcome.list is None:
        rule = next((rule for rule in policy.rules if rule.name == outcome.rule), None)
        pattern = next((p for p in rule.patterns if p.matches(canonical(name))), None) if rule else None
        return Matched(str(pattern) if pattern else None)
    stored = Store(config.state.directory).load(outcome.list)
    line = line_of(stored, canonical(name)) if stored else None
    return Matched(str(line.pattern), line.number, line.text) if line else Matched()


def _print(told: dict[str, Any]) -> None:
    for missing in told["missing_lists"]:
        click.echo(f"list {missing!r} has not been fetched yet: see nfqdpi lists", err=True)
    for one in told["passed_over"]:
        click.echo(f"  rule {printable(one['rule'])!r}: {one['why']}{_used(one)}")
    rule = told["rule"]
    by = ", as no rule matches: [policy] default" if rule is None else f" by rule {printable(rule)!r}"
    if told["line"] is not None:
        by += f" (list {told['list']}, line {told['line']}: {printable(told['text'])})"
    elif told["pattern"]:
        by += f" (pattern {told['pattern']})"
    by += _used(told)
    domain = f" [{printable(told['domain'])}]" if told["domain"] != told["name"] else ""
    verdict = click.style(told["verdict"], fg="red" if told["verdict"].startswith("block") else "green")
    answer = f"; DNS answers {', '.join(told['redirect'])}; flows pass" if told["redirect"] else ""
    click.echo(f"{printable(told['name'])}{domain}: {verdict}{by}{answer}")


def _used(told: dict[str, Any]) -> str:
    limit = told.get("limit")
    return f"; {duration(limit['used_s'])} of {duration(limit['limit_s'])} used that day" if limit else ""


def _name(written: str) -> str:
    """A name as a browser's address line shows it, without the port, and an IPv6 address without brackets."""
    from nfqdpi.policy.names import Pattern

    match = re.fullmatch(r"\[(.*)\](?::\d+)?|([^:]*):\d+", written)
    name = match[1] or match[2] or "" if match else written
    try:
        Pattern.parse(f"={name}")
    except ValueError:
        fail(Exit.USAGE, f"{printable(name)!r} is not a name")
    return name


def _time(written: str | None, zone: tzinfo) -> float:
    """Seconds since 1970 of a time that is written as the clock on the wall shows it."""
    if written is None:
        return time()
    try:
        today = datetime.now(zone).date().isoformat()
        shown = datetime.fromisoformat(written if "-" in written else f"{today} {written}")
    except ValueError:
        fail(Exit.USAGE, f'--at: {printable(written)!r} is not a time such as "2026-11-30 21:30" or "21:30"')
    return (shown if shown.tzinfo else shown.replace(tzinfo=zone)).timestamp()


def _clients(written: str, mac: str | None, interface: str | None, known: Known) -> list[Client]:
    """The client with each of its addresses."""
    from nfqdpi.core.decision import Client
    from nfqdpi.policy.clients import member_of

    group = member_of(written) or known.get(written.lower())
    if group is not None and any(network.num_addresses > 1 for network in group.networks):
        fail(Exit.USAGE, f"--client: {printable(written)!r} is a network: say one of its addresses")
    if group is None:
        fail(Exit.USAGE, f"--client: {printable(written)!r} is not an address, a MAC address or a known client")
    macs = group.macs
    if mac is not None:
        one = member_of(mac)
        if one is None or not one.macs:
            fail(Exit.USAGE, f"--mac: {printable(mac)!r} is not a MAC address")
        macs = one.macs
    try:
        index = socket.if_nametoindex(interface) if interface else 0
    except OSError:
        fail(Exit.USAGE, f"--interface: no interface is named {printable(interface or '')!r}")
    addresses = [network.network_address for network in group.networks] or [ip_address(_NOBODY)]
    return [Client(address.packed, one, index) for address in dict.fromkeys(addresses) for one in sorted(macs) or [b""]]
