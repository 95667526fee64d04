"""The values that go in and out of the engine: what a policy says, and what a packet's decision is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, NamedTuple, Protocol

from nfqdpi.core._native import mypyc_attr
from nfqdpi.core.classifier import Classification
from nfqdpi.core.packet import FlowKey
from nfqdpi.core.verdict import Reason, Verdict


class Client(NamedTuple):
    """Who asks: ``address`` of 4 or 16 bytes, ``mac`` of 6 (or none, where the link has none), and the index of the
    ``interface`` that the first packet came in by (0: unknown)."""

    address: bytes
    mac: bytes = b""
    interface: int = 0


class Policy(Protocol):
    """Whoever knows what names are allowed. ``revision`` is another object whenever what it says has changed."""

    @property
    def revision(self) -> object: ...

    def decide(self, name: str | None, client: Client, protocol: str = "") -> Outcome:
        """What becomes of a name (None: the flow has none) that a client asks for in a protocol ("": unknown): what
        the rule says that decides, or else the default. It is shared: nobody changes it."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a flow may be looked at before it must be decided (bytes, segments, seconds), and how many flows."""

    max_bytes: int = 65536
    max_segments: int = 64
    timeout: float = 30.0
    max_flows: int = 65536


@mypyc_attr(acyclic=True)
@dataclass(slots=True, init=False)
class Path:
    """The interfaces by which a packet came in and is to leave, as indices, 0 where unknown, and the hardware address
    of who sent it here, as the kernel has it: 6 bytes and padding, or none. ``joined``: it is several that are on their
    way together, and comes apart behind us."""

    entered: int
    leaves: int
    sender: bytes
    joined: bool

    def __init__(self, entered: int = 0, leaves: int = 0, sender: bytes = b"", joined: bool = False) -> None:
        self.entered, self.leaves, self.sender, self.joined = entered, leaves, sender, joined

    @property
    def crosses(self) -> bool:
        """True where it leaves by another interface than it came in by. Where it leaves, the routes say, not who sent
        it."""
        return self.entered != self.leaves


class Action(Enum):
    """What happens to the packet at hand."""

    MARK = auto()  # the verdict goes into the mark, and the packet meets the rules again, which obey it
    DROP = auto()  # it goes nowhere; the mark stays as it was
    HOLD = auto()  # it is kept where it is, and decided again once a question is answered


@mypyc_attr(acyclic=True)
@dataclass(slots=True, init=False)
class Outcome:
    """A verdict and where it comes from: ``rule`` is None where no rule spoke, ``list`` where the name is on none.
    ``redirect``: the addresses, of 4 or 16 bytes, that DNS is to answer with."""

    verdict: Verdict
    reason: Reason
    rule: str | None
    list: str | None
    redirect: tuple[bytes, ...]

    def __init__(self, verdict: Verdict, reason: Reason, rule: str | None = None,
                 list: str | None = None, redirect: tuple[bytes, ...] = ()) -> None:
        self.verdict, self.reason, self.rule, self.list, self.redirect = verdict, reason, rule, list, redirect


@mypyc_attr(acyclic=True)
@dataclass(slots=True, init=False)
class Judgement:
    """A verdict told once, when it is new: what an event says. ``key`` is in the client's direction, ``client`` is who
    opened the flow, ``packets`` are the payload packets that reached us, ``since`` is when the unit's first byte came,
    in ``now``'s seconds, ``base`` is the sequence number of the client's first byte: with the key it tells flows
    apart."""

    key: FlowKey
    client: Client
    outcome: Outcome
    classification: Classification | None
    packets: int
    since: float
    base: int

    def __init__(  # noqa: PLR0913, PLR0917  each is one thing about a verdict
        self, key: FlowKey, client: Client, outcome: Outcome, classification: Classification | None, packets: int,
        since: float, base: int = 0) -> None:
        self.key, self.client, self.outcome, self.classification = key, client, outcome, classification
        self.packets, self.since, self.base = packets, since, base


@mypyc_attr(acyclic=True)
@dataclass(slots=True, init=False)
class Decision:
    """The verdict for a flow, what happens to this packet, why, and what is new about it. ``onward``: the packet that
    goes on in its place, ``back``: one that goes to its sender; both begin with their IP headers. ``question``: the
    number of the one that a held packet waits for."""

    verdict: Verdict
    action: Action
    reason: Reason
    judgements: tuple[Judgement, ...]
    onward: bytes | None
    back: bytes | None
    question: int

    def __init__(  # noqa: PLR0913, PLR0917  each is one thing about a packet
        self, verdict: Verdict, action: Action, reason: Reason, judgements: tuple[Judgement, ...] = (),
        onward: bytes | None = None, back: bytes | None = None, question: int = 0) -> None:
        self.verdict, self.action, self.reason, self.judgements = verdict, action, reason, judgements
        self.onward, self.back, self.question = onward, back, question


READING: Final = Decision(Verdict.INSPECT, Action.MARK, Reason.NEED_MORE)  # the unit is not whole
WAITING: Final = Decision(Verdict.INSPECT, Action.DROP, Reason.NEED_MORE)  # the packet will be sent again
CONFIRMING: Final = Decision(Verdict.CONFIRM, Action.MARK, Reason.NEED_MORE)  # it is allowed, and not yet answered
