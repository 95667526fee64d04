"""Files that are rotated, journald and syslog, each with somebody real at the other end."""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from nfqdpi.events.model import notice
from nfqdpi.events.targets import File, journal, syslog
from tests.events.samples import line


def never() -> bool:
    return False


def test_a_file_is_rotated_by_size(tmp_path: Path) -> None:
    """No file is longer than allowed, the oldest go, and every line is in one of those that are kept, in order."""
    path = tmp_path / "log" / "eve.json"
    file = File(str(path), max_bytes=100, keep=3)
    for number in range(40):
        assert file.write(f"{number:09}\n".encode(), never) == 1
    file.close()
    assert sorted(p.name for p in path.parent.iterdir()) == ["eve.json", "eve.json.1", "eve.json.2", "eve.json.3"]
    kept = [int(n) for name in (".3", ".2", ".1", "") for n in Path(f"{path}{name}").read_text().split()]
    assert kept == list(range(40))


def test_no_older_file_is_kept(tmp_path: Path) -> None:
    """With ``keep`` 0 a full file begins anew."""
    file = File(str(tmp_path / "eve.json"), max_bytes=20)
    for number in range(3):
        file.write(f"{number:09}\n".encode(), never)
    assert (tmp_path / "eve.json").read_text() == f"{2:09}\n"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_that_somebody_renames(tmp_path: Path) -> None:
    """What is written before ``reopen`` goes on to the renamed file, what comes after to a new one."""
    path = tmp_path / "eve.json"
    file = File(str(path))
    file.write(b"1\n", never)
    path.rename(tmp_path / "eve.json-20261122")
    file.write(b"2\n", never)
    file.reopen()
    file.write(b"3\n", never)
    assert ((tmp_path / "eve.json-20261122").read_text(), path.read_text()) == ("1\n2\n", "3\n")


def test_reopening_what_cannot_be_opened(tmp_path: Path) -> None:
    """The old file stays in use: nothing is lost."""
    path = tmp_path / "eve.json"
    file = File(str(path))
    path.rename(tmp_path / "other")
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        file.reopen()
    assert file.write(b"1\n", never) == 1
    assert (tmp_path / "other").read_text() == "1\n"


def test_a_file_that_somebody_deletes(tmp_path: Path) -> None:
    """There is a new one with the next line; where there cannot be, that is an error."""
    path = tmp_path / "log" / "eve.json"
    file = File(str(path))
    path.unlink()
    assert file.write(b"1\n", never) == 1
    assert path.read_text() == "1\n"
    path.unlink()
    path.parent.rmdir()
    with pytest.raises(FileNotFoundError):
        file.write(b"2\n", never)


def test_half_a_line_stays_alone() -> None:
    """When a pipe takes a part only, the next line begins a line."""
    out, into = os.pipe()
    file = File(f"/proc/self/fd/{into}")
    long = b"x" * 200_000 + b"\n"
    assert file.write(b"1\n" + long, lambda: True) == 1
    while os.read(out, 1 << 20).count(b"x") == 1 << 20:
        pass
    assert file.write(b"2\n", never) == 1
    assert os.read(out, 100) == b"\n2\n"
    file.close()


def test_a_full_disk() -> None:
    """An error is told, not swallowed."""
    with pytest.raises(OSError, match="No space") as caught:
        File("/dev/full").write(b"1\n", never)
    assert caught.value.errno == errno.ENOSPC


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(str(tmp_path / "socket"))
        bound.settimeout(5)
        yield bound


def test_journald(tmp_path: Path, listener: socket.socket) -> None:
    """A field for each thing to search for; the level is the rule's, a newline in a name begins no field."""
    target = journal({"ads": "warning"}, str(tmp_path / "socket"))
    assert target.write(line("a\nPRIORITY=0") + line(rule="other") + notice("events_lost", "3 lost", 3), never) == 3
    target.close()
    first, second, third = (listener.recv(65536) for _ in range(3))
    assert first.startswith(b"MESSAGE\n")
    assert b"\nPRIORITY=4\nSYSLOG_IDENTIFIER=nfqdpi\n" in first
    assert b"\nNFQDPI_CLIENT=10.0.0.1\nNFQDPI_RULE=ads\nNFQDPI_NAME\n\x0c" in first
    assert b"\nPRIORITY=6\n" in second
    assert third.startswith(b"MESSAGE=3 lost\nPRIORITY=4\n")


def test_syslog(tmp_path: Path, listener: socket.socket) -> None:
    """RFC 5424: priority, version, time, host, program, process, kind, no structured data, and the event itself."""
    target = syslog(str(tmp_path / "socket"), {"ads": "alert"})
    written = line()
    target.write(written, never)
    target.close()
    head, event = listener.recv(65536).split(b" - ", 1)
    assert re.fullmatch(rb"<25>1 \d{4}-\d\d-\d\dT[\d:.]{15}[+-]\d\d:\d\d \S+ nfqdpi %d verdict" % os.getpid(), head)
    assert event + b"\n" == written


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "[::1]")])
def test_syslog_by_udp(family: int, host: str) -> None:
    """To an address and port, of either family."""
    with socket.socket(family, socket.SOCK_DGRAM) as server:
        server.bind((host.strip("[]"), 0))
        server.settimeout(5)
        target = syslog(f"udp://{host}:{server.getsockname()[1]}", {})
        assert target.write(line(), never) == 1
        assert server.recv(65536).startswith(b"<30>1 ")
        target.close()


def test_a_service_that_starts_anew(tmp_path: Path, listener: socket.socket) -> None:
    """While it is gone, what is written fails; once it is back, no event more is lost."""
    target = journal({}, str(tmp_path / "socket"))
    assert target.write(line(), never) == 1
    listener.close()
    with pytest.raises(ConnectionRefusedError):
        target.write(line(), never)
    (tmp_path / "socket").unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as again:
        again.bind(str(tmp_path / "socket"))
        assert target.write(line(), never) == 1
    target.close()
