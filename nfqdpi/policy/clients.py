"""Who asks: groups of clients, and the names that clients go by."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from nfqdpi.core.decision import Client

Network = IPv4Network | IPv6Network

_MAC = re.compile(r"[0-9a-f]{2}(?:[:-][0-9a-f]{2}){5}", re.I)
_MAPPED = IPv6Network("::ffff:0:0/96")


@dataclass(frozen=True, slots=True)
class ClientGroup:
    """Clients in any of the ``networks``, with any of the ``macs`` (of 6 bytes), or behind any of the ``interfaces``,
    where a last + stands for any ending, as in iptables."""

    networks: tuple[Network, ...] = ()
    macs: frozenset[bytes] = frozenset()
    interfaces: tuple[str, ...] = ()

    @classmethod
    def of(cls, members: Iterable[str], interfaces: Iterable[str] = (),
           known: Mapping[str, ClientGroup] | None = None) -> ClientGroup:
        """From addresses, CIDRs, MAC addresses and the names of ``known`` clients; a name that nobody has (yet) adds
        nobody."""
        networks: list[Network] = []
        macs: set[bytes] = set()
        for member in members:
            one = member_of(member) or (known or {}).get(member.lower())  # nobody's name hides an address
            if one is not None:
                networks += one.networks
                macs |= one.macs
        return cls(tuple(networks), frozenset(macs), tuple(interfaces))

    def contains(self, client: Client, interface: str) -> bool:
        """True of a member; ``interface`` is the name of the one that the client came in by, "" where unknown."""
        if client.mac in self.macs:
            return True
        if any(interface == one or (one.endswith("+") and interface.startswith(one[:-1])) for one in self.interfaces):
            return bool(interface)
        if not self.networks:
            return False
        address = ip_address(client.address)
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self.networks)


def member_of(written: str) -> ClientGroup | None:
    """The group of one address, CIDR or MAC address; None where it is none of these."""
    if _MAC.fullmatch(written):
        return ClientGroup(macs=frozenset((bytes.fromhex(re.sub("[:-]", "", written)),)))
    try:
        network = ip_network(written, strict=False)
    except ValueError:
        return None
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        network = IPv4Network((IPv4Address(int(network.network_address) & 0xFFFFFFFF), network.prefixlen - 96))
    return ClientGroup((network,))


def client_names(names: str, leases: str) -> dict[str, ClientGroup]:
    """Names in lower case to who has them. ``names``: lines "ADDRESS-OR-MAC NAME", where # begins a comment;
    ``leases``: dnsmasq's, "EXPIRY MAC ADDRESS NAME ID". Raises ValueError with the number of a bad line of ``names``.

    A client tells the DHCP server what it would be called: it cannot take a name that the file gives away.
    """
    found: dict[str, list[str]] = {}
    for number, line in enumerate(names.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 2 or member_of(words[0]) is None:
            raise ValueError(f"line {number}: {line.strip()!r} is not an address or a MAC address, and a name")
        found.setdefault(words[1].lower(), []).append(words[0])
    leased: dict[str, list[str]] = {}
    for line in leases.splitlines():
        words = line.split()
        # Others are the server's own DUID, and hosts without a name. Where IPv6 has no MAC stands a number.
        if len(words) == 5 and words[3] != "*" and words[3].lower() not in found:
            leased.setdefault(words[3].lower(), []).extend(words[1:3])
    return {name: ClientGroup.of(members) for name, members in (found | leased).items()}
