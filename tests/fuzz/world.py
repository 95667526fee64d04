"""Clients, a strict gateway and honest servers, moved by a script: what strict mode promises, all in one place.

The gateway is the real engine behind a model of the kernel's rules (iptables/strict.rules). The clients are hostile:
they know that some of their packets pass the gateway and never reach the server (a low TTL, a bad checksum). Whatever
they send, ``World.play`` raises AssertionError where a server application was asked for the blocked name, or a promise
of the engine's is broken.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nfqdpi.core.decision import Action, Decision, Path
from nfqdpi.core.flow import Flow
from nfqdpi.core.verdict import Reason, Verdict
from nfqdpi.testing.http import request
from nfqdpi.testing.packets import ACK, CLIENT, CLIENT6, FIN, PSH, RST, SERVER, SERVER6, SYN, URG, ip, tcp
from nfqdpi.testing.tls import CHANGE_CIPHER_SPEC, hello, hello_message, records, server_name
from tests.core.transcript import ALLOWED, BLOCKED, engine
from tests.fuzz.server import Image, understand

PORTS = range(40000, 40004)
_FLOW_MEMORY = 60_000  # bytes; three records of 2 KiB, a server's of 16 KiB, 600 pieces


def _tiny_records(name: str) -> bytes:
    return records(hello_message(server_name(name.encode())), 7)


_SAID = (
    hello(BLOCKED),
    request(ALLOWED) + request(BLOCKED),
    request(BLOCKED),
    request(ALLOWED, "Content-Length: 20", method="POST") + bytes(20) + request(BLOCKED),
    request(ALLOWED, "Transfer-Encoding: chunked", method="POST") + b"5\r\nhello\r\na;x\r\n0123456789\r\n0\r\n\r\n"
    + request(BLOCKED),
    request(ALLOWED, "Upgrade: websocket") + request(BLOCKED),
    request(None, method="CONNECT", target=f"{ALLOWED}:80") + request(BLOCKED),
    hello(ALLOWED) + CHANGE_CIPHER_SPEC + hello(BLOCKED),
    request(ALLOWED) + request(ALLOWED, "Upgrade: websocket") + request(BLOCKED),
    b"\x00\x01 another protocol\r\n" + request(BLOCKED),
    request(ALLOWED, *(f"X-{n}: {n:0200}" for n in range(12))) * 2 + request(BLOCKED),
)
_FIRST, _FIELD = request(ALLOWED), f"X: {0:064}"

# What clients say, and what they pretend to say: the same with an allowed name, or something else altogether.
TEXTS = (
    (_tiny_records(BLOCKED), _tiny_records(ALLOWED)),
    *((text, text.replace(BLOCKED.encode(), ALLOWED.encode())) for text in _SAID),
    (_FIRST + request(BLOCKED, _FIELD), _FIRST + request(None, _FIELD, method="CONNECT", target=f"{ALLOWED}:80")),
    (_FIRST + request(BLOCKED, _FIELD), _FIRST + request(ALLOWED, "Upgrade: x")),
    (_FIRST + request(BLOCKED), _FIRST.replace(b"\r\n\r\n", b"\r\nContent-Length: 100\r\n\r\n")),
    (hello(BLOCKED), request(ALLOWED)),
)
FIRST = len(_FIRST)  # where the second request starts in many of them

# Ways to send a segment: its flags, its options, and by how many bytes its acknowledgement is late.
WAYS = (
    (ACK | PSH, b"", 0),
    (ACK | PSH | URG, b"", 0),
    (ACK | RST, b"", 0),
    (ACK | FIN, b"", 0),
    (ACK, b"\x13\x12" + bytes(18), 0),
    (ACK, b"", 20),
    (ACK, b"", 1 << 12),
    (ACK, b"", -66_000),
)
_LAN, _WAN = 1, 2  # the interfaces' numbers
_UP, _DOWN = Path(_LAN, _WAN), Path(_WAN, _LAN)
# IP headers by family and direction: putting addresses together took half of the time.
_HEADS = {
    (six, from_client): ip(6, b"", *(ends if from_client else ends[::-1]))
    for six, ends in ((False, (CLIENT, SERVER)), (True, (CLIENT6, SERVER6))) for from_client in (True, False)
}


@dataclass(frozen=True, slots=True)
class Send:
    """A client's segment: ``length`` bytes of its text from ``start``, ``shift`` bytes from where they belong.
    ``arrives``: false for one that the server never gets; ``way``: one of WAYS."""

    port: int
    start: int
    length: int
    shift: int = 0
    decoy: bool = False
    arrives: bool = True
    way: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """The server sends ``length`` bytes of its answers, from ``back`` bytes before where it was."""

    port: int
    length: int
    back: int = 0


@dataclass(frozen=True, slots=True)
class Forge:
    """The client says in the server's name that all has arrived, and answers for it as a willing one or not."""

    port: int
    willing: bool


