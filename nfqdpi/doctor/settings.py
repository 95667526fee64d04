"""Settings below /proc/sys/net: those without which nothing is forwarded, and those on which strict mode rests (E9)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from nfqdpi.config.model import Config
from nfqdpi.doctor.finding import Finding, Level
from nfqdpi.doctor.interfaces import lan
from nfqdpi.kernel import sysctl
from nfqdpi.kernel.firewall import families
from nfqdpi.kernel.sysctl import Change


class Wanted(NamedTuple):
    """A change, how bad it is without it, and what it would cost to do without: which evasions it lets live."""

    change: Change
    level: Level
    otherwise: str


_FORWARDING = {
    4: Wanted(Change("ipv4/ip_forward", "1"), Level.WARN, "nothing is forwarded: this is no router"),
    6: Wanted(Change("ipv6/conf/all/forwarding", "1"), Level.WARN, "IPv6 is not forwarded. Once it is, this machine "
              "takes its own address and route from router advertisements only where accept_ra is 2"),
}

_STRICT = (
    Wanted(Change("netfilter/nf_conntrack_checksum", "1"), Level.FAIL,
           "a decoy with a bad checksum, which the server throws away, counts as the client's word"),
    Wanted(Change("netfilter/nf_conntrack_tcp_be_liberal", "0"), Level.FAIL,
           "a decoy or a reset out of window, which the server ignores, counts as the client's word"),
    # Strict mode holds with 1 as well, and 0 costs something: hence no failure.
    Wanted(Change("netfilter/nf_conntrack_tcp_loose", "0"), Level.WARN,
           "the rest of a flow that conntrack has forgotten, as after a decoy reset and ten seconds, counts as a new "
           "flow; strict mode survives it. With 0, flows older than conntrack are not tracked, and are dropped"),
)

_FORGED = ("a client can send answers in the server's name, and conntrack believes them; strict mode itself drops "
           "those that go back where they came from")


def examine(config: Config) -> Iterator[Finding]:
    """One finding a setting, whatever its value. In fast mode nothing rests on those of E9."""
    for family in families():
        yield _finding(_FORWARDING[family], counts=True)
    yield from (finding for finding, _ in _strict(config))
    if config.inspect.mode == "strict" and 6 in families():
        yield Finding("rp_filter IPv6", Level.OK, "the kernel has no such setting for IPv6: strict mode itself drops "
                      "answers that go back where they came from. A rule stops any from a wrong interface: "
                      "ip6tables -t mangle -I PREROUTING -m rpfilter --invert -j DROP")


def mend(config: Config) -> Iterator[Change]:
    """Change what strict mode rests on. Each change is yielded first, and made when the next one is asked for. Raises
    OSError.

    Forwarding is left alone: to connect networks, and to stop listening to router advertisements, is the operator's
    decision.
    """
    for finding, changes in _strict(config):
        if finding.level is Level.OK:
            continue
        for change in changes:
            yield change
            change.make()


def _strict(config: Config) -> Iterator[tuple[Finding, tuple[Change, ...]]]:
    """The findings of E9, each with the changes that mend it. Read one by one: a change may mend the next one, too."""
    strict = config.inspect.mode == "strict"
    for wanted in _STRICT:
        there = sysctl.read(wanted.change.key) is not None
        yield _finding(wanted, counts=strict), (wanted.change,) * there
    clients = [link.name for link in lan(config) if sysctl.read(_reverse_path(link.name)) is not None]  # of IPv4
    if strict and clients and (every := _value("all")) > 1:
        # It must go down for a 1 of an interface to count; the others, and those to come, keep what they have had.
        others = sorted(set(sysctl.interfaces()) - {"lo", *clients})
        changes = (*(Change(_reverse_path(name), str(every)) for name in others if _value(name) < every),
                   Change(_reverse_path("all"), "0"))
        yield Finding("rp_filter all", Level.WARN, f"is {every}: the greater of this and an interface's own value "
                      "counts, so that no interface can have 1", _commands(changes)), changes
    for name in clients:
        yield _of_client(name, counts=strict)


def _finding(wanted: Wanted, *, counts: bool) -> Finding:
    change, level, otherwise = wanted
    name = "ipv6 forwarding" if change.key == _FORWARDING[6].change.key else change.key.rpartition("/")[2]
    found = sysctl.read(change.key)
    if found == change.value:
        return Finding(name, Level.OK, f"is {found}")
    if not counts:
        return Finding(name, Level.OK, f"is {found or 'missing'}; strict mode would want {change.value}")
    return Finding(name, level, f"is {found or 'missing'}, should be {change.value}: {otherwise}",
                   change.command if found else "modprobe nf_conntrack")


def _of_client(name: str, *, counts: bool) -> tuple[Finding, tuple[Change, ...]]:
    """The kernel takes the greater of all's value and the interface's (ip-sysctl.rst); 1 is strict, 2 is loose."""
    own, every = _value(name), _value("all")
    title, found = f"rp_filter {name}", f"is {max(own, every)} (its own {own}, all {every})"
    if max(own, every) == 1:
        return Finding(title, Level.OK, found), ()
    if not counts:
        return Finding(title, Level.OK, f"{found}; strict mode would want 1"), ()
    changes = (Change(_reverse_path(name), "1"),)
    return Finding(title, Level.WARN, f"{found}, should be 1: {_FORGED}", _commands(changes)), changes


def _commands(changes: tuple[Change, ...]) -> str:
    return " && ".join(change.command for change in changes)


def _reverse_path(name: str) -> str:
    return f"ipv4/conf/{name}/rp_filter"


def _value(name: str) -> int:
    return int(sysctl.read(_reverse_path(name)) or 0)
