"""The observers' process, without a process."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from nfqdpi.core.observer import Block, Ended, Observer, Remark, Seen
from nfqdpi.daemon.observation import BEAT, DECIDED, ENDED, REMARK, Observation, RemarkRow
from tests.events.samples import decided


class Says:
    """An observer that says what it is given, of whatever it is told."""

    def __init__(self, what: Callable[[Seen], Any]) -> None:
        self._what = what

    def seen(self, seen: Seen) -> Iterable[Remark]:
        found: Iterable[Remark] = self._what(seen)
        return found

    def ended(self, ended: Ended) -> Iterable[Remark]:
        yield Remark("ended", f"{ended.seen.domain} {ended.packets} {ended.volume}")

    def memory(self) -> bytes:
        return b""


def told(here: Path, *messages: bytes, **what: Callable[[Seen], Any]) -> list[Any]:
    """What is said by observers of these names: remarks, and in the end how much was taken, missed and raised."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    observers = [Observer(name, "1", lambda _, says=says: Says(says)) for name, says in what.items()]  # type: ignore[misc]
    with ours, theirs:
        at_work = Observation(observers, here, theirs)
        at_work._beat()
        for message in messages:
            at_work._hear(message[:1], message[1:])
        at_work._beat()
        theirs.shutdown(socket.SHUT_WR)
        heard = list(iter(lambda: ours.recv(1 << 16), b""))
    beats = [msgspec.msgpack.decode(message[1:]) for message in heard if message[:1] == BEAT]
    found = [msgspec.msgpack.decode(message[1:], type=RemarkRow) for message in heard if message[:1] == REMARK]
    return [*(Remark(kind, words, block and Block(*block)) for kind, words, block in found), beats[-1]]


def rows(*names: str) -> bytes:
    return DECIDED + msgspec.msgpack.encode([(b"key", decided(name)) for name in names])


def test_each_is_told_of_each(tmp_path: Path) -> None:
    """Verdicts with their domain, ends with what was moved; what is remarked can be shown on a terminal."""
    wish = Block("example.com", bytes(4), 60.0)
    end = ENDED + msgspec.msgpack.encode((decided("www.example.com"), 7, 900))
    assert told(tmp_path, rows("www.example.com", "b.example.org"), end, one=lambda seen: [
        Remark("saw", f"\x1b[2J{seen.domain}", wish)], two=lambda _: ()) == [
            Remark("saw", "?[2Jexample.com", wish), Remark("saw", "?[2Jexample.org", wish),
            Remark("ended", "example.com 7 900"), Remark("ended", "example.com 7 900"), [3, 0, {}]]


@pytest.mark.parametrize("makes", [
    pytest.param(lambda _: 1 / 0, id="raises"),
    pytest.param(lambda _: sys.exit("\ud800"), id="wants to end"),
    pytest.param(lambda _: None, id="nothing to go through"),
    pytest.param(lambda _: ["no remark"], id="no remark"),
    pytest.param(lambda _: [Remark("With spaces", "")], id="an odd kind"),
    pytest.param(lambda _: [Remark("long", "x" * 5000)], id="a long one"),
    pytest.param(lambda _: [Remark("what", 7)], id="a number"),  # type: ignore[arg-type]
])
def test_one_that_goes_wrong_costs_the_others_nothing(tmp_path: Path, makes: Callable[[Seen], Any]) -> None:
    """It rests, is counted, and what it is not told meanwhile, too."""
    failed, *saw, beat = told(tmp_path, rows("a.com", "b.com", "c.com"), bad=makes,
                              good=lambda seen: [Remark("saw", seen.names[0])])
    assert (failed.kind, beat) == ("observer_failed", [3, 2, {"bad": 1}])
    assert [remark.message for remark in saw] == ["a.com", "b.com", "c.com"]


def test_who_cannot_stop_is_heard_for_a_while(tmp_path: Path) -> None:
    """Of an endless answer, so much."""
    *saw, _ = told(tmp_path, rows("a.com"), endless=lambda _: iter(lambda: Remark("again", ""), None))
    assert len(saw) == 100
