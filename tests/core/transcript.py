"""A flow told packet by packet: what client and server send, and in one line what the engine says to each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from nfqdpi.config import Config
from nfqdpi.core.classifier import Classifier, DatagramClassifier
from nfqdpi.core.decision import Action, Decision, Judgement, Limits
from nfqdpi.core.engine import Engine
from nfqdpi.core.plugin import Adviser
from nfqdpi.core.verdict import Reason, Verdict
from nfqdpi.plugins import http, tls
from nfqdpi.policy.model import Policy, Rule
from nfqdpi.policy.names import Pattern
from nfqdpi.testing.packets import ACK, CLIENT, CLIENT6, PSH, SERVER, SERVER6, SYN, ip, tcp
from nfqdpi.testing.tls import hello

OPEN, CLOSED = Config().exceptions, {reason: Verdict.BLOCK for reason in Config().exceptions}
CLASSIFIERS = (tls.classifier, http.classifier)

BLOCKED, SILENT, WATCHED, ALLOWED = "blocked.example", "silent.example", "watched.example", "allowed.example"
RULES = (
    Rule("no", Verdict.BLOCK, (Pattern.parse(BLOCKED),)),
    Rule("hush", Verdict.BLOCK_SILENT, (Pattern.parse(SILENT),)),
    Rule("watch", Verdict.INSPECT, (Pattern.parse(WATCHED),)),
)

HELLO, BAD = hello(ALLOWED), hello(BLOCKED)
JUNK = b"\x00\x01 another protocol"
OPENING, YES, NO = "inspect need_more", "confirm default", "block rule"  # what a strict engine says to TLS


def engine(*, strict: bool = True, default: Verdict = Verdict.ACCELERATE, exceptions: Mapping[Reason, Verdict] = OPEN,
           classifiers: Sequence[Classifier | DatagramClassifier | Adviser] = CLASSIFIERS, **limits: float) -> Engine:
    """An engine with the rules above."""
    return Engine(classifiers, Policy(RULES, default), exceptions, strict=strict,
                  limits=replace(Limits(), **limits))  # type: ignore[arg-type]  # whole numbers stay whole


@dataclass
class Talk:
    """One flow's two ends. Payloads follow one another unless ``at`` gives an offset in the stream; the server
    acknowledges all that the client has sent unless ``acks`` gives an offset.

    Each line of the answer is "verdict reason", or "drop reason" where the packet goes nowhere, "hold reason" where it
    is kept.
    """

    engine: Engine
    six: bool = False
    sport: int = 40000
    dport: int = 443
    isn: int = 0xFFFFFF00  # the stream wraps within the first hello
    server_isn: int = 7000
    now: float = 1000.0
    sent: int = 0  # the end of the client's bytes so far, as an offset
    received: int = 0  # the end of the server's
    mark: Verdict = Verdict.UNSEEN  # what conntrack keeps of the last verdict
    judgements: list[Judgement] = field(default_factory=list)

    def opens(self) -> str:
        """The server's SYN+ACK."""
        return self._line(self.packet(False, self.server_isn, self.isn + 1, b"", SYN | ACK))

    def client(self, payload: bytes, *, at: int | None = None, flags: int = ACK | PSH, options: bytes = b"") -> str:
        """A segment of the client's."""
        offset = self.sent if at is None else at
        self.sent = max(self.sent, offset + len(payload))
        ack = self.server_isn + 1 + self.received
        return self._line(self.packet(True, self.isn + 1 + offset, ack, payload, flags, options))

    def clients(self, *payloads: bytes) -> list[str]:
        """Several segments of the client's, one behind the other."""
        return [self.client(payload) for payload in payloads]

    def server(self, payload: bytes, *, acks: int | None = None, at: int | None = None) -> str:
        """A segment of the server's."""
        offset = self.received if at is None else at
        self.received = max(self.received, offset + len(payload))
        ack = self.isn + 1 + (self.sent if acks is None else acks)
        return self._line(self.packet(False, self.server_isn + 1 + offset, ack, payload, ACK | PSH))

    def unseen(self, payload: bytes) -> None:
        """A segment of the server's that the rules do not queue."""
        self.received += len(payload)

    def packet(
        self, from_client: bool, seq: int, ack: int, payload: bytes, flags: int, options: bytes = b""
    ) -> bytes:
        ends = (CLIENT6, SERVER6) if self.six else (CLIENT, SERVER)
        ports = (self.sport, self.dport)
        src, dst = ends if from_client else ends[::-1]
        sport, dport = ports if from_client else ports[::-1]
        return ip(6, tcp(payload, seq=seq, ack=ack, flags=flags, sport=sport, dport=dport, options=options), src, dst)

    def _line(self, packet: bytes) -> str:
        decision = self.engine.process(packet, self.now, state=self.mark)
        if decision.action is Action.MARK:
            self.mark = decision.verdict
        self.judgements += decision.judgements
        return line(decision)


def line(decision: Decision) -> str:
    """A decision in two words."""
    what = (decision.verdict if decision.action is Action.MARK else decision.action).name.lower()
    return f"{what} {decision.reason}"


Talks = Callable[..., Talk]  # the fixture's: a flow before an engine with these settings
