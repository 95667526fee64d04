"""The lab's cases: who asks for what, and what is expected of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Literal

from nfqdpi.core.verdict import Verdict
from nfqdpi.lab import clients
from nfqdpi.lab.clients import Answer
from nfqdpi.lab.network import Family, Lab
from nfqdpi.lab.resolver import REAL
from nfqdpi.lab.web import BIG_FILE, BIG_FILE_BYTES

Mode = Literal["strict", "fast"]

NAMES = ("allowed.example", "blocked.example", "www.blocked.example", "notblocked.example", "silent.example")
# Where the policy leads names to in the answers of DNS.
ELSEWHERE: dict[Family, str] = {4: "192.0.2.80", 6: "2001:db8:1::80"}
NOWHERE: dict[Family, str] = {4: str(IPv4Address(0)), 6: str(IPv6Address(0))}
_SEGMENT = 1460  # bytes of payload, the most that Ethernet carries
_SILENCE = 0.3  # seconds without an answer that are silence


# A ClientHello of one segment; of two, by the protocol names it offers; or as the client's own defaults make it: one
# segment before OpenSSL 3.5, two since (it has a post-quantum key share).
Hello = Literal["short", "long", "default"]
_SHORT_GROUP = "X25519"
LONG_ALPN = ",".join(["http/1.1", *(letter * 254 for letter in "abcdefgh")])
_HELLO_OPTIONS = {
    ("curl", "short"): ("--curves", _SHORT_GROUP),
    ("curl", "default"): (),
    ("openssl", "short"): ("-groups", _SHORT_GROUP),
    ("openssl", "long"): ("-groups", _SHORT_GROUP, "-alpn", LONG_ALPN),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a case ends in; as expectation or as observation.

    ``client`` is an ``Answer.outcome``, ``queued`` the packets that entered the queue (expected: at most), ``mark`` our
    field of the conntrack mark (None: no entry), ``server`` the payload bytes that reached the server (expected: at
    most; None for any number).
    """

    verdict: str | None
    client: str
    queued: int
    mark: int | None
    server: int | None


@dataclass(frozen=True, slots=True)
class Case:
    """One try of one client. ``queued`` is the most packets that may enter the queue, in strict and in fast mode.
    ``plain``: HTTP without TLS, DNS over TCP; ``addresses``: what DNS says."""

    what: str
    client: Literal["curl", "openssl", "quic", "dig"]
    name: str
    verdict: Verdict
    queued: dict[Mode, int]
    path: str = "/"
    plain: bool = False
    hello: Hello = "short"
    addresses: Mapping[Family, str] | None = None

    def answer(self, family: Family) -> str | None:
        """The detail of an answer that is ``ok``; None: any."""
        if self.path.endswith(BIG_FILE):
            return f"200, {BIG_FILE_BYTES} B"
        return None if self.addresses is None else self.addresses[family]

    def expected(self, mode: Mode) -> Outcome:
        if self.client == "dig":
            return self._expected_of_dns(mode)
        if self.client == "quic" and self.verdict.blocks:
            # The flow's only packet went nowhere, so conntrack knows of no flow.
            client = "refused" if self.verdict is Verdict.BLOCK else "timeout"
            return Outcome("block", client, self.queued[mode], None, 0)
        if self.verdict is Verdict.ACCELERATE:
            # Strict mode reads every request of a plain HTTP flow, so such a flow is never released.
            mark = Verdict.INSPECT if self.plain and mode == "strict" else Verdict.ACCELERATE
            return Outcome("accelerate", "ok", self.queued[mode], mark, None)
        client = "timeout" if self.verdict is Verdict.BLOCK_SILENT else "reset"
        # Of a hello of two segments the first one passes; what matters is that the server never has it whole.
        return Outcome("block", client, self.queued[mode], self.verdict, 0 if self.hello == "short" else _SEGMENT)

    def _expected_of_dns(self, mode: Mode) -> Outcome:
        verdict = "block" if self.verdict.blocks else "accelerate"
        if self.addresses is REAL:
            return Outcome(verdict, "ok", self.queued[mode], Verdict.INSPECT, None)
        if self.plain:  # over TCP nothing can be said in the resolver's place
            return Outcome("block", "reset", self.queued[mode], Verdict.BLOCK, 0)
        # The answer is ours, and the query went nowhere: conntrack knows of no flow.
        return Outcome(verdict, "ok" if self.addresses else "nxdomain", self.queued[mode], None, 0)

    def run(self, lab: Lab, family: Family, ca: Path) -> Answer:
        match self.client:
            case "curl":
                url = f"{'http' if self.plain else 'https'}://{self.name}{self.path}"
                timeout = _SILENCE if self.verdict is Verdict.BLOCK_SILENT else 10
                return clients.curl(lab.client, url, family, ca, *_HELLO_OPTIONS["curl", self.hello], timeout=timeout)
            case "openssl":
                return clients.openssl(lab.client, self.name, family, ca, *_HELLO_OPTIONS["openssl", self.hello])
            case "dig":
                return clients.dig(lab.client, family, self.name, "+tcp" if self.plain else "+notcp")
            case "quic":
                return clients.quic(lab.client, family, self.name,
                                    timeout=_SILENCE if self.verdict is Verdict.BLOCK_SILENT else 1)


