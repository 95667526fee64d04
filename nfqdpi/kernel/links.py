"""Network interfaces, where the default routes lead, and what a card does by itself. Only this file imports pyroute2,
and only when asked something: the import takes 0.2 s."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import NamedTuple

_IFF_UP = 1  # include/uapi/linux/if.h


class Link(NamedTuple):
    """One interface. ``kind`` is the driver's word ("bridge", "veth", ""), ``master`` the interface that it is a part
    of ("" where it is none's)."""

    name: str
    up: bool
    mtu: int
    kind: str
    master: str


def links() -> list[Link]:
    """The interfaces of this network namespace. Raises OSError."""
    from pyroute2 import IPRoute, NetlinkError

    try:
        with IPRoute() as kernel:
            found = list(kernel.get_links())
    except NetlinkError as error:
        raise OSError(error.code, f"links: {error}") from error
    names = {link["index"]: link.get("ifname") for link in found}
    return [Link(names[link["index"]], bool(link["flags"] & _IFF_UP), link.get("mtu"),
                 link.get(("linkinfo", "kind")) or "", names.get(link.get("master"), "")) for link in found]


def default_routes() -> set[str]:
    """The names of the interfaces by which a default route leaves, of the main table and both families."""
    from pyroute2 import IPRoute, NetlinkError

    try:
        with IPRoute() as kernel:
            routes = list(kernel.get_default_routes())
    except NetlinkError as error:
        raise OSError(error.code, f"routes: {error}") from error
    hops = [hop["oif"] for route in routes for hop in route.get("multipath") or ()]
    names = set()
    for index in (*hops, *(route.get("oif") for route in routes)):
        with suppress(OSError):  # the interface has gone meanwhile
            names.add(socket.if_indextoname(index or 0))  # 0: a route without an interface of its own, or to nowhere
    return names


def forwards_by_itself(name: str) -> bool:
    """True where the card may forward flows that tc or a flowtable gives it (ethtool's hw-tc-offload)."""
    from pyroute2 import Ethtool

    try:
        with Ethtool() as card:
            feature = card.get_features(name).features.get("hw-tc-offload")
    except OSError:
        return False  # it has gone meanwhile, or is of a driver without features
    return feature is not None and bool(feature.enable)
