"""What an update takes and what it refuses, when the next one is due, and that a kill leaves no mixture."""

from __future__ import annotations

import hashlib
import math
import random
import threading
import time
from contextlib import suppress
from itertools import count
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec
import pytest

from nfqdpi.config.model import DomainList
from nfqdpi.config.values import Duration
from nfqdpi.lists.store import Store
from nfqdpi.lists.update import Outcome, Result, due, next_due, update
from nfqdpi.policy.formats import Format
from tests.lists.server import Server

LIST = b"".join(b"0.0.0.0 name%d.example\n" % n for n in range(100))
DAY = 86400.0


def renew(source: DomainList, store: Store) -> Result:
    return next(update([source], store, lambda *_: None))


def test_a_list_is_stored_with_its_facts(server: Server, store: Store) -> None:
    """What is in it, where it is from, and in which format it was found to be; unchanged, it stays."""
    source = DomainList(name="ads", url=server.give("/ads", LIST + b"0.0.0.0\n"))
    result = renew(source, store)
    stored = store.load("ads")
    assert (result.outcome, result.problem) == (Outcome.NEW, "")
    assert stored is not None
    assert stored.text == LIST + b"0.0.0.0\n"
    assert result.facts == stored.facts == store.facts("ads")
    assert (stored.facts.form, stored.facts.names, stored.facts.refused) == (Format.HOSTS, 100, 1)
    assert renew(source, store).outcome is Outcome.UNCHANGED
    server.give("/ads", LIST)
    assert renew(source, store).outcome is Outcome.NEW


REFUSED = {
    "it is HTML or XML, not a list": b"\n <!DOCTYPE html><title>Sign in</title>\n",
    "it is empty": b"\n",
    "it is empty or in none of the formats": b"too many requests\n",
    "no name in it, read as hosts": b"127.0.0.1 localhost\n",
    "49 names where there were 100: below least = 0.5": LIST[: LIST.index(b"0.0.0.0 name49.")],
    "more than 1000 lines: 2000": LIST * 20,
    "larger than 50000 bytes": bytes(50_001),
}


@pytest.mark.parametrize("why", REFUSED)
def test_a_version_that_cannot_be_meant_is_refused(server: Server, store: Store, why: str) -> None:
    """The old one stays, the reason is kept until a version is taken again."""
    source = DomainList(name="ads", url=server.give("/ads", LIST), max_lines=1000, max_bytes=50_000)
    first = renew(source, store)
    server.give("/ads", REFUSED[why])
    assert renew(source, store) == Result("ads", Outcome.REFUSED, first.facts, why)
    stored, attempt = store.load("ads"), store.attempt("ads")
    assert stored is not None
    assert attempt is not None
    assert (stored.text, attempt.problem) == (LIST, why)
    server.give("/ads", LIST)
    assert renew(source, store).outcome is Outcome.UNCHANGED
    attempt = store.attempt("ads")
    assert attempt is not None
    assert not attempt.problem


def test_half_of_a_list_is_enough(server: Server, store: Store) -> None:
    """``least`` is the smallest share that is taken; another source is not measured by the old one."""
    renew(DomainList(name="ads", url=server.give("/ads", LIST)), store)
    half = LIST[: LIST.index(b"0.0.0.0 name50.")]
    assert renew(DomainList(name="ads", url=server.give("/ads", half)), store).outcome is Outcome.NEW
    other = DomainList(name="ads", url=server.give("/other", b"0.0.0.0 one.example\n"))
    assert renew(other, store).outcome is Outcome.NEW


def test_a_checksum(server: Server, store: Store) -> None:
    """What does not add up to it is refused; a list that was taken before it was given is looked at again."""
    source = DomainList(name="ads", url=server.give("/ads", LIST))
    first = renew(source, store)
    right = hashlib.sha256(LIST).hexdigest()
    assert renew(msgspec.structs.replace(source, sha256="0" * 64), store) == Result(
        "ads", Outcome.REFUSED, first.facts, f"its sha256 is {right}")
    assert renew(msgspec.structs.replace(source, sha256=right), store).outcome is Outcome.UNCHANGED
    server.give("/ads", LIST + LIST)
    assert renew(msgspec.structs.replace(source, sha256=right), store).outcome is Outcome.REFUSED


def test_a_format_that_is_named_is_not_guessed(server: Server, store: Store) -> None:
    """The same text is another list then."""
    source = DomainList(name="ads", url=server.give("/ads", b"a.example\nb.example\n"))
    renew(source, store)
    result = renew(msgspec.structs.replace(source, format="wildcard"), store)
    assert result.facts is not None
    assert (result.outcome, result.facts.form) == (Outcome.NEW, Format.WILDCARD)


def test_one_bad_list_does_not_keep_the_others_back(server: Server, store: Store) -> None:
    """Each has its own answer."""
    server.give("/bad", b"", status=500)
    sources = [DomainList(name=name, url=f"{server.base}/{name}") for name in ("bad", "ads")]
    server.give("/ads", LIST)
    assert [result.outcome for result in update(sources, store, lambda *_: None)] == [Outcome.REFUSED, Outcome.NEW]


