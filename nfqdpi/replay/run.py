"""Capture files to rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from mmap import mmap
from operator import attrgetter
from os import fsencode
from pathlib import Path
from time import time
from typing import Any

from nfqdpi import assemble, plugins
from nfqdpi.config import Config
from nfqdpi.core import units
from nfqdpi.core.classifier import Answer, DatagramClassifier, Message, ReadDatagram
from nfqdpi.core.known import SIZE, KnownTable
from nfqdpi.core.packet import Datagram, Unreadable, parse
from nfqdpi.core.plugin import Reader
from nfqdpi.core.units import UnitTable
from nfqdpi.core.verdict import Reason
from nfqdpi.replay.captures import BrokenCaptureError, Capture
from nfqdpi.replay.entry import Entry
from nfqdpi.replay.fragments import Fragments
from nfqdpi.replay.gate import Gate
from nfqdpi.replay.links import ip_packet

_STEP = 1024  # packets between two reports of progress

Progress = Callable[[int], None]  # is told how many more bytes of the file on disk are done with


@dataclass(slots=True)
class Tally:
    """What a file held. ``problems``: a line each, without the file's name; ``unread``: packets by reason."""

    packets: int = 0
    flows: int = 0
    rows: int = 0
    unread: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.packets + other.packets, self.flows + other.flows, self.rows + other.rows,
                     self.unread + other.unread, self.problems + other.problems)


class Replay:
    """Reads one file after another with the same engines."""

    def __init__(self, config: Config, *, show_all: bool = False) -> None:
        """``show_all``: also flows in which no protocol was recognised. Raises plugins.PluginError."""
        policy = assemble.current(config, time())  # once: it may have lists to compile
        names = mmap(-1, SIZE)
        readers, names = _readers(config.plugin), mmap(-1, SIZE)
        self._engine, self._mirror = (assemble.engine(config, policy, KnownTable(names), readers) for _ in range(2))
        self._show_all = show_all

    def rows(self, path: Path, tally: Tally, progress: Progress = lambda _: None) -> Iterator[dict[str, Any]]:
        """A row for each flow, in the order in which they began, and for each message of DNS; the tally is whole when
        they are all out."""
        shown = fsencode(path).decode(errors="backslashreplace")
        ended: list[Entry] = []
        gate = Gate(self._engine, self._mirror, ended.append)
        for engine in (self._engine, self._mirror):
            engine.datagrams.units = UnitTable(mmap(-1, units.SIZE))  # another file's are no matter
        try:
            with Capture(path) as capture:
                for _ in self._feed(capture, gate, tally, progress):
                    yield from self._drain(ended, shown, tally)
        except OSError as error:
            tally.problems.append(error.strerror or str(error))
        except BrokenCaptureError as error:
            tally.problems.append(str(error))
        gate.close()
        yield from self._drain(ended, shown, tally)
        tally.flows += gate.flows
        if gate.failed:
            tally.problems.append(f"{gate.failed} packets could not be judged: {gate.failure}")

    def _drain(self, ended: list[Entry], shown: str, tally: Tally) -> Iterator[dict[str, Any]]:
        for entry in sorted(ended, key=attrgetter("number")):
            if entry.recognised or self._show_all:
                tally.rows += 1
                yield entry.row(shown)
        ended.clear()

    @staticmethod
    def _feed(capture: Capture, gate: Gate, tally: Tally, progress: Progress) -> Iterator[None]:
        """Each packet to the gate; a pause now and then, for rows and progress."""
        fragments = Fragments()
        done = 0
        unknown: Counter[int] = Counter()
        try:
            for frame in capture.frames():
                tally.packets += 1
                if not tally.packets % _STEP:
                    progress(capture.consumed - done)
                    done = capture.consumed
                    yield
                try:
                    packet = ip_packet(frame.link, frame.data)
                except KeyError:
                    unknown[frame.link] += 1
                    continue
                whole = fragments.whole(packet, frame.time) if packet else None
                if whole is None:
                    continue
                match parse(whole):
                    case Unreadable(reason):
                        if reason is not Reason.UNKNOWN_PROTOCOL:
                            tally.unread[str(reason)] += 1
                    case Datagram() as datagram:
                        gate.datagram_by(datagram, frame.time)
                    case segment:
                        gate.pass_by(whole, segment, frame.time)
        finally:
            progress(capture.consumed - done)
            tally.problems += (f"{count} packets of link type {link}, which is not known"
                               for link, count in unknown.items())


def _readers(sections: Mapping[str, plugins.Section]) -> list[Reader]:
    """Those of every plugin that the configuration does not disable: a capture is nobody's traffic."""
    enabled = {point.name: {"enabled": True, **sections.get(point.name, {})} for point in plugins.points()}
    offered = [reader for readers in plugins.readers(enabled).values() for reader in readers]
    return [_telling(reader) if isinstance(reader, DatagramClassifier) else reader for reader in offered]


def _telling(reader: DatagramClassifier) -> DatagramClassifier:
    """The same, but that it has answers told of as questions are."""

    def read(payload: bytes, read: ReadDatagram = reader.read) -> Answer | Message:
        found = read(payload)
        return replace(found, asks=True) if isinstance(found, Message) else found

    return replace(reader, read=read)
