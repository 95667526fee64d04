"""Who owns a lab. A lab belongs to the process that holds its lock, so that one left by a killed run is known by its
free lock, whatever became of the process id. A lab that `nfqdpi lab up` left standing says so by a file."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nfqdpi.lab.namespace import LabError, Namespace, ip

STATE = Path("/run/nfqdpi-lab")
PREFIX = "nfqdpi-lab-"
ROLES = ("client", "gateway", "router", "server")
_STANDING = "standing"


def claim(name: str) -> int:
    """Make the lab's state directory and hold its lock; what killed runs left, and any earlier lab of the name, goes.

    Returns the lock's descriptor: closing it gives the lab up. Raises LabError if a live process owns the name.
    """
    if not name.startswith(PREFIX):
        raise ValueError(f"a lab's name begins with {PREFIX}")
    with _one_at_a_time():
        for other in _known():
            if other != name and not (STATE / other / _STANDING).exists():
                _remove_unless_owned(other)
        if not _remove_unless_owned(name):
            raise LabError(f"{name} belongs to a process that is still running")
        (STATE / name).mkdir()
        return _lock(STATE / name / "lock")


def remove(name: str) -> bool:
    """Take down a lab that nobody owns; False if there is none. Raises LabError if a live process owns it."""
    with _one_at_a_time():
        if name not in _known():
            return False
        if not _remove_unless_owned(name):
            raise LabError(f"{name} belongs to a process that is still running")
        return True


def release(name: str, lock: int) -> None:
    """Take down a lab that this process owns."""
    with _one_at_a_time():
        _clear(name)
        os.close(lock)


def leave_standing(name: str, lock: int) -> None:
    """Give the lab up, to stand until `remove` or the next `claim` of its name."""
    (STATE / name / _STANDING).touch()
    os.close(lock)


def _known() -> set[str]:
    """Labs by their state directories and by their namespaces: a killed run may have left either."""
    directories = {path.name for path in STATE.iterdir() if path.is_dir()}
    return directories | {found.rpartition("-")[0] for found in _namespaces() if found.startswith(PREFIX)}


def _namespaces() -> set[str]:
    return {line.split()[0] for line in ip("netns", "list").splitlines()}


def _remove_unless_owned(name: str) -> bool:
    try:
        lock = _lock(STATE / name / "lock")
    except BlockingIOError:
        return False
    except FileNotFoundError:  # killed before the lock was made, or never there
        _clear(name)
    else:
        _clear(name)
        os.close(lock)
    return True


def _clear(name: str) -> None:
    present = _namespaces()
    for role in ROLES:
        if f"{name}-{role}" in present:
            Namespace(f"{name}-{role}").remove()
    shutil.rmtree(STATE / name, ignore_errors=True)


def _lock(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    STATE.mkdir(mode=0o755, exist_ok=True)
    with (STATE / ".lock").open("w") as everyone:
        fcntl.flock(everyone, fcntl.LOCK_EX)
        yield