def test_a_server_is_asked_after_its_interval(server: Server, store: Store) -> None:
    """Give or take a tenth, and after an hour at most where it failed; at once when it is asked something else."""
    source = DomainList(name="ads", url=server.give("/ads", LIST))
    now = time.time()
    assert due([source], store, now) == [source]
    renew(source, store)
    at = next_due(source, store, now + 10)
    assert 0.9 * DAY <= at - now <= 1.1 * DAY + 10
    assert at == next_due(source, store, now + 20)
    assert due([source], store, now + 10) == []
    assert due([source], store, now + 2 * DAY) == [source]
    assert next_due(msgspec.structs.replace(source, refresh=Duration(60)), store, now + 10) == 0
    assert next_due(source, store, now - DAY) == 0  # the clock has been put back
    server.give("/ads", b"")
    renew(source, store)
    assert next_due(source, store, now + 10) - now <= 1.1 * 3600 + 10


def test_lists_are_not_all_asked_at_once(server: Server, store: Store) -> None:
    """Each has a moment of its own."""
    sources = [DomainList(name=f"l{n}", url=server.give("/ads", LIST)) for n in range(20)]
    for source in sources:
        renew(source, store)
    times = sorted(next_due(source, store, time.time()) for source in sources)
    assert times[-1] - times[0] > 0.05 * DAY


def test_a_file_is_read_when_it_has_changed(store: Store, tmp_path: Path) -> None:
    """And only then, also where it was refused."""
    path = tmp_path / "ads.txt"
    source = DomainList(name="ads", path=str(path))
    assert renew(source, store).problem == "No such file or directory"
    assert next_due(source, store, time.time()) == math.inf
    for text, outcome in ((LIST, Outcome.NEW), (b"<html>", Outcome.REFUSED), (LIST, Outcome.UNCHANGED)):
        path.write_bytes(text)
        assert due([source], store, time.time()) == [source]
        assert renew(source, store).outcome is outcome
        assert next_due(source, store, time.time()) == math.inf


@pytest.mark.parametrize("damage", [b"", b"{}\n", b"x", b"\xff"])
def test_what_was_not_written_whole_is_no_version(server: Server, store: Store, tmp_path: Path, damage: bytes) -> None:
    """A file that somebody else has cut or changed is not used, and is fetched anew."""
    source = DomainList(name="ads", url=server.give("/ads", LIST))
    renew(source, store)
    file = tmp_path / "state" / "lists" / "ads" / "list"
    file.write_bytes(file.read_bytes()[:-1] + damage if damage == b"x" else damage)
    assert store.load("ads") is None
    assert renew(source, store).outcome is Outcome.NEW
    assert store.load("ads") is not None


def test_two_updates_at_once_wait_for_each_other(server: Server, store: Store) -> None:
    """Each leaves a whole version."""
    source = DomainList(name="ads", url=server.give("/ads", LIST))
    threads = [threading.Thread(target=renew, args=(source, store)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stored = store.load("ads")
    assert stored is not None
    assert stored.text == LIST


def test_a_list_is_forgotten(server: Server, store: Store) -> None:
    """With its last attempt."""
    renew(DomainList(name="ads", url=server.give("/ads", LIST)), store)
    store.remove("ads")
    assert (store.facts("ads"), store.attempt("ads")) == (None, None)


def update_for_ever(path: Path, state: Path, told: Connection) -> None:
    """A version after the other, each of another size; the number of each that is stored is told."""
    source = DomainList(name="ads", path=str(path), format="domains", least=0)
    for n in count():
        path.write_text("".join(f"v{n}.name{i}.example\n" for i in range(500 + n % 7 * 100)))
        assert not renew(source, Store(str(state))).problem
        told.send(n)


def test_a_kill_leaves_the_old_or_the_new(memory: Path) -> None:
    """A process that updates a list over and over is killed at 200 random moments: each time there is one version,
    whole, the one that it had told of last or the next, and the next process goes on from there."""
    chance = random.Random(4)  # noqa: S311  moments, not secrets
    fork = get_context("fork")
    for _ in range(200):
        hear, tell = fork.Pipe(duplex=False)
        updater = fork.Process(target=update_for_ever, args=(memory / "ads.txt", memory / "state", tell))
        updater.start()
        tell.close()
        last = hear.recv()
        time.sleep(chance.uniform(0, 0.01))
        updater.kill()
        updater.join()
        with suppress(EOFError):
            while True:
                last = hear.recv()
        stored = Store(str(memory / "state")).load("ads")
        assert stored is not None
        versions = {line.split(b".")[0] for line in stored.text.splitlines()}
        assert versions in ({b"v%d" % last}, {b"v%d" % (last + 1)})
        assert stored.facts.names == stored.text.count(b"\n")
