"""A folder that several processes change: one at a time, and every file in it is whole whenever one is killed."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_MODE = 0o640  # a list's source may have a password in it


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Nobody else is in here meanwhile; who comes second, waits. A kill lets the next one in. Who may only read here
    cannot open the lock, and so keeps nobody out."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if os.fstat(lock).st_nlink:  # or else the folder was removed by the one before us
                yield
                return
        finally:
            os.close(lock)


def replace(path: Path, *parts: bytes, like: Path | None = None) -> None:
    """The file's new content, written beside, forced to the disk, renamed: what is there is whole at every moment.
    It has the mode and the owner of the old one, or else of ``like``, or else 0640 and ours. To be done alone."""
    beside = path.with_suffix(".new")
    beside.unlink(missing_ok=True)
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        model = next((one.stat() for one in (path, like) if one is not None and one.exists()), None)
        if model is not None:
            with suppress(PermissionError):  # only root gives files away
                os.fchown(file.fileno(), model.st_uid, model.st_gid)
        os.fchmod(file.fileno(), stat.S_IMODE(model.st_mode) if model is not None else _MODE)
        file.writelines(parts)
        file.flush()
        os.fsync(file.fileno())
    beside.rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
