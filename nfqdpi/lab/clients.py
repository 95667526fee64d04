"""The client side: real curl, openssl and dig, and the first datagram of HTTP/3, and what each of them saw."""

from __future__ import annotations

import json
import os
import re
import socket
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from nfqdpi.lab.namespace import Namespace
from nfqdpi.lab.network import CLIENT, SERVER, Family
from nfqdpi.testing import quic_initial

_CURL_TIMEOUT, _CURL_REFUSED = 28, 7  # curl(1), exit codes
_DIG_FAILS = {"connection reset": "reset", "connection refused": "refused", "timed out": "timeout"}
_dig_ports = count(5300)  # no port a second time: conntrack remembers


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client saw: ``ok``, ``nxdomain``, ``reset``, ``refused``, ``timeout`` or ``error``; how long after the
    handshake."""

    outcome: str
    detail: str = ""
    ms: float = 0.0
    port: int = 0


def curl(client: Namespace, url: str, family: Family, ca: Path, *options: str, timeout: float = 10) -> Answer:
    """Fetch a URL from the lab's server, whatever its name; the detail is the status and the bytes of the body."""
    # -q and --noproxy: neither this user's .curlrc nor a proxy of this machine has a part in the lab.
    done = client.run(["curl", "-q", "-sS", "--noproxy", "*", "--max-time", str(timeout), "--cacert", ca, *options,
                       "--connect-to", f"::[{SERVER[family]}]:", "-o", "/dev/null", "-w", "%{json}", url], check=False,
                      timeout=timeout + 5)
    seen = json.loads(done.stdout)
    ms = round((seen["time_total"] - seen["time_connect"]) * 1000, 1)
    match seen["exitcode"]:
        case 0:
            return Answer("ok", f"{seen['http_code']}, {seen['size_download']} B", ms, seen["local_port"])
        case code if code == _CURL_TIMEOUT:
            return Answer("timeout", "", ms, seen["local_port"])
        case code if code == _CURL_REFUSED:
            return Answer("refused", "", ms, seen["local_port"])
        case _:
            outcome = "reset" if "reset by peer" in seen["errormsg"] else "error"
            return Answer(outcome, seen["errormsg"], ms, seen["local_port"])


def openssl(client: Namespace, name: str, family: Family, ca: Path, *options: str, timeout: float = 10) -> Answer:
    """A TLS handshake. The detail is the negotiated version."""
    started = time.monotonic()
    done = client.run(["openssl", "s_client", "-brief", "-connect", f"[{SERVER[family]}]:443", "-servername", name,
                       "-CAfile", ca, "-verify_return_error", "-verify_hostname", name, *options], check=False,
                      timeout=timeout)
    ms = round((time.monotonic() - started) * 1000, 1)
    output = done.stdout + done.stderr
    if "Verification: OK" in output:
        version = re.search(r"Protocol version: (\S+)", output)
        return Answer("ok", version[1] if version else "", ms)
    # openssl prints the system's number of a failed read or write; 104 is ECONNRESET.
    return Answer("reset" if "errno=104" in output else "error", output.strip().splitlines()[-1], ms)


def dig(client: Namespace, family: Family, name: str, *options: str, timeout: int = 1) -> Answer:
    """Ask the lab's server for the name's addresses of the family; the detail is what it says they are."""
    port = next(_dig_ports)
    started = time.monotonic()
    done = client.run(["dig", "-r", f"@{SERVER[family]}", "-b", f"{CLIENT[family]}#{port}", "+tries=1",
                       f"+time={timeout}", *options, name, "A" if family == 4 else "AAAA"], check=False)
    ms = round((time.monotonic() - started) * 1000, 1)
    if (status := re.search(r"status: (\w+)", done.stdout)) is None:
        outcome = next((what for text, what in _DIG_FAILS.items() if text in done.stdout), "error")
        return Answer(outcome, done.stdout.strip().splitlines()[-1], ms, port)
    addresses = re.findall(r"^[^;\s]+\s+\d+\s+IN\s+A+\s+(\S+)$", done.stdout, re.MULTILINE)
    return Answer("ok" if status[1] == "NOERROR" else status[1].lower(), ", ".join(addresses), ms, port)


def quic(client: Namespace, family: Family, name: str, *, timeout: float = 1) -> Answer:
    """A QUIC Initial to UDP port 443, with a hello for the name; ``refused``: an ICMP port unreachable came."""
    with client.entered():
        probe = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
    with probe:
        probe.settimeout(timeout)
        probe.connect((SERVER[family], 443))
        port = probe.getsockname()[1]
        started = time.monotonic()
        try:
            probe.send(quic_initial(name, dcid=os.urandom(8)))
            probe.recv(1)
        except ConnectionRefusedError:
            return Answer("refused", "port unreachable", round((time.monotonic() - started) * 1000, 1), port)
        except TimeoutError:
            return Answer("timeout", "", timeout * 1000, port)
    return Answer("ok", "an answer", round((time.monotonic() - started) * 1000, 1), port)