# Strict mode queues the server's SYN+ACK, the client's payload and, of an allowed TLS flow, the server's first reply.
# Of a plain HTTP flow, which strict mode never releases, the client's FIN as well.
_PLAIN: dict[Mode, int] = {"strict": 3, "fast": 1}
_REQUEST: dict[Mode, int] = {"strict": 2, "fast": 1}
_HELLO: dict[Mode, int] = {"strict": 3, "fast": 1}
_LONG_HELLO: dict[Mode, int] = {"strict": 4, "fast": 2}
_BLOCKED_LONG_HELLO: dict[Mode, int] = {"strict": 3, "fast": 2}
# The reply to a post-quantum hello is two segments as well, which come as one, and NFQUEUE takes them apart.
_DEFAULT_HELLO: dict[Mode, int] = {"strict": 5, "fast": 2}
_INITIAL: dict[Mode, int] = {"strict": 1, "fast": 1}
_QUERY: dict[Mode, int] = {"strict": 1, "fast": 1}
_QUERY_AND_ANSWER: dict[Mode, int] = {"strict": 2, "fast": 2}

CASES = (
    Case("http allowed", "curl", "allowed.example", Verdict.ACCELERATE, _PLAIN, plain=True),
    Case("http blocked", "curl", "blocked.example", Verdict.BLOCK, _REQUEST, plain=True),
    Case("http dropped in silence", "curl", "silent.example", Verdict.BLOCK_SILENT, _REQUEST, plain=True),
    Case("tls allowed", "curl", "allowed.example", Verdict.ACCELERATE, _HELLO),
    Case("tls blocked", "curl", "blocked.example", Verdict.BLOCK, _REQUEST),
    Case("tls dropped in silence", "curl", "silent.example", Verdict.BLOCK_SILENT, _REQUEST),
    Case("tls below a blocked name", "curl", "www.blocked.example", Verdict.BLOCK, _REQUEST),
    Case("tls look-alike allowed", "curl", "notblocked.example", Verdict.ACCELERATE, _HELLO),
    Case("tls allowed", "openssl", "allowed.example", Verdict.ACCELERATE, _HELLO),
    Case("tls blocked", "openssl", "blocked.example", Verdict.BLOCK, _REQUEST),
    Case("tls two-segment allowed", "openssl", "allowed.example", Verdict.ACCELERATE, _LONG_HELLO, hello="long"),
    Case("tls two-segment blocked", "openssl", "blocked.example", Verdict.BLOCK, _BLOCKED_LONG_HELLO, hello="long"),
    Case("tls default hello allowed", "curl", "allowed.example", Verdict.ACCELERATE, _DEFAULT_HELLO, hello="default"),
    Case("tls default hello blocked", "curl", "blocked.example", Verdict.BLOCK, _BLOCKED_LONG_HELLO, hello="default"),
    Case("tls 100 MB allowed", "curl", "allowed.example", Verdict.ACCELERATE, _HELLO, path=f"/{BIG_FILE}"),
    Case("dns allowed", "dig", "allowed.example", Verdict.ACCELERATE, _QUERY_AND_ANSWER, addresses=REAL),
    Case("dns blocked", "dig", "blocked.example", Verdict.BLOCK, _QUERY),
    Case("dns redirected", "dig", "moved.example", Verdict.ACCELERATE, _QUERY, addresses=ELSEWHERE),
    Case("dns null address", "dig", "nowhere.example", Verdict.ACCELERATE, _QUERY, addresses=NOWHERE),
    Case("dns over TCP allowed", "dig", "allowed.example", Verdict.ACCELERATE, _PLAIN, plain=True, addresses=REAL),
    Case("dns over TCP blocked", "dig", "blocked.example", Verdict.BLOCK, _REQUEST, plain=True),
    Case("dns over TCP redirected", "dig", "moved.example", Verdict.ACCELERATE, _REQUEST, plain=True,
         addresses=ELSEWHERE),
    Case("http/3 allowed", "quic", "allowed.example", Verdict.ACCELERATE, _INITIAL),
    Case("http/3 blocked", "quic", "blocked.example", Verdict.BLOCK, _INITIAL),
    Case("http/3 dropped in silence", "quic", "silent.example", Verdict.BLOCK_SILENT, _INITIAL),
)
