"""Brings stored lists up to date, and refuses a new version that cannot be meant."""

from __future__ import annotations

import hashlib
import math
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from typing import NamedTuple

from nfqdpi.config.model import DomainList
from nfqdpi.lists.fetch import Fetched, SourceError, fetch, stamp
from nfqdpi.lists.store import Attempt, Facts, Seen, Store
from nfqdpi.policy import formats
from nfqdpi.policy.formats import Format

_JITTER = 0.1  # share of the interval, to either side: not all routers of the world ask a server in the same second
_RETRY = 3600.0  # s after a failure, where the interval is not shorter

Progress = Callable[[str, float], None]  # is told a list's name and the share of it that is here, 0 to 1


class Outcome(StrEnum):
    """What became of an update."""

    NEW = "new"
    UNCHANGED = "unchanged"
    REFUSED = "refused"


class Result(NamedTuple):
    """Of one list: ``facts`` of the version that is stored now (None: still none), and why a new one was refused."""

    name: str
    outcome: Outcome
    facts: Facts | None
    problem: str = ""


def update(sources: Iterable[DomainList], store: Store, progress: Progress) -> Iterator[Result]:
    """Ask every source, one after the other. It waits for servers and computes for seconds: not in an event loop's
    process. Raises OSError where the store cannot be written."""
    for source in sources:
        yield _update(source, store, progress)


def next_due(source: DomainList, store: Store, now: float) -> float:
    """When to ask (seconds since 1970): a server after its interval, a file as soon as it has changed, and either when
    the configuration says something else of it. The answer is the same until the next attempt."""
    last = store.attempt(source.name)
    if last is None or last.asked != repr(source) or last.time > now:  # a clock that was wrong, and put right
        return 0.0
    if source.path:
        return math.inf if stamp(source.path) == last.seen else 0.0
    wait = min(source.refresh, _RETRY) if last.problem else source.refresh
    chance = zlib.crc32(f"{source.name} {last.time}".encode()) / (1 << 32)
    return last.time + wait * (1 - _JITTER + 2 * _JITTER * chance)


def due(sources: Iterable[DomainList], store: Store, now: float) -> list[DomainList]:
    """Those whose time has come."""
    return [source for source in sources if next_due(source, store, now) <= now]


def _update(source: DomainList, store: Store, progress: Progress) -> Result:
    with store.writing(source.name) as writing:
        stored = store.load(source.name)
        old = stored.facts if stored else None
        comparable = old if old and (old.source, old.setting) == (_place(source), source.format) else None
        seen = stamp(source.path) if source.path else Seen()
        outcome, facts, problem = Outcome.UNCHANGED, old, ""
        try:
            fetched = fetch(source, _to_skip(source, comparable), lambda share: progress(source.name, share))
            if fetched is not None:
                facts = _judged(source, fetched, comparable)
                writing.put(facts, fetched.text)
                seen = fetched.seen
                if old is None or (facts.sha256, facts.form) != (old.sha256, old.form):
                    outcome = Outcome.NEW
        except SourceError as error:
            outcome, problem = Outcome.REFUSED, str(error)
        writing.note(Attempt(time.time(), repr(source), seen, problem))
    return Result(source.name, outcome, facts, problem)


def _place(source: DomainList) -> str:
    return source.path or source.url


def _to_skip(source: DomainList, old: Facts | None) -> Seen:
    """What need not be fetched again."""
    return old.seen if old and source.sha256 in ("", old.sha256) else Seen()


def _judged(source: DomainList, fetched: Fetched, old: Facts | None) -> Facts:
    """The new version's facts. Raises SourceError where it is refused."""
    text = fetched.text
    sha256 = hashlib.sha256(text).hexdigest()
    if source.sha256 and sha256 != source.sha256:
        raise SourceError(f"its sha256 is {sha256}")
    if text[:1024].removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<"):
        raise SourceError("it is HTML or XML, not a list")
    if (lines := formats.line_count(text)) > source.max_lines:
        raise SourceError(f"more than {source.max_lines} lines: {lines}")
    form = formats.detect(text) if source.format == "auto" else Format(source.format)
    if form is None:
        raise SourceError("it is empty or in none of the formats" if text.strip() else "it is empty")
    parsed = formats.read(text, form)
    if not parsed.count:
        raise SourceError(f"no name in it, read as {form}")
    if old and parsed.count < source.least * old.names:
        raise SourceError(f"{parsed.count} names where there were {old.names}: below least = {source.least:g}")
    return Facts(_place(source), source.format, form, parsed.count, len(parsed.refused), sha256, time.time(),
                 fetched.seen)
