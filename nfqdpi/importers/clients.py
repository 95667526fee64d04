"""Clients of programs in which only the most exact entry counts for a client, as groups of ours, which may overlap.

Each group gets a block of rules that ends by deciding everything. Blocks stand in the order of exactness, so that a
client is decided by the first group it is in: the one that alone would count in the source.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable
from ipaddress import ip_network
from typing import Generic, NamedTuple, TypeVar

from nfqdpi.config.values import Interface, Member
from nfqdpi.importers.draft import InexpressibleError

S = TypeVar("S", bound=Hashable)

_MAC, _NAME, _INTERFACE = 129, 130, 131  # ranks behind all networks, which have that of their host bits, at most 128


class Identity(NamedTuple):
    """How the source knows a client; a lower ``rank`` is more exact. One of ``member`` and ``interface`` is empty."""

    rank: int
    member: str = ""
    interface: str = ""

    @classmethod
    def parse(cls, text: str) -> Identity:
        """From an address, a CIDR, a MAC address, a host name, or ":eth0". Raises InexpressibleError."""
        if text.startswith(":") and re.fullmatch(r"[A-Za-z0-9_.@][A-Za-z0-9_.@-]{0,14}", text[1:]):
            return cls(_INTERFACE, interface=text[1:])
        try:
            network = ip_network(text, strict=False)
            return cls(network.max_prefixlen - network.prefixlen, Member.parse(str(network)))
        except ValueError:
            pass
        try:
            member = Member.parse(text)
        except ValueError as error:
            raise InexpressibleError(str(error)) from None
        return cls(_MAC if re.fullmatch("([0-9a-f]{2}:){5}[0-9a-f]{2}", member) else _NAME, member)

    @property
    def is_name(self) -> bool:
        return self.rank == _NAME


class Block(NamedTuple, Generic[S]):
    """Clients whose ``settings`` are the same."""

    settings: S
    members: tuple[Member, ...]
    interfaces: tuple[Interface, ...]


def blocks(clients: Iterable[tuple[Identity, S]], default: S) -> list[Block[S]]:
    """The blocks in the order in which they must stand; ``default`` is for all clients that are in none of them. Of two
    entries for the same client the later counts."""
    known = dict(clients)
    order = {settings: n for n, settings in enumerate(dict.fromkeys(known.values()))}
    made: list[Block[S]] = []
    # Entries of one rank are disjoint, so they may be put together by settings.
    for identity in sorted(known, key=lambda one: (one.rank, order[known[one]])):
        settings = known[identity]
        if not made or made[-1].settings != settings:
            made.append(Block(settings, (), ()))
        last = made[-1]
        made[-1] = last._replace(members=last.members + ((Member(identity.member),) if identity.member else ()),
                                 interfaces=last.interfaces + ((identity.interface,) if identity.interface else ()))
    while made and made[-1].settings == default:
        made.pop()
    return made
