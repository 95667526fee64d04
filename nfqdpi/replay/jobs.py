"""Several files at once, on several processes; the output in the order of the arguments."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from nfqdpi.replay.run import Progress, Replay, Tally

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized

    from nfqdpi.config import Config

_POLL = 0.1  # s between two looks at how far the others are

@dataclass(frozen=True, slots=True)
class Settings:
    """How every file is read."""

    config: Config
    show_all: bool = False


@dataclass(frozen=True, slots=True)
class Output:
    """Where it goes: ``rows`` gets a JSON line each, ``done`` each file and its tally when its rows are out."""

    rows: BinaryIO
    done: Callable[[Path, Tally], None]
    progress: Progress


def replay(paths: Sequence[Path], settings: Settings, jobs: int, output: Output) -> None:
    """Read all files, ``jobs`` at once. Raises plugins.PluginError, and what ``assemble.current`` does."""
    reader = Replay(settings.config, show_all=settings.show_all)
    if jobs == 1 or len(paths) == 1:
        for path in paths:
            output.done(path, _write(reader, path, output.rows, output.progress))
    else:
        _in_parallel(paths, reader, min(jobs, len(paths)), output)


def _write(reader: Replay, path: Path, out: BinaryIO, progress: Progress) -> Tally:
    tally = Tally()
    for row in reader.rows(path, tally, progress):
        out.write(msgspec.json.encode(row) + b"\n")
    return tally


def _in_parallel(paths: Sequence[Path], reader: Replay, jobs: int, output: Output) -> None:
    """Each file's rows go through a file of their own: one process may be far ahead of another."""
    fork = get_context("fork")  # the reader has not read yet, and every process has its own for nothing
    read: Synchronized[int] = fork.Value("q", 0)
    with (
        tempfile.TemporaryDirectory(prefix="nfqdpi-replay-") as spool,
        ProcessPoolExecutor(jobs, fork, _Job.prepare, (reader, read)) as pool,
    ):
        try:
            spools = [Path(spool, str(number)) for number in range(len(paths))]
            waiting = [pool.submit(_Job.run, path, rows) for path, rows in zip(paths, spools, strict=True)]
            shown = 0
            for path, rows, job in zip(paths, spools, waiting, strict=True):
                for now_read in _until(job, read):
                    output.progress(now_read - shown)
                    shown = now_read
                tally = job.result()
                with rows.open("rb") as lines:
                    shutil.copyfileobj(lines, output.rows)
                rows.unlink()
                output.done(path, tally)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # nobody waits for what is left
            raise


def _until(job: Future[Tally], read: Synchronized[int]) -> Iterator[int]:
    while not job.done():
        wait((job,), timeout=_POLL)
        yield read.value


class _Job:
    """What a process of the pool holds: one reader for all the files that it is given."""

    reader: Replay
    read: Synchronized[int]

    @classmethod
    def prepare(cls, reader: Replay, read: Synchronized[int]) -> None:
        cls.reader, cls.read = reader, read

    @classmethod
    def run(cls, path: Path, rows: Path) -> Tally:
        with rows.open("wb") as out:
            return _write(cls.reader, path, out, cls._progress)

    @classmethod
    def _progress(cls, size: int) -> None:
        with cls.read.get_lock():
            cls.read.value += size
