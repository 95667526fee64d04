"""Event files as they were saved, and as they grow."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from threading import Thread

from nfqdpi.events.filter import Filter, wanted
from nfqdpi.events.reader import Read, Reader, Saved, growing, siblings, whole
from nfqdpi.events.targets import File
from nfqdpi.events.writer import Writer
from tests.events.samples import line


def names(reads: Iterator[Read] | list[Read]) -> list[str]:
    return [name for read in reads for name in getattr(read.line, "names", ())]


def reader(*filters: tuple[str, str]) -> Reader:
    return Reader(wanted(Filter(filters) if filters else None, None))


def test_files_of_before(tmp_path: Path) -> None:
    """Packed or not, whoever rotated them; the oldest first; what is no event is counted."""
    path = tmp_path / "eve.json"
    (tmp_path / "eve.json-20261120.gz").write_bytes(gzip.compress(line("1")))
    (tmp_path / "eve.json.1").write_bytes(line("2") + b"no event\n\n" + line("3"))
    path.write_bytes(line("4") + line("5")[:-20])
    (tmp_path / "other.json").write_bytes(line("6"))
    for age, name in enumerate(("eve.json.1", "eve.json-20261120.gz"), 1):
        os.utime(tmp_path / name, times=(0, 1_000_000 - age))
    reading = reader()
    assert names(reading.all(map(Saved, siblings(path)))) == ["1", "2", "3", "4"]
    assert reading.foreign == 2
    assert siblings(path, datetime.now() - timedelta(days=1)) == [path]


def test_a_file_that_is_being_packed(tmp_path: Path) -> None:
    """It is read once: while its packed copy grows beside it, that is left alone."""
    path = tmp_path / "eve.json"
    (tmp_path / "eve.json-20261120").write_bytes(line("1"))
    (tmp_path / "eve.json-20261120.gz").write_bytes(gzip.compress(line("1"))[:-12])
    path.write_bytes(line("2"))
    assert names(reader().all(map(Saved, siblings(path)))) == ["1", "2"]


def test_the_last_ones(tmp_path: Path) -> None:
    """Of several files, in their order; those that are not needed are not even opened."""
    (tmp_path / "1").write_bytes(b"".join(line(f"1-{n}") for n in range(5)))
    (tmp_path / "2").write_bytes(b"".join(line(f"2-{n}", client=f"10.0.0.{n}") for n in range(5)))
    files = [Saved(tmp_path / "none"), Saved(tmp_path / "1"), Saved(tmp_path / "2")]
    assert names(reader().last(files, 7)) == ["1-3", "1-4", "2-0", "2-1", "2-2", "2-3", "2-4"]
    assert names(reader(("client", "10.0.0.1")).last(files, 2)) == ["1-4", "2-1"]


def test_half_a_line_is_left(tmp_path: Path) -> None:
    """It is read once it is whole."""
    path = tmp_path / "eve.json"
    text = line("1") + line("2")
    path.write_bytes(text[:-5])
    with path.open("rb") as file:
        assert list(whole(file)) == text.splitlines(keepends=True)[:1]
        with path.open("ab") as more:
            more.write(text[-5:])
        assert names(reader().all([whole(file)])) == ["2"]


def test_following_through_rotation(tmp_path: Path) -> None:
    """Every line that a writer writes while its file is rotated under the reader is read, once, in order."""
    path = tmp_path / "eve.json"
    writer = Writer(File(str(path), max_bytes=50_000, keep=50))

    def write() -> None:
        for number in range(3000):
            writer.write(line(str(number)))

    following = reader().all([growing(path.open("rb"), path)])
    writing = Thread(target=write)
    writing.start()
    assert names([next(following) for _ in range(3000)]) == [str(number) for number in range(3000)]
    writing.join()


def test_following_a_file_that_is_packed(tmp_path: Path) -> None:
    """What has been read of it does not come again, whoever renames and packs it at once."""
    path, packed = tmp_path / "eve.json", tmp_path / "eve.json-20261122.gz"
    path.write_bytes(line("1"))
    following = reader().all([growing(path.open("rb"), path)])
    assert names([next(following)]) == ["1"]
    facts = path.stat()
    packed.write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    os.utime(packed, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    path.write_bytes(line("2"))
    assert names([next(following)]) == ["2"]


def test_following_a_file_that_is_emptied_or_replaced(tmp_path: Path) -> None:
    """copytruncate, and a file that is gone: the reader begins with the new content."""
    path = tmp_path / "eve.json"
    path.write_bytes(line("1") + line("2"))
    following = reader().all([growing(path.open("rb"), path)])
    assert names([next(following), next(following)]) == ["1", "2"]
    path.write_bytes(line("3"))
    assert names([next(following)]) == ["3"]
    path.unlink()
    path.write_bytes(line("4") * 2)
    assert names([next(following)]) == ["4"]
