"""A real resolver, dnsmasq, on port 53 of the lab's server or gateway; it writes down what it was asked."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Self

from nfqdpi.lab.namespace import LabError, Namespace
from nfqdpi.lab.network import SERVER, Family
from nfqdpi.testing.dns import ALPN, ECH, HTTPS, IPV4_HINT, IPV6_HINT, service

REAL: dict[Family, str] = {4: "198.51.100.80", 6: "2001:db8:2::80"}  # the address of every name that it knows
KEYS = bytes.fromhex("0008fe0d000461626364")  # an ECHConfigList, of an unknown kind inside (RFC 9849, 4)
_NAMES = ("allowed.example", "blocked.example", "www.blocked.example", "silent.example", "moved.example",
          "nowhere.example", "use-application-dns.net")
_HINTS = service((ALPN, b"\2h2"), (IPV4_HINT, ip_address(REAL[4]).packed), (ECH, KEYS),
                 (IPV6_HINT, ip_address(REAL[6]).packed))
_PATIENCE = 5.0  # s
_QUERY = re.compile(r"query\[(\S+)\] (\S+) from (\S+)")


class Resolver:
    """Answers for a few names and writes every query down; alias.example is an alias of www.blocked.example,
    alias.moved.test of moved.example; this and allowed.example have services with keys and hints. Listening once made.
    """

    def __init__(self, place: Namespace, here: Path, addresses: Mapping[Family, str] = SERVER) -> None:
        here.mkdir()
        self._log = here / "queries.log"
        options = ["--conf-file=/dev/null", "--keep-in-foreground", "--no-resolv", "--no-hosts", "--user=root",
                   "--bind-interfaces", "--local=/#/", f"--pid-file={here / 'pid'}", "--log-queries",
                   f"--log-facility={self._log}", "--cname=alias.example,www.blocked.example",
                   "--cname=alias.moved.test,moved.example",
                   *(f"--listen-address={address}" for address in addresses.values()),
                   *(f"--host-record={name},{REAL[4]},{REAL[6]}" for name in _NAMES),
                   *(f"--dns-rr={name},{HTTPS},{_HINTS.hex()}" for name in ("allowed.example", "moved.example"))]
        self._process = place.popen(["dnsmasq", *options], log=here / "dnsmasq.log")
        deadline = time.monotonic() + _PATIENCE
        while not self._log.exists() or "started" not in self._log.read_text():
            if time.monotonic() > deadline:
                raise LabError(f"dnsmasq: {(here / 'dnsmasq.log').read_text()}")
            time.sleep(0.01)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def asked(self) -> list[tuple[str, str]]:
        """Types and names of all queries, in their order."""
        return [(kind, name) for kind, name, _ in _QUERY.findall(self._log.read_text())]

    @property
    def sources(self) -> set[str]:
        """The addresses that they came from."""
        return {source for _, _, source in _QUERY.findall(self._log.read_text())}
