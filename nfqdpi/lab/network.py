"""The lab's network: client - gateway - router - server, IPv4 and IPv6, in four namespaces of its own.

    client eth0 192.0.2.2 ── lan0 192.0.2.1 gateway wan0 203.0.113.2 ──┐
         2001:db8:1::2        2001:db8:1::1        2001:db8:3::2       │
    server eth0 198.51.100.2 ── down0 198.51.100.1 router up0 203.0.113.1
         2001:db8:2::2          2001:db8:2::1        2001:db8:3::1

The router is the internet in one hop: a packet may die between the gateway, which saw it, and the server.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from ipaddress import ip_network
from itertools import product
from pathlib import Path
from typing import Literal, Self

from nfqdpi.lab import claim
from nfqdpi.lab.link import End, Trouble, lay
from nfqdpi.lab.namespace import LabError, Namespace

Family = Literal[4, 6]

# Addresses for documentation: RFC 5737 and RFC 3849.
CLIENT: dict[Family, str] = {4: "192.0.2.2", 6: "2001:db8:1::2"}
LAN: dict[Family, str] = {4: "192.0.2.1", 6: "2001:db8:1::1"}
WAN: dict[Family, str] = {4: "203.0.113.2", 6: "2001:db8:3::2"}
_UP: dict[Family, str] = {4: "203.0.113.1", 6: "2001:db8:3::1"}
_DOWN: dict[Family, str] = {4: "198.51.100.1", 6: "2001:db8:2::1"}
SERVER: dict[Family, str] = {4: "198.51.100.2", 6: "2001:db8:2::2"}
_PREFIX_LENGTH: dict[Family, int] = {4: 24, 6: 64}
_DISCARD = 9  # a port that nobody listens on
_PROBE = 0.01  # seconds
_NEIGHBOUR_MS = 20  # between two questions for a neighbour's address
_UP_TIMEOUT = 5.0  # seconds


class Lab:
    """The namespaces ``client``, ``gateway``, ``router`` and ``server``, routed and ready; on leaving, all of it goes.

    ``name`` begins with ``nfqdpi-lab-`` and names the namespaces and the directory ``state``. ``lan`` and ``wan`` are
    what the links between client and gateway and between gateway and router do to packets. Raises LabError.
    """

    def __init__(self, name: str = "", *, lan: Trouble | None = None, wan: Trouble | None = None) -> None:
        self.name = name or f"{claim.PREFIX}{os.getpid()}"
        self.client, self.gateway, self.router, self.server = (Namespace(f"{self.name}-{role}") for role in claim.ROLES)
        self._lock = -1
        self._lan, self._wan = lan, wan
        self._links: list[subprocess.Popen[bytes]] = []

    @property
    def state(self) -> Path:
        """The lab's own directory: configuration, certificates, logs."""
        return claim.STATE / self.name

    def __enter__(self) -> Self:
        self._lock = claim.claim(self.name)
        try:
            self._build()
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock >= 0:
            self._release()

    def _release(self) -> None:
        claim.release(self.name, self._lock)
        for link in self._links:  # it ended with its namespace
            link.wait()
        self._links.clear()

    def leave_standing(self) -> None:
        """Leaving the ``with`` block takes nothing down any more."""
        claim.leave_standing(self.name, self._lock)
        self._lock = -1

    def _build(self) -> None:
        for namespace in (self.client, self.gateway, self.router, self.server):
            namespace.add()
            # No duplicate address detection, which takes a second; of the link-local addresses too.
            namespace.set(ipv6__conf__all__accept_dad=0, ipv6__conf__default__accept_dad=0)
        for namespace in (self.gateway, self.router):
            namespace.set(ipv4__ip_forward=1, ipv6__conf__all__forwarding=1)
        self._join((self.client, "eth0"), (self.gateway, "lan0"), self._lan)
        self._join((self.router, "up0"), (self.gateway, "wan0"), self._wan)
        self._join((self.server, "eth0"), (self.router, "down0"), None)
        self.gateway.configure(
            "link set lo up",
            *_interface("lan0", LAN),
            *_interface("wan0", WAN),
            *_default_route(_UP),
        )
        self.router.configure(
            *_interface("up0", _UP),
            *_interface("down0", _DOWN),
            *(f"route add {_network(LAN, family)} via {WAN[family]}" for family in LAN),
        )
        self.client.configure("link set lo up", *_interface("eth0", CLIENT), *_default_route(LAN))
        self.server.configure("link set lo up", *_interface("eth0", SERVER), *_default_route(_DOWN))
        links = ((self.client, "eth0"), (self.gateway, "lan0"), (self.gateway, "wan0"), (self.router, "up0"),
                 (self.router, "down0"), (self.server, "eth0"))
        for (namespace, link), family in product(links, SERVER):
            # Not a second's wait where the question for a neighbour met a link that was not awake yet.
            namespace.set(**{f"ipv{family}__neigh__{link}__retrans_time_ms": _NEIGHBOUR_MS})
        for family in SERVER:
            self._await_answer(family)

    def _join(self, one: End, other: End, trouble: Trouble | None) -> None:
        if trouble:
            self._links.append(lay(one, other, trouble, self.state / "link.log"))
        else:
            other[0].configure(f"link add {other[1]} type veth peer name {one[1]} netns {one[0].name}")

    def _await_answer(self, family: Family) -> None:
        """Until the server refuses a datagram of the client: the kernel wakes a link up behind our back."""
        deadline = time.monotonic() + _UP_TIMEOUT
        with self.client.entered():
            probe = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
        with probe:
            probe.settimeout(_PROBE)
            while True:
                try:
                    probe.connect((SERVER[family], _DISCARD))
                    probe.send(b"")
                    probe.recv(1)
                except ConnectionRefusedError:
                    return
                except OSError as error:  # silence, or not routed yet
                    if time.monotonic() > deadline:
                        raise LabError(f"IPv{family} of {self.name} is not up after {_UP_TIMEOUT:.0f} s") from error
                    time.sleep(_PROBE)


def _network(addresses: dict[Family, str], family: Family) -> str:
    return str(ip_network(f"{addresses[family]}/{_PREFIX_LENGTH[family]}", strict=False))


def _interface(name: str, addresses: dict[Family, str]) -> list[str]:
    add = [f"addr add {address}/{_PREFIX_LENGTH[family]} dev {name}" for family, address in addresses.items()]
    return [*(f"{line} nodad" if ":" in line else line for line in add), f"link set {name} up"]


def _default_route(gateway: dict[Family, str]) -> list[str]:
    return [f"route add default via {address}" for address in gateway.values()]
