"""The interfaces: which of them the clients are behind, and whether they can be reached by them."""

from __future__ import annotations

from collections.abc import Iterator

from nfqdpi.config.model import Config
from nfqdpi.doctor.finding import Finding, Level
from nfqdpi.kernel import sysctl
from nfqdpi.kernel.links import Link, default_routes, links

_PORTS_OF = {"bridge", "bond", "team", "openvswitch"}  # what is routed comes in by these, not by their parts


def lan(config: Config) -> list[Link]:
    """The interfaces behind which clients are: [queue] lan, else all that forward and by which no default route leaves.
    Raises OSError."""
    found = links()
    if config.queue.lan:
        return [link for link in found if any(_named(link, name) for name in config.queue.lan)]
    outside = default_routes()
    return [link for link in found
            if link.name not in outside and not any(_named(link, name) for name in config.queue.wan)
            and _whole(link, found) is None and _forwards(link)]


def examine(config: Config) -> Iterator[Finding]:
    """Are the interfaces there and up; what goes over a bridge."""
    found, clients = links(), lan(config)
    for key, names in (("lan", config.queue.lan), ("wan", config.queue.wan)):
        for name in names:
            matched = [link for link in found if _named(link, name)]
            for link in matched:
                yield _state(key, link, found)
            if not matched:
                yield Finding(f"{key} {name}", Level.FAIL, "there is no such interface: no rule matches, nothing is "
                              "judged", f"another name in [queue] {key}, or create the interface")
    used = {*clients, *(link for link in found if any(_named(link, name) for name in config.queue.wan))}
    for link in sorted(used):
        if link.kind == "bridge":
            yield _bridge(link)


def _state(key: str, link: Link, found: list[Link]) -> Finding:
    name = f"{key} {link.name}"
    if (whole := _whole(link, found)) is not None:
        return Finding(name, Level.FAIL, f"is a part of {whole.name}, by which its packets are routed: no rule matches",
                       f"[queue] {key}: {whole.name} in its place")
    if not link.up:
        return Finding(name, Level.WARN, "is down", f"ip link set dev {link.name} up")
    return Finding(name, Level.OK, "is up")


def _bridge(link: Link) -> Finding:
    """Worth knowing, and right either way."""
    passed = [family for family, key in ((4, "iptables"), (6, "ip6tables"))
              if sysctl.read(f"bridge/bridge-nf-call-{key}") == "1"]
    if passed:
        meaning = f"is a bridge; bridge-nf-call-iptables is on (IPv{' and IPv'.join(map(str, passed))}): what goes " \
                  "from port to port is judged as well"
    else:
        meaning = "is a bridge; bridge-nf-call-iptables is off: what goes from port to port is not judged"
    return Finding(f"bridge {link.name}", Level.OK, meaning)


def _named(link: Link, name: str) -> bool:
    """iptables' match on interfaces: a last + matches any ending."""
    return link.name.startswith(name[:-1]) if name.endswith("+") else link.name == name


def _whole(link: Link, found: list[Link]) -> Link | None:
    return next((other for other in found if other.name == link.master and other.kind in _PORTS_OF), None)


def _forwards(link: Link) -> bool:
    values = (sysctl.read(f"{family}/conf/{link.name}/forwarding") for family in ("ipv4", "ipv6"))
    return link.name != "lo" and "1" in values