@dataclass(frozen=True, slots=True)
class Opens:
    """The server's SYN+ACK, repeated while it has nothing; ``again``: of a new flow on the same ports, with the former
    one's mark."""

    port: int
    again: bool


@dataclass(frozen=True, slots=True)
class Wait:
    """Time passes, in seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Raw:
    """Any bytes in place of a packet, as a client's on no flow in particular."""

    packet: bytes


Move = Send | Answer | Forge | Opens | Wait | Raw


class _Talk:
    """A client's flow with a server: what the rules know of it, and what the server got."""

    def __init__(self, port: int, number: int, kind: int) -> None:
        self.port = port
        self.six = bool(port & 1)
        self.text, self.decoy = TEXTS[kind & 15]
        self.willing = bool(kind & 16)
        self.isn = (0xFFFFFFC0 + 70_000 * number) % (1 << 32)
        self.server_isn = 7000 + 70_000 * number
        self.mark = Verdict.UNSEEN
        self.got = Image(last_wins=bool(kind & 32))
        self.passed = Image()  # by the engine, whether it arrived or not
        self.sent = 0  # bytes of the server's

    def packet(self, from_client: bool, offset: int, ack: int, payload: bytes, flags: int,
               options: bytes = b"") -> bytes:
        mine, theirs = (self.isn, self.server_isn) if from_client else (self.server_isn, self.isn)
        sport, dport = (self.port, 443) if from_client else (443, self.port)
        segment = tcp(payload, seq=mine + 1 + offset, ack=theirs + 1 + ack, flags=flags, sport=sport, dport=dport,
                      options=options)
        head = bytearray(_HEADS[self.six, from_client])
        length = len(segment) if self.six else 20 + len(segment)
        head[4 if self.six else 2 : 6 if self.six else 4] = length.to_bytes(2, "big")
        return bytes(head) + segment


