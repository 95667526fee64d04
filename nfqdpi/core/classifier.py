"""What a classifier is: a pure function of the bytes that a client has sent so far.

A classifier gets the *prefix*: the client's bytes in order, without gaps, from the start of the stream (or of the unit
that the last answer said to read next). It keeps nothing between calls, so it may be called with any cut of the same
bytes and must answer NEED_MORE until its answer can no longer change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Final, Protocol

from nfqdpi.core.verdict import Verdict


class Pending(Enum):
    """The two answers that carry nothing. A single-member type each would read better; enums compare faster."""

    NEED_MORE = "not yet: more bytes may decide"
    NO_MATCH = "never: this is not my protocol"


NEED_MORE: Final = Pending.NEED_MORE
NO_MATCH: Final = Pending.NO_MATCH


@dataclass(slots=True, init=False)
class Reply:
    """What a server's first bytes say of the client's unit.

    ``accepted``: the server took the unit, so what it said is the truth. False: it asked for another unit (a TLS
    HelloRetryRequest) or refused to leave the protocol (no 101 to an Upgrade). ``length``: bytes of the server's that
    the answer covers; ``skip``: opaque bytes behind them (its body), None: nobody knows where they end.
    """

    accepted: bool
    length: int
    skip: int | None

    def __init__(self, accepted: bool, length: int, skip: int | None = 0) -> None:  # compiled, as a Classification's
        self.accepted, self.length, self.skip = accepted, length, skip


Confirm = Callable[[bytes], Reply | Pending]
_NONE: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(slots=True, init=False)
class Classification:
    """A unit of the client's stream that the policy can judge.

    ``names``: every name in it, as on the wire but for case, port and trailing dot; none is a fact too. ``flaw``: why
    the unit breaks its protocol's rules, or "". ``veiled``: the names may not be the whole truth (a TLS hello that
    carries an encrypted one). ``length``: bytes of the prefix that are the unit; ``skip``: opaque
    bytes behind it that nobody needs to see (a request's body). ``confirm`` reads the server's reply: the unit counts
    once it says accepted; ``hold``: no byte behind the unit may pass before that. ``then`` reads the unit that follows
    (behind a refused one, or at once where there is nothing to confirm); None: nothing follows that could be judged.
    ``asks``: the unit asks where its names are, as DNS does. The flow will ask for more, so it is let go in no mode;
    and since no byte of a stream can become another, a redirect blocks it.
    Of datagrams: ``ids``, as a Glimpse has them; ``more``: of another unit a part has come that is not judged yet.
    """

    protocol: str
    names: tuple[str, ...]
    attributes: Mapping[str, str]
    flaw: str
    length: int
    skip: int
    confirm: Confirm | None
    hold: bool
    then: Classify | None
    veiled: bool
    asks: bool
    ids: tuple[bytes, ...]
    more: bool

    # Made for every unit: a constructor that dataclasses write is never compiled, and takes a tenth of a flow's time.
    def __init__(  # noqa: PLR0913, PLR0917  each says one thing of a unit
        self, protocol: str, names: tuple[str, ...] = (), attributes: Mapping[str, str] = _NONE, flaw: str = "",
        length: int = 0, skip: int = 0, confirm: Confirm | None = None, hold: bool = False,
        then: Classify | None = None, veiled: bool = False, asks: bool = False, ids: tuple[bytes, ...] = (),
        more: bool = False,
    ) -> None:
        if confirm is not None or then is not None:
            _check_progress(length, skip)
        self.protocol, self.names, self.attributes, self.flaw = protocol, names, attributes, flaw
        self.length, self.skip, self.confirm, self.hold, self.then = length, skip, confirm, hold, then
        self.veiled, self.asks, self.ids, self.more = veiled, asks, ids, more

    @property
    def name(self) -> str | None:
        """The first name, the one that is shown."""
        return self.names[0] if self.names else None


@dataclass(slots=True, init=False)
class Glimpse:
    """NEED_MORE, with what is there so far.

    ``names`` are in the unit for certain: one that is blocked blocks now, for a server may act on what it has of a unit
    (log it, at least) before its end (E5). ``then`` is asked next, with the same prefix and what has come behind it: it
    answers as the first reader would (but for names that were told already) and need not start over, so that a unit in
    many pieces costs no more than one in few. ``ids``: of all units on this flow, those that a server knows a unit by,
    whichever way its datagrams come (QUIC's connection ids): in strict mode no other flow may bring a part of them.

    With ``protocol`` "" it is unlikely to be any: where no other reader hopes for one, the flow is of an unknown
    protocol, as with NO_MATCH, but is read on until the server has answered.
    """

    protocol: str
    names: tuple[str, ...]
    attributes: Mapping[str, str]
    then: Classify | None
    ids: tuple[bytes, ...]

    def __init__(  # compiled, as a Classification's
        self, protocol: str, names: tuple[str, ...] = (), attributes: Mapping[str, str] = _NONE,
        then: Classify | None = None, ids: tuple[bytes, ...] = (),
    ) -> None:
        self.protocol, self.names, self.attributes, self.then, self.ids = protocol, names, attributes, then, ids


@dataclass(frozen=True, slots=True)
class Step:
    """Nothing to judge in the next ``length`` bytes nor in the ``skip`` opaque ones behind them; read on with ``then``
    (a chunk's header and its data, RFC 9112, 7.1). Where more is there, one step may stand for several."""

    length: int
    skip: int
    then: Classify

    def __post_init__(self) -> None:
        _check_progress(self.length, self.skip)


def _check_progress(length: int, skip: int) -> None:
    """A plugin that reads on without taking a byte would be asked for ever."""
    if length < 1 or skip < 0:
        raise ValueError(f"a unit of {length} bytes and {skip} opaque ones, and more to read behind it")


Answer = Classification | Glimpse | Step | Pending
Classify = Callable[[bytes], Answer]


@dataclass(frozen=True, slots=True)
class Classifier:
    """What a plugin offers for TCP.

    ``needs``: the most bytes it will ever want; past them its NEED_MORE counts as NO_MATCH. ``ports``: of servers whose
    flows it wants to see beside those of ``[queue] ports``; ``elsewhere``: it is asked about all that is queued, not
    about its own ports' flows only.
    """

    name: str
    protocol: str
    version: str
    needs: int
    classify: Classify
    ports: tuple[int, ...] = ()
    elsewhere: bool = True

    @property
    def bounded(self) -> Classify:
        """What reads, and says no more than NO_MATCH once it has seen ``needs`` bytes in vain."""
        return _Bounded(self.classify, self.needs)


class _Bounded:
    """A reader whose answer is final once ``needs`` bytes are there."""

    __slots__ = ("_needs", "_read")

    def __init__(self, read: Classify, needs: int) -> None:
        self._read = read
        self._needs = needs

    def __call__(self, prefix: bytes) -> Answer:
        answer = self._read(prefix)
        if answer is not NEED_MORE and not isinstance(answer, Glimpse):
            return answer
        if len(prefix) >= self._needs:
            return NO_MATCH
        if isinstance(answer, Glimpse) and answer.then is not None:
            then = _Bounded(answer.then, self._needs)
            return Glimpse(answer.protocol, answer.names, answer.attributes, then, answer.ids)
        return answer


@dataclass(frozen=True, slots=True)
class Known:
    """What an answer of DNS says: who asked for ``name`` was told ``address`` (4 or 16 bytes), for ``ttl`` seconds."""

    name: str
    address: bytes
    ttl: int


class Advised(Protocol):
    """What the policy says of a message. ``redirect``: the addresses that are to be answered in place of the real
    ones."""

    @property
    def verdict(self) -> Verdict: ...
    @property
    def redirect(self) -> tuple[bytes, ...]: ...


@dataclass(frozen=True, slots=True)
class Onward:
    """This payload goes on in place of the datagram's own."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Back:
    """The datagram goes nowhere; this payload goes back, as if its receiver had answered."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Message:
    """A datagram that stands for itself, in a protocol that keeps asking on one flow: it is judged alone, and its flow
    is never decided.

    ``asks``: it is a question, which is told of; an answer is told of only where something becomes of it. ``edit`` says
    what, once the policy has spoken; None: it passes as it is, or goes nowhere where the policy blocks.
    """

    protocol: str
    names: tuple[str, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)
    flaw: str = ""
    asks: bool = True
    edit: Callable[[Advised], Onward | Back | None] | None = None
    answers: tuple[Known, ...] = ()


ReadDatagram = Callable[[bytes], Answer | Message]


@dataclass(frozen=True, slots=True)
class DatagramClassifier:
    """What a plugin offers for UDP: ``read`` gets one datagram's payload.

    NEED_MORE (or a Step): nothing in it to judge. NO_MATCH: not this protocol. What a Glimpse or a Classification calls
    ``then`` reads the flow's next datagram, so what a reader holds of earlier ones is bound to it, and must be bounded.
    ``ports``: the server's, whose datagrams it reads; ``both``: the server's datagrams, too. ``joined``: it finds
    whatever is in several that are on their way together (UDP_SEGMENT, GRO) and are given as one, though nobody tells
    where they come apart. Where a reader does not, they go nowhere.
    """

    name: str
    protocol: str
    version: str
    read: ReadDatagram
    ports: tuple[int, ...]
    both: bool = False
    joined: bool = False
