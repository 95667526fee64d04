"""Flows that hide their names: clients ask DNS, then open TLS without a server name to the address that they were told.

`python -m tests.soak.hidden [--flows 10000]`, as root: through a real gateway, with dnsmasq, nginx and OpenSSL. Each
server address carries as many names as it has clients, and each client asks for one of them. Exit code 1 if fewer than
95 % of the flows have the name that was asked for, or if one has another.
"""

from __future__ import annotations

import argparse
import json
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from nfqdpi.lab.cases import NAMES
from nfqdpi.lab.daemon import daemon
from nfqdpi.lab.namespace import LabError
from nfqdpi.lab.network import SERVER, Lab
from nfqdpi.lab.web import WebServer
from nfqdpi.testing.dns import query
from tests.kernel.daily import ask, config

CLIENTS, SERVERS = 50, 200  # addresses, a flow at most from each to each
LEAST = 0.95
_TTL, _PATIENCE = 60, 20.0  # s
_AT_ONCE = 8


class Flow(NamedTuple):
    """One that was made: both ends, and the name that its client had asked for."""

    client: str
    port: int
    server: str
    name: str


class Result(NamedTuple):
    """How many flows have the name, have none and have another."""

    named: int
    nameless: int
    wrong: int


def run(lab: Lab, flows: int) -> tuple[Result, dict[str, int]]:
    """Make so many flows, at most CLIENTS x SERVERS; what became of them, and the daemon's counters."""
    text = f"{config(lab)}\n[plugin.dns]\nenabled = true\n"
    with _servers(lab), daemon(lab, text) as running, ThreadPoolExecutor(_AT_ONCE) as pool:
        made = list(pool.map(lambda number: _visit(lab, number), range(flows)))
        time.sleep(1)  # events are gathered for 20 ms
        counters = json.loads(ask(lab, running, "stats", "--json"))["total"]
    return _compare(made, lab.state / "eve.json"), counters


@contextmanager
def _servers(lab: Lab) -> Iterator[None]:
    """Addresses, a web server on all of them, and a resolver that knows their names."""
    lab.client.configure(*(f"addr add {_client(n)}/24 dev eth0" for n in range(CLIENTS)))
    lab.server.configure(*(f"addr add {_server(n)}/24 dev eth0" for n in range(SERVERS)))
    WebServer(lab.server, lab.state / "web", NAMES)
    options = ["--conf-file=/dev/null", "--keep-in-foreground", "--no-resolv", "--no-hosts", "--user=root",
               "--bind-interfaces", f"--listen-address={SERVER[4]}", f"--local-ttl={_TTL}",
               f"--pid-file={lab.state / 'dnsmasq.pid'}",
               *(f"--address=/site{n}.example/{_server(n)}" for n in range(SERVERS))]
    resolver = lab.server.popen(["dnsmasq", *options], log=lab.state / "dnsmasq.log")
    try:
        deadline = time.monotonic() + _PATIENCE
        while not _asked(lab, "site0.example", _client(0), 0.1):
            if time.monotonic() > deadline:
                raise LabError((lab.state / "dnsmasq.log").read_text())
        yield
    finally:
        resolver.kill()
        resolver.wait()


def _visit(lab: Lab, number: int) -> Flow:
    client, name = _client(number % CLIENTS), f"host{number}.site{number // CLIENTS}.example"
    server = _asked(lab, name, client, _PATIENCE)
    with lab.client.entered():
        plain = socket.create_connection((server, 443), _PATIENCE, (client, 0))
    nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    nobody.check_hostname, nobody.verify_mode = False, ssl.CERT_NONE
    with nobody.wrap_socket(plain) as flow:
        return Flow(client, flow.getsockname()[1], server, name)


def _asked(lab: Lab, name: str, client: str, patience: float) -> str:
    """The address that DNS tells a client; "" where nothing comes."""
    with lab.client.entered():
        asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with asking:
        asking.settimeout(patience)
        asking.bind((client, 0))
        asking.connect((SERVER[4], 53))
        try:
            asking.send(query(name))
            return socket.inet_ntoa(asking.recv(512)[-4:])  # its only record is the last
        except OSError:
            return ""


def _compare(made: list[Flow], events: Path) -> Result:
    told = {}
    for line in events.read_text().splitlines():
        event = json.loads(line)
        if event.get("dest_port") == 443:
            told[event["src_ip"], event["src_port"], event["dest_ip"]] = event.get("dns_name", "")
    names = [(told.get(flow[:3], ""), flow.name) for flow in made]
    named, nameless = sum(name == wanted for name, wanted in names), sum(not name for name, _ in names)
    return Result(named, nameless, len(made) - named - nameless)


def _client(number: int) -> str:
    return f"192.0.2.{10 + number}"


def _server(number: int) -> str:
    return f"198.51.100.{10 + number}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="hidden", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--flows", type=int, default=CLIENTS * SERVERS, help="at most, and the default: %(default)s")
    asked = parser.parse_args()
    started = time.monotonic()
    with Lab() as lab:
        result, counters = run(lab, asked.flows)
    print(f"{asked.flows} flows in {time.monotonic() - started:.0f} s: {result.named} named "
          f"({result.named / asked.flows:.2%}), {result.nameless} without a name, {result.wrong} with a wrong one; "
          f"{', '.join(f'{key} {value}' for key, value in counters.items() if key.startswith('names_'))}")
    return int(result.wrong > 0 or result.named < LEAST * asked.flows)


if __name__ == "__main__":
    sys.exit(main())