class World:
    """``kinds``: for each port which text its client has and what its server is like."""

    def __init__(self, kinds: Iterable[int], **limits: float) -> None:
        self.engine = engine(**({"max_bytes": 2048, "max_segments": 16, "max_flows": 4} | limits))  # type: ignore[arg-type]
        self.now = 1000.0
        self._opened = 0
        self.talks: dict[int, _Talk] = {}
        for port, kind in zip(PORTS, kinds, strict=False):
            self._open(port, kind)

    def play(self, moves: Iterable[Move]) -> None:
        """Make the moves, and look after each whether all is as promised."""
        for move in moves:
            match move:
                case Send():
                    self._send(self.talks[move.port], move)
                case Answer():
                    self._answer(self.talks[move.port], move)
                case Forge():
                    self._forge(self.talks[move.port], move.willing)
                case Opens(port, True):
                    self._open(port, self._opened * 5)
                case Opens(port, False):
                    self._opening(self.talks[port])
                case Wait():
                    self.now += move.seconds
                case Raw():
                    self._decide(move.packet)

    def heard(self, port: int) -> list[bytes]:
        """The names that the server on this flow was asked for."""
        return understand(self.talks[port].got.text(), willing=self.talks[port].willing).names

    def _open(self, port: int, kind: int) -> None:
        former = self.talks.get(port)
        self.talks[port] = _Talk(port, self._opened, kind)
        if former is not None:
            self.talks[port].mark = former.mark
        self._opened += 1
        self._opening(self.talks[port])

    def _opening(self, talk: _Talk) -> None:
        if 1 in talk.got.there:
            return
        talk.passed = Image()  # of all that was sent the server has nothing
        self._obey(talk, self._decide(talk.packet(False, -1, 0, b"", SYN | ACK), _DOWN, talk.mark))

    def _send(self, talk: _Talk, move: Send) -> None:
        text = talk.decoy if move.decoy else talk.text
        start = min(move.start, len(text))
        payload = text[start : start + move.length]
        offset, (flags, options, late) = start + move.shift, WAYS[move.way]
        if talk.mark.blocks:
            return
        if talk.mark is not Verdict.ACCELERATE and (payload or flags & (FIN | RST)):
            acknowledged = max(0, talk.sent - late) if late >= 0 else late
            packet = talk.packet(True, offset, acknowledged, payload, flags, options)
            decision = self._decide(packet, _UP, talk.mark)
            if not self._obey(talk, decision):
                return
            if decision.verdict is not Verdict.ACCELERATE:
                assert not flags & URG, "urgent data passed"
                assert not options, "signed data passed"
                self._compare(talk, offset, payload)
        if move.arrives:
            talk.got.put(offset, payload)
            names = self.heard(talk.port)
            assert BLOCKED.encode() not in names, f"the server was asked for {names}"

    @staticmethod
    def _compare(talk: _Talk, offset: int, payload: bytes) -> None:
        """E2, E3: two copies of a byte pass only if they are equal, or where no server looks."""
        different = talk.passed.conflicts(offset, payload)
        talk.passed.put(offset, payload)
        if different:
            bodies = understand(talk.passed.text(), willing=talk.willing).bodies
            for at in different:
                assert any(start <= at < end for start, end in bodies), f"two values passed at {at}"

    def _answer(self, talk: _Talk, move: Answer) -> None:
        answers = b"".join(understand(talk.got.text(), willing=talk.willing).answers)
        start = max(0, talk.sent - move.back)
        payload = answers[start : start + move.length]
        if payload and self._reply(talk, start, talk.got.read, payload, _WAN):
            talk.sent = max(talk.sent, start + len(payload))

    def _forge(self, talk: _Talk, willing: bool) -> None:
        answers = b"".join(understand(talk.decoy, willing=willing).answers)
        self._reply(talk, 0, len(talk.decoy), answers, _LAN)

    def _reply(self, talk: _Talk, offset: int, ack: int, payload: bytes, interface: int) -> bool:
        """True: it goes on to the client."""
        if talk.mark.blocks:
            return False
        if talk.mark is not Verdict.CONFIRM:
            return True
        packet = talk.packet(False, offset, ack, payload, ACK | PSH)
        return self._obey(talk, self._decide(packet, Path(interface, _LAN), talk.mark))

    @staticmethod
    def _obey(talk: _Talk, decision: Decision) -> bool:
        """What the rules do with a decided packet. True: it goes on."""
        if decision.action is Action.DROP:
            return False
        talk.mark = decision.verdict
        return not talk.mark.blocks

    def _decide(self, packet: bytes, path: Path = _UP, state: Verdict = Verdict.UNSEEN) -> Decision:
        decision = self.engine.process(packet, self.now, path, state)
        assert isinstance(decision, Decision)
        assert decision.verdict is not Verdict.UNSEEN
        assert decision.reason in Reason
        self._measure()
        return decision

    def _measure(self) -> None:
        """The table keeps within its limits, and its books right."""
        table = self.engine.flows
        assert len(table) <= self.engine.limits.max_flows
        flows: list[Flow] = list(table)
        assert table.memory == sum(flow.weight for flow in flows)
        assert table.memory <= table.memory_limit or len(flows) == 1
        for flow in flows:
            assert flow.memory <= _FLOW_MEMORY, flow.memory
