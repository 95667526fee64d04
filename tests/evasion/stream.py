"""TCP by hand from the client's namespace, at addresses that no kernel there holds, so that none answers for us."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Literal, Self

from nfqdpi.lab.network import Family, Lab
from nfqdpi.testing.packets import ACK, FIN, PSH, RST, SYN
from tests.evasion.packets import HONEST, Arrived, How, Place, arrived, pieces, segment, timestamps
from tests.evasion.wire import Tap, Wire, lan

ADVERSARY: dict[Family, str] = {4: "192.0.2.66", 6: "2001:db8:1::66"}

_MSS = 1380  # bytes: room for every option and extension header within 1500
_SEQ = 1 << 32
_SYN_EVERY, _SYNS = 1.0, 8  # seconds, times


class Adversary:
    """A client at the end of the LAN that makes its own packets: what comes in goes to the stream whose port it has."""

    def __init__(self, lab: Lab) -> None:
        self._wire = Wire(lan(lab), ADVERSARY.values())
        self._tap = Tap(lab.client)
        self.send = self._wire.send
        self._ports = count(10_000)
        self._streams: dict[int, RawStream] = {}
        self._going = True
        self._thread = threading.Thread(target=self._receive, daemon=True)
        self._thread.start()

    def stream(self, family: Family, dst: str, dport: int, *, port: int = 0) -> RawStream:
        """A stream to be opened; ``port`` to use one again. Every other has a port of its own."""
        made = RawStream(self, Place(family, ADVERSARY[family], dst, port or next(self._ports), dport))
        self.listen(made)
        return made

    def listen(self, stream: RawStream) -> None:
        """What comes in for the stream's port is the stream's, from now on."""
        self._streams[stream.place.sport] = stream

    def forget(self, stream: RawStream) -> None:
        if self._streams.get(stream.place.sport) is stream:
            del self._streams[stream.place.sport]

    def _receive(self) -> None:
        while self._going:
            packet = self._tap.receive()
            if packet is not None and (came := arrived(packet)) is not None:
                stream = self._streams.get(came.place.dport)
                if stream is not None and stream.place.back == came.place:
                    stream.take(came)

    def close(self) -> None:
        self._going = False
        self._thread.join()
        self._wire.close()
        self._tap.close()


class RawStream:
    """One TCP connection's client side. It acknowledges what it gets, and sends nothing else unless told.

    Places in the stream are offsets from its first byte. ``got`` is what the server said, ``fate`` how it ended;
    ``acked`` the offset up to which the server has acknowledged, ``end`` where `send` goes on.
    """

    def __init__(self, owner: Adversary, place: Place) -> None:
        self.owner, self.place = owner, place
        self.base = random.randrange(_SEQ)  # noqa: S311  the adversary's own number
        self.got = b""
        self.fate: Literal["unopened", "open", "reset", "closed"] = "unopened"
        self.acked = self.end = 0
        self.how = HONEST  # of the acknowledgements, and of all that is sent without another
        self.clock = False  # with timestamps
        self.deaf = False  # hears nothing
        self._theirs = 0  # sequence number of the server's first byte
        self._fin = 0
        self._echo = 0
        self._early: dict[int, bytes] = {}
        self._changed = threading.Condition()

    # --- sending ---

    def open(self, data: bytes = b"", how: How | None = None) -> Self:
        """The handshake, with ``data`` in the first SYN; a lost SYN is sent again. TimeoutError if nobody answers."""
        for turn in range(_SYNS):
            self.owner.send(self._made(b"" if turn else data, -1, replace(how or self.how, flags=SYN)))
            if self.wait(lambda: self.fate != "unopened", _SYN_EVERY):
                self.acknowledge()
                return self
        raise TimeoutError(f"no SYN+ACK to port {self.place.sport}")

    def send(self, data: bytes = b"", at: int | None = None, how: How | None = None) -> None:
        """Segments of the stream at ``at``; without it, at the end, which moves."""
        start = self.end if at is None else at
        for offset, piece in pieces(data, _MSS) or [(0, b"")]:
            self.owner.send(self._made(piece, start + offset, how or self.how))
        if at is None:
            self.end += len(data) + bool((how or self.how).flags & FIN)

    def packet(self, data: bytes, at: int, how: How = HONEST) -> bytes:
        """The packet that `send` would send, of any size."""
        return self._made(data, at, how)

    def acknowledge(self) -> None:
        self.owner.send(self._made(b"", self.end, replace(self.how, flags=ACK)))

    def forge(self, data: bytes, acks: int, *, flags: int = ACK | PSH, ahead: int = 0) -> None:
        """A packet in the server's name, ``ahead`` of where the server is; it acknowledges up to offset ``acks``."""
        seq = self._theirs + len(self.got) + ahead
        self.owner.send(segment(self.place.back, seq, self.base + acks, data, How(flags=flags)))

    def _made(self, data: bytes, at: int, how: How) -> bytes:
        if self.clock:
            now = int(time.monotonic() * 1000) + how.clock
            how = replace(how, options=timestamps(now, self._echo) + how.options)
        # A plain reset has no acknowledgement; what stands in the field all the same is nobody's business.
        ack = self._theirs + len(self.got) + self._fin + how.ack if how.flags & ACK or how.ack else 0
        return segment(self.place, self.base + at + how.seq, ack, data, how)

    # --- receiving, in the wire's thread ---

    def take(self, came: Arrived) -> None:
        with self._changed:
            if self.deaf:
                return
            if came.flags & RST:
                self.fate = "reset"
            elif came.flags & SYN and came.flags & ACK and self.fate == "unopened":
                self._theirs, self.base = came.seq + 1, came.ack
                self._note_clock(came.options)
                self.fate = "open"
            elif self.fate in ("open", "closed"):
                self._take_data(came)
            self._changed.notify_all()

    def _take_data(self, came: Arrived) -> None:
        self._note_clock(came.options)
        if came.flags & ACK:
            self.acked = max(self.acked, (came.ack - self.base + _SEQ // 2) % _SEQ - _SEQ // 2)
        at = (came.seq - self._theirs + _SEQ // 2) % _SEQ - _SEQ // 2
        if came.data:
            self._early[at] = came.data
        while (piece := self._early.pop(len(self.got), None)) is not None:
            self.got += piece
        if came.flags & FIN and at + len(came.data) == len(self.got):
            self.fate, self._fin = "closed", 1
        if (came.data or came.flags & (FIN | SYN)):
            self.acknowledge()

    def _note_clock(self, options: bytes) -> None:
        at = options.find(b"\x08\x0a")  # good enough for a peer that we know
        if self.clock and at >= 0:
            self._echo = int.from_bytes(options[at + 2 : at + 6])

    # --- waiting ---

    def wait(self, true: Callable[[], bool], seconds: float) -> bool:
        """Until it is true, looked at whenever something arrives; False if it never was in that time."""
        with self._changed:
            return self._changed.wait_for(true, seconds)

    def await_ack(self, offset: int, seconds: float = 5) -> bool:
        """Until the server has acknowledged up to the offset, or the stream has ended."""
        return self.wait(lambda: self.acked >= offset or self.fate != "open", seconds)

    def await_answer(self, count: int = 1, seconds: float = 5) -> bool:
        """Until the server has sent ``count`` bytes, or the stream has ended."""
        return self.wait(lambda: len(self.got) >= count or self.fate != "open", seconds)

    def close(self) -> None:
        """Reset it, so that nobody keeps it, and give the port back."""
        if self.fate in ("open", "closed"):
            self.send(at=max(self.end, self.acked), how=replace(self.how, flags=RST | ACK))
        self.owner.forget(self)
