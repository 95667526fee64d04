"""The observers' process: it hears what workers have decided and which flows have ended, and tells what is remarked."""

from __future__ import annotations

import os
import re
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from time import monotonic, time

import msgspec

from nfqdpi.core.observer import Ended, Observer, Remark, Seen, Watch
from nfqdpi.daemon.breaker import words
from nfqdpi.daemon.channel import received
from nfqdpi.daemon.record import Decided, Row
from nfqdpi.daemon.turns import limit_memory
from nfqdpi.kernel.privileges import drop
from nfqdpi.policy.suffixes import registrable

DECIDED, ENDED, BEAT, REMARK = b"d", b"e", b"b", b"r"  # what messages begin with

_TURN = 0.5  # s: the longest from one heartbeat to the next, unless an observer is slow
_SAVE = 60.0  # s between two writings down of what observers remember
_REST = 30.0  # s that an observer is left alone when it has raised
_MOST_REMARKS = 100  # on one thing that it was told
_LONGEST = 4000  # characters of a remark
_KIND = re.compile(r"[a-z_]+")
_MEMORY = 256 << 20  # bytes that observers may take, all together
_MODE = 0o640  # which client speaks to whom is not for every user to read

EndedRow = tuple[Decided, int, int]  # packets, bytes
RemarkRow = tuple[str, str, tuple[str, bytes, float] | None]  # Remark's; compiled, that knows its fields' types no more


class Observation:
    """``observers``: those that are enabled; ``here``: where each has its file; ``channel``: to the supervisor."""

    def __init__(self, observers: Sequence[Observer], here: Path, channel: socket.socket) -> None:
        self._here = here
        self._channel = channel
        self._taken = self._missed = 0  # of what was told; by those that rested, each for itself
        self._faults: Counter[str] = Counter()
        self._watching: dict[str, Watch] = {}
        self._observers = {one.name: one for one in observers}
        self._resting = dict.fromkeys(self._observers, 0.0)  # those that are not at work, until when
        self._remarks: list[bytes] = []  # as messages
        self._beaten = self._saved = monotonic()
        self._rows = msgspec.msgpack.Decoder(list[Row])
        self._ended = msgspec.msgpack.Decoder(EndedRow)

    def run(self) -> None:
        """Until the channel ends. Whatever an observer does, it is not root who does it."""
        drop()
        limit_memory(_MEMORY)
        self._channel.settimeout(_TURN)
        self._beat()
        while True:
            try:
                message = received(self._channel)
            except TimeoutError:
                message = None
            if message == b"":
                break
            if message:
                self._hear(message[:1], message[1:])
            if self._remarks or monotonic() - self._beaten > _TURN:
                self._beat()
        self._save()

    def _hear(self, kind: bytes, content: bytes) -> None:
        now = time()
        if kind == ENDED:
            decided, packets, volume = self._ended.decode(content)
            ended = Ended(_seen(decided, now), packets, volume)
            self._each(lambda watch: watch.ended(ended))
            self._taken += 1
            return
        for _, decided in self._rows.decode(content):
            seen = _seen(decided, now)
            self._each(partial(_told, seen=seen))
            self._taken += 1

    def _each(self, tell: Callable[[Watch], Iterable[Remark]]) -> None:
        """One that raises is left alone for a while, and then begun anew with what it remembered last."""
        self._missed += len(self._resting)
        for name, watch in list(self._watching.items()):
            try:
                self._remarks += map(_message, islice(tell(watch), _MOST_REMARKS))
            except BaseException as error:  # noqa: BLE001  whatever it is, it is that observer's
                self._fail(name, error)

    def _fail(self, name: str, error: BaseException) -> None:
        self._watching.pop(name, None)
        self._resting[name] = monotonic() + _REST
        self._faults[name] += 1
        self._remarks.append(_message(Remark(
            "observer_failed", f"observer {name!r} has failed and is left alone for {_REST:.0f} s: {words(error)}")))

    def _beat(self) -> None:
        """Show that we are alive and how far we are, tell what was remarked, and begin those anew that have rested."""
        now = self._beaten = monotonic()
        for name, until in list(self._resting.items()):
            if now >= until:
                self._begin(name)
        if now - self._saved > _SAVE:
            self._save()
        with suppress(OSError):  # the supervisor is busy, or gone
            self._channel.send(BEAT + msgspec.msgpack.encode((self._taken, self._missed, dict(self._faults))))
            for remark in self._remarks:
                self._channel.send(remark)
        self._remarks.clear()

    def _begin(self, name: str) -> None:
        file = self._here / name
        try:
            self._watching[name] = self._observers[name].begin(file.read_bytes() if file.exists() else b"")
            del self._resting[name]
        except BaseException as error:  # noqa: BLE001  as above
            self._fail(name, error)

    def _save(self) -> None:
        """Write down what observers remember."""
        self._saved = monotonic()
        for name, watch in list(self._watching.items()):
            try:
                _write(self._here / name, watch.memory())
            except BaseException as error:  # noqa: BLE001  as above; of a full disk, too
                self._fail(name, error)


def _message(remark: Remark) -> bytes:
    """The remark as a message. Raises ValueError where an observer has made something else."""
    kind, message, block = msgspec.msgpack.decode(msgspec.msgpack.encode(remark), type=RemarkRow)  # or what is wrong
    if not _KIND.fullmatch(kind) or len(message) > _LONGEST:
        raise ValueError(f"a remark of kind {kind[:_LONGEST]!r} with {len(message)} characters")
    # Names come off the wire, and an operator's terminal shows them.
    shown = "".join(letter if letter.isprintable() else "?" for letter in message)
    return REMARK + msgspec.msgpack.encode((kind, shown, block))


def _told(watch: Watch, seen: Seen) -> Iterable[Remark]:
    return watch.seen(seen)


def _seen(decided: Decided, now: float) -> Seen:
    names = decided.names
    return Seen(now, decided.client.address, decided.client.mac, names, registrable(names[0]) if names else "",
                decided.protocol, decided.verdict.blocks)


def _write(file: Path, memory: bytes) -> None:
    """Whole, or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f".{file.name}.new")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, _MODE), "wb") as out:
        out.write(memory)
    new.replace(file)
