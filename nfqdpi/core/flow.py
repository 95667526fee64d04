"""A flow that the kernel cannot decide alone yet."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from nfqdpi.core._native import mypyc_attr
from nfqdpi.core.asking import Asked
from nfqdpi.core.classifier import NEED_MORE, NO_MATCH, Answer, Classification, Classify, Glimpse, Pending, Reply, Step
from nfqdpi.core.decision import Client, Path
from nfqdpi.core.packet import Flags, FlowKey, Segment
from nfqdpi.core.stream import Added, StreamBuffer
from nfqdpi.core.table import Held
from nfqdpi.core.verdict import Reason, Verdict

_FLOW_BYTES: Final = 1500  # the object, its key, its buffers without their bytes, and its places in the table

_SERVER_BYTES: Final = 16640  # a ServerHello's record at its longest (RFC 8446, 5.1: 2^14 + 256), to find the reply in
_SERVER_SEGMENTS: Final = 64
_MOST_LOOKING: Final = 1 << 20  # bytes in which an answer is looked for, in all; it is in the first hundred
_MOST_STEPS: Final = 256  # behind a unit without an answer; a ClientHello's early data comes in a few records
_ANY_REPLY: Final = Reply(accepted=True, length=0)
_ENDS: Final = Flags.FIN | Flags.RST
_SEQ_BITS: Final = 1 << 32
_FIN: Final = 1  # it takes a sequence number (RFC 9293, 3.4), and is not queued


@mypyc_attr(acyclic=True)
class Flow(Held):
    """One TCP flow while packets of it reach us. ``key`` is in the client's direction.

    ``stream`` holds what the client sent. ``verdict`` is INSPECT while units are read, CONFIRM while the server's reply
    to the unit ``awaiting`` is outstanding (``server``: its first bytes), and final once decided; ``confirmed`` is what
    it becomes when the server takes the unit; ``doubted``: it is judged, but readers who may know better read on until
    then. ``rivals``: when one reader knows the unit, the others that do not say never (``contested``: they know it too,
    or hope to). ``claim``: what the first one knew, while the others are asked. ``since``: when the unit being read
    began, in ``now``'s seconds; None between units.
    """

    __slots__ = ("_beyond", "_looked", "acked", "answers_read", "asked", "awaiting", "claim", "client", "confirmed",
                 "contested", "crosses", "doubted", "end", "packets", "readers", "reason", "revision", "rival_base",
                 "rivals", "server", "server_base", "since", "stream")

    def __init__(self, key: FlowKey, client: Client, stream: StreamBuffer, readers: tuple[Classify, ...], now: float
                 ) -> None:
        super().__init__(key, now)
        self.client = client  # as of its first packet
        self.stream = stream
        self.readers = readers
        self.since: float | None = None
        self.packets = 0  # payload packets that reached us
        self.server_base: int | None = None  # by the server's SYN+ACK; None: not ours to see, as in fast mode
        self.crosses = False  # from one interface to another, as what has opened it; a gateway may have one for both
        self.rival_base: int | None = None  # by a second SYN+ACK
        self.acked = 0  # the client has read the server's stream up to this sequence number
        self.end: int | None = None  # the offset in the client's stream behind which nothing may follow (its FIN, RST)
        self.reason = Reason.NEED_MORE
        self.confirmed = Verdict.ACCELERATE
        self.doubted = False
        self.rivals: tuple[Classify, ...] = ()
        self.contested = False
        self.claim: Classification | None = None
        self.awaiting: Classification | None = None
        self.revision: object = None  # of the policy that has allowed the unit
        self.server: StreamBuffer | None = None
        self.answers_read = True  # of the server's to units before, each to its end
        self._looked = 0  # bytes in which the answer was looked for, over and over
        self._beyond: tuple[int, Classify | None, int] | None = None  # how far ahead_of_reply has read
        self.asked: Asked | None = None  # about the last unit that there were questions about

    def take(self, segment: Segment) -> Added:
        """Put a client segment's bytes on record, if a server would take them where it stands."""
        # E13: a server takes the urgent byte out of the stream, and discards a segment that is signed where it expects
        # none: either way it would read another stream than we.
        if segment.flags & Flags.URG or segment.signed:
            return Added.UNFIT
        if segment.flags & Flags.ACK and not self.acknowledge(segment.ack):
            return Added.OUTSIDE
        start = self.stream.offset(segment.seq)
        end = start + len(segment.payload)
        if segment.flags & _ENDS:
            if start < 0:
                return Added.OUTSIDE  # no server ends a stream before its beginning
            # E7: it may never reach the server, so it frees nothing; but nothing new of the client's follows it.
            self.end = end if self.end is None else min(self.end, end)
        elif self.end is not None and end > self.end:
            return Added.OUTSIDE
        return self.record(segment)

    def record(self, segment: Segment) -> Added:
        """Put a client segment's bytes on record."""
        if not segment.payload or not self.readers:
            return Added.SEEN
        seq = segment.seq + bool(segment.flags & Flags.SYN)
        if self.held_from is not None and self.stream.offset(seq) + len(segment.payload) > self.held_from:
            return Added.OUTSIDE  # it will be sent again, after the server has spoken
        return self.stream.add(seq, segment.payload)

    @property
    def memory(self) -> int:
        """As the table's."""
        return _FLOW_BYTES + self.stream.memory + (self.server.memory if self.server is not None else 0)

    @property
    def unfinished(self) -> bool:
        """True: until it is decided, its next unit may have begun."""
        return True

    def release(self) -> None:
        """Give the bytes back: nothing more will be read."""
        self.stream.clear()
        self.server = None

    @property
    def opening_seen(self) -> bool:
        """True where the stream's base is the server's word (E1)."""
        return self.server_base is not None

    def classify(self) -> Answer:
        """What the readers that are left say of the unit's bytes; those that say never are asked no more."""
        head = self.stream.head
        asked = [(read, answer) for read in self.readers if (answer := read(head)) is not NO_MATCH]
        if len(asked) == 1 and isinstance(only := asked[0][1], Classification):  # as nearly always
            self.rivals, self.contested = (), False
            return only
        known = [(read, answer) for read, answer in asked if isinstance(answer, Classification | Step)]
        if known:
            # First what nobody reads on from: what others read on from is not lost by it.
            first, found = min(known, key=lambda one: one[1].then is not None)
            rivals = [(read, answer) for read, answer in asked if read is not first]
            self.rivals = tuple(read for read, _ in rivals)
            self.contested = any(not _unlikely(answer) for _, answer in rivals)
            return found
        self.readers = tuple((isinstance(answer, Glimpse) and answer.then) or read for read, answer in asked)
        glimpses = [answer for _, answer in asked if isinstance(answer, Glimpse)]
        likely = [glimpse for glimpse in glimpses if glimpse.protocol]
        if len(likely) > 1:
            return replace(likely[0], names=tuple(name for glimpse in likely for name in glimpse.names))
        if likely:
            return likely[0]
        if len(glimpses) < len(asked):
            return NEED_MORE
        return glimpses[0] if glimpses else NO_MATCH

    def next_unit(self, unit: Classification | Step, then: Classify | None, now: float) -> None:
        """The unit is judged; ``then`` reads what follows it. None: nobody does."""
        self.stream.advance(unit.length, unit.skip)
        self.readers, self.rivals, self.contested, self.claim = (then,) if then is not None else (), (), False, None
        if then is None:
            self.stream.clear()  # watched, not read: what passes from here on is not recorded
        self.since = now if self.stream.head else None

    def await_reply(self, unit: Classification, confirmed: Verdict, revision: object) -> None:
        """The unit is allowed, by a policy of this revision, if the server takes it: ``confirmed`` is the verdict
        then."""
        self.verdict, self.awaiting, self.confirmed, self._looked = Verdict.CONFIRM, unit, confirmed, 0
        self.revision = revision
        if self.server is None or self.server.offset(self.acked) > self.server.start:
            self.server = StreamBuffer(self.acked, _SERVER_BYTES, _SERVER_SEGMENTS)

    @property
    def answer_begins(self) -> bool:
        """E6: True where it is certain at which byte the answer to the next unit begins. Once an answer has passed
        unread, the server may send parts of it again for as long as the client does not acknowledge them, and what
        they look like is the client's choice: servers repeat what they were sent."""
        if self.server is None:
            return self.answers_read and self.acked == self.server_base
        return self.answers_read and self.server.offset(self.acked) <= self.server.start

    def forged(self, path: Path) -> bool:
        """True of a server's packet that goes back where it came from, on a flow that crosses the gateway: the client's
        own network speaks for the server. A reverse path filter stops that, but IPv6 has none by a setting."""
        return self.crosses and not path.crosses

    def opens_again(self, base: int) -> bool:
        """True of a second SYN+ACK to the same SYN, before the client has said anything: a network may copy a SYN, and
        the server answer each with a number of its own. The client's first acknowledgement says which it took."""
        if self.verdict is not Verdict.INSPECT or self.stream.high or self.server_base is None:
            return False
        if base != self.server_base:
            self.rival_base = base
        return True

    def reply(self, ack: int) -> Reply | Pending:
        """What the server, which has got as far as ``ack``, says of the unit awaiting an answer."""
        unit = self.awaiting
        if unit is None or self.server is None or self.stream.offset(ack) < self.stream.start + unit.length:
            return NEED_MORE
        if unit.confirm is None:
            return _ANY_REPLY
        self._looked += len(self.server.head)
        return unit.confirm(self.server.head) if self._looked <= _MOST_LOOKING else NEED_MORE

    def acknowledge(self, ack: int) -> bool:
        """Take note of an acknowledgement of the client's. False: it is older than the flow, which no honest client
        sends and Linux discards with all its data (tcp_ack(): TCP_TOO_OLD_ACK). conntrack drops those of what the
        server has not sent."""
        if self.server_base is None:
            self.acked = ack
            return True
        if self.rival_base is not None:
            self.server_base = self.acked = min(self.server_base, self.rival_base, key=lambda b: (ack - b) % _SEQ_BITS)
            self.rival_base = None
        before = (self.acked - self.server_base) % _SEQ_BITS
        further = (ack - self.acked + _SEQ_BITS // 2) % _SEQ_BITS - _SEQ_BITS // 2
        if further > 0:
            self.acked = ack
        return before + further >= 0

    def resume(self) -> None:
        """The server did not take the unit: read the next."""
        self.verdict, self.awaiting, self._beyond, self.doubted = Verdict.INSPECT, None, None, False

    def ahead_of_reply(self, unit: Classification) -> bool:
        """True where the client has sent, behind a unit that the server has not answered, what the server could take
        for the next one: nobody would stand between its reply and the client any more. No byte is read twice."""
        at, then, steps = self._beyond or (unit.length + unit.skip, unit.then, 0)
        if unit.hold:
            return len(self.stream.head) > at
        while then is not None and (rest := self.stream.head[at:]):
            answer = then(rest)
            if not isinstance(answer, Step):
                then = (isinstance(answer, Glimpse) and answer.then) or then
                self._beyond = at, then, steps
                return answer is not NEED_MORE and not isinstance(answer, Glimpse)
            at, then, steps = at + answer.length + answer.skip, answer.then, steps + 1
            if steps > _MOST_STEPS:
                return True
        self._beyond = at, then, steps
        return False

    @property
    def reply_missed(self) -> bool:
        """True where the client has read more of the awaited reply than we."""
        if self.awaiting is None or self.awaiting.confirm is None or self.server is None:
            return False
        return self.server.offset(self.acked) > max(self.server.high, self.server.start) + _FIN

    @property
    def held_from(self) -> int | None:
        """The stream offset from which nothing may pass before the server's reply; None: all may."""
        unit = self.awaiting
        return self.stream.start + unit.length + unit.skip if unit is not None and unit.hold else None


def _unlikely(answer: Answer) -> bool:
    return isinstance(answer, Glimpse) and not answer.protocol
