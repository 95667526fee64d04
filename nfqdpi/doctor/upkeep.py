"""What must be right from day to day: the clock, room on the disk, fresh lists, a daemon that keeps up."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from time import time
from typing import Any

from nfqdpi import assemble
from nfqdpi.config.model import Config, DomainList
from nfqdpi.daemon.ask import Hung, NotRunning, ask
from nfqdpi.doctor.finding import Finding, Level
from nfqdpi.events.reader import siblings
from nfqdpi.kernel import clock
from nfqdpi.lists.store import Store
from nfqdpi.policy.clients import member_of

_RELEASED = datetime(2026, 11, 1, tzinfo=UTC).timestamp()  # no clock that is right says less
_SCARCE = 16 << 20  # bytes: below this, whatever is written next may fail
_DAY = 86400
_RESTART = "systemctl restart nfqdpi"


def _time(config: Config) -> Iterator[Finding]:
    counts = bool(config.schedule) or any(rule.limit for rule in config.rule)
    now = time()
    shown = f"is {datetime.fromtimestamp(now, assemble.time_zone(config)):%Y-%m-%d %H:%M %Z}"
    used = "schedules, limits and events go by it" if counts else "events bear it"
    if now < _RELEASED:
        yield Finding("time", Level.FAIL if counts else Level.WARN, f"{shown}, before this program was made: {used}",
                      "timedatectl set-ntp true, or ntpd -gq")
    elif not clock.synchronized():
        yield Finding("time", Level.WARN if counts else Level.OK, f"{shown}, and nobody keeps the clock right: {used}",
                      "timedatectl set-ntp true" if counts else "")
    else:
        yield Finding("time", Level.OK, f"{shown}, kept right")


def _disk(config: Config) -> Iterator[Finding]:
    events = config.events
    if events.file:
        path = Path(events.file)
        used = sum(other.stat().st_size for other in siblings(path) if other.is_file())
        yield _room("disk for events", path.parent, max(0, events.max_bytes * (events.keep + 1) - used),
                    "events are lost when it is full", "[events] max_bytes and keep: smaller")
    lists = sum(source.max_bytes for source in config.list)
    yield _room("disk for state", Path(config.state.directory), min(lists, 2 * _SCARCE),
                "lists stay old and changes by hand are refused when it is full", "[state] directory: elsewhere")


def _room(name: str, folder: Path, wanted: int, otherwise: str, remedy: str) -> Finding:
    there = next(path for path in (folder, *folder.parents) if path.exists())
    facts = os.statvfs(there)
    free = facts.f_bavail * facts.f_frsize
    if facts.f_flag & os.ST_RDONLY:
        return Finding(name, Level.FAIL, f"{folder}: is on a file system that cannot be written: {otherwise}",
                       f"mount -o remount,rw {_mount(there)}")
    if free < _SCARCE:
        return Finding(name, Level.FAIL, f"{folder}: {_size(free)} free: {otherwise}", f"{remedy}; df {there}")
    if free < wanted:
        return Finding(name, Level.WARN, f"{folder}: {_size(free)} free, up to {_size(wanted)} are wanted: {otherwise}",
                       remedy)
    return Finding(name, Level.OK, f"{folder}: {_size(free)} free")


def _mount(path: Path) -> Path:
    return next(parent for parent in (path.resolve(), *path.resolve().parents) if parent.is_mount())


def _size(number: int) -> str:
    return f"{number >> 20} MiB"


def _lists(config: Config) -> Iterator[Finding]:
    store, named, now = Store(config.state.directory), assemble.lists(config), time()
    for source in config.list:
        if source.name in named:
            yield _list(source, store, now)


def _list(source: DomainList, store: Store, now: float) -> Finding:
    name, remedy = f"list {source.name}", f"nfqdpi lists update {source.name}"
    facts, last = store.facts(source.name), store.attempt(source.name)
    problem = f" ({last.problem})" if last and last.problem else ""
    if facts is None:
        return Finding(name, Level.FAIL, f"has never been fetched{problem}: rules match none of its names", remedy)
    if store.load(source.name) is None:
        return Finding(name, Level.FAIL, "what is stored of it is damaged", remedy)
    age = now - facts.fetched
    days = f"{facts.names} names, {age / _DAY:.1f} days old"
    if problem:
        return Finding(name, Level.WARN, f"{days}; the last update was refused{problem}: new names are not in it",
                       remedy)
    if source.url and last and now - last.time > 2 * source.refresh + _DAY:
        return Finding(name, Level.WARN, f"{days}; not asked for since {(now - last.time) / _DAY:.1f} days: new names "
                       "are not in it", remedy)
    return Finding(name, Level.OK, days)


def _clients(config: Config) -> Iterator[Finding]:
    files = ", ".join(filter(None, (config.clients.names, config.clients.leases)))
    try:
        known = assemble.known_clients(config)
    except (OSError, ValueError) as error:
        yield Finding("names of clients", Level.FAIL, f"{error}: a daemon that runs keeps those that it has, one that "
                      "starts has none", f"edit {config.clients.names or files}")
        return
    nobody = [f"{member} (group {group.name})" for group in config.group for member in group.clients
              if member not in known and member_of(member) is None]
    if nobody:
        yield Finding("names of clients", Level.WARN, f"nobody has the name {', '.join(nobody)}: what is for the group "
                      "leaves them out", "[clients] names: a line for each, unless a lease is to bring it")
    elif files:
        yield Finding("names of clients", Level.OK, f"{len(known)} in {files}")


def _daemon(config: Config) -> Iterator[Finding]:
    try:
        status, stats = (ask(config.control.socket, command) for command in ("status", "stats"))
    except Hung:
        yield Finding("daemon", Level.FAIL, f"is there and does not answer on {config.control.socket}: its workers "
                      "judge on, and nobody replaces one that hangs", _RESTART)
        return
    except NotRunning as error:
        yield Finding("daemon", Level.OK, f"does not run ({error}): nothing is judged")
        return
    except PermissionError:
        yield Finding("daemon", Level.OK, f"{config.control.socket}: we may not ask")
        return
    yield from running(status, stats)


def running(status: dict[str, Any], stats: dict[str, Any]) -> Iterator[Finding]:
    """What a daemon says of itself, by its replies."""
    idle = [worker["queue"] for worker in status["workers"] if not worker["owns_queue"]]
    if idle:
        yield Finding("daemon", Level.FAIL, f"runs, pid {status['pid']}, but nobody serves queue "
                      f"{', '.join(map(str, idle))}: its flows are not judged", _RESTART)
    else:
        yield Finding("daemon", Level.OK, f"runs, pid {status['pid']}, {len(status['workers'])} workers, "
                      f"{'compiled' if status['compiled'] else 'not compiled: packets cost twice as much'}")
    for trouble in status["degraded"]:
        yield Finding("degraded", Level.WARN, trouble, "journalctl -u nfqdpi says since when")
    for trouble in status["troubles"]:
        yield Finding("events", Level.FAIL, f"{trouble}: events are lost", "df, or another target in [events]")
    if lost := stats["total"]["events_lost"]:
        yield Finding("events lost", Level.WARN, f"{lost} since the start: they are missing in the event file",
                      '[events] verdicts = "blocked", or a faster disk')
    if full := sum(queue["dropped"] for queue in stats["kernel"]):
        yield Finding("full queues", Level.WARN, f"{full} packets found a queue full since the start, and were dealt "
                      "with by [fail] queue_full", "[queue] workers or length: more")


CHECKS = (_time, _disk, _lists, _clients, _daemon)
