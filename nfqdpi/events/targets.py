"""Where events go: a file that is rotated, journald, a syslog server. Each waits for whoever is slow: whoever must not
wait has a writer in between."""

from __future__ import annotations

import errno
import os
import select
import socket
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from struct import Struct
from typing import Protocol
from urllib.parse import urlsplit

import msgspec

from nfqdpi.events.model import Event, Line, Notice, sentence

JOURNAL = "/run/systemd/journal/socket"

_PATIENCE = 1.0  # s that a socket may take for one event
_LOOK = 0.1  # s between two looks at whether a pipe is still worth waiting for
_LENGTH = Struct("<Q")
_SYSLOG = 514  # its port (RFC 5426, 3.3)
_DAEMON = 3  # syslog's facility of system daemons (RFC 5424, 6.2.1)
SEVERITIES = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")  # RFC 5424, 6.2.1, in its order
_USUAL = "info"
_OF_NOTICES = "warning"


class Target(Protocol):
    """Takes whole lines, and may wait for whoever reads them."""

    name: str

    def write(self, lines: bytes, given_up: Callable[[], bool]) -> int:
        """Write them; how many were written: all of them, unless something failed or it was ``given_up``. Raises
        OSError where none was."""
        ...

    def reopen(self) -> None: ...

    def close(self) -> None: ...


class File:
    """Appends lines to a file, which is renamed to ``path.1`` before it is longer than ``max_bytes`` (0: never); of the
    older ones ``keep`` are kept. A pipe will do, if it has a reader.

    Raises OSError where the file cannot be opened.
    """

    def __init__(self, path: str, max_bytes: int = 0, keep: int = 0) -> None:
        self.name = path
        self._path = Path(path)
        self._max_bytes = max_bytes
        self._keep = keep
        self._torn = False  # the file ends with half a line
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = self._opened()

    def write(self, lines: bytes, given_up: Callable[[], bool]) -> int:
        facts = os.fstat(self._fd)
        if not facts.st_nlink:  # somebody has deleted it: nobody would ever read this
            self.reopen()
        elif self._max_bytes and facts.st_size and facts.st_size + len(lines) > self._max_bytes:
            self._rotate()
        if self._torn:
            lines = b"\n" + lines
        at = 0
        try:
            while at < len(lines):
                try:
                    at += os.write(self._fd, lines[at:])
                except BlockingIOError:
                    if given_up():
                        break
                    poll = select.poll()
                    poll.register(self._fd, select.POLLOUT)
                    poll.poll(_LOOK * 1000)
        except OSError:
            if not at:
                raise
        written, was_torn = lines[:at], self._torn
        if at:
            self._torn = not written.endswith(b"\n")
        return written.count(b"\n") - (was_torn and at > 0)

    def reopen(self) -> None:
        """Go on with the file that has the name now: somebody has renamed ours. Raises OSError, and stays with ours."""
        fd = self._opened()
        os.close(self._fd)
        self._fd, self._torn = fd, False

    def close(self) -> None:
        os.close(self._fd)

    def _opened(self) -> int:
        # Not blocking: to open a pipe that nobody reads fails, and does not wait.
        fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o640)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            self._max_bytes = 0
        return fd

    def _rotate(self) -> None:
        """Where it fails, as in a directory that we may not write, the file goes on growing: better than no events."""
        with suppress(OSError):
            if os.path.samestat(os.stat(self._path), os.fstat(self._fd)):
                for number in range(self._keep, 0, -1):
                    newer = f"{self._path}.{number - 1}" if number > 1 else self._path
                    with suppress(FileNotFoundError):
                        os.replace(newer, f"{self._path}.{number}")
                if not self._keep:
                    self._path.unlink()
            self.reopen()


class Datagrams:
    """One datagram an event, over a socket that is made anew after a failure. ``write_out`` makes the datagram of an
    event, its text and its severity; ``levels``: rule -> severity."""

    def __init__(self, name: str, levels: Mapping[str, str], connect: Callable[[], socket.socket],
                 write_out: Callable[[Line, bytes, int], bytes]) -> None:
        self.name = name
        self._levels = levels
        self._connect = connect
        self._write_out = write_out
        self._socket: socket.socket | None = None
        self._decoder: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)

    def write(self, lines: bytes, given_up: Callable[[], bool]) -> int:
        sent = 0
        for text in lines.splitlines():
            if given_up():
                break
            line = self._decoder.decode(text)
            try:
                self._send(self._write_out(line, text, self._severity(line)))
            except OSError:
                self.close()
                if not sent:
                    raise
                break
            sent += 1
        return sent

    def reopen(self) -> None:
        """The next event makes a new socket."""
        self.close()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, datagram: bytes) -> None:
        try:
            self._open().send(datagram)
        except (ConnectionRefusedError, ConnectionResetError):  # the service has started anew, with a new socket
            self.close()
            self._open().send(datagram)

    def _open(self) -> socket.socket:
        if self._socket is None:
            self._socket = self._connect()
            self._socket.settimeout(_PATIENCE)
        return self._socket

    def _severity(self, line: Line) -> int:
        if isinstance(line, Notice):
            return SEVERITIES.index(_OF_NOTICES)
        return SEVERITIES.index(self._levels.get(line.verdict.rule or "", _USUAL))


def journal(levels: Mapping[str, str], path: str = JOURNAL) -> Datagrams:
    """journald by its own protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL), a field for each thing that one would search
    for."""

    def write_out(line: Line, text: bytes, severity: int) -> bytes:
        fields = {"MESSAGE": sentence(line), "PRIORITY": str(severity), "SYSLOG_IDENTIFIER": "nfqdpi",
                  "NFQDPI_EVENT": text.decode()}
        if isinstance(line, Event):
            verdict = line.verdict
            fields |= {"NFQDPI_VERDICT": verdict.action, "NFQDPI_REASON": verdict.reason, "NFQDPI_CLIENT": line.src_ip}
            fields |= {"NFQDPI_RULE": verdict.rule} if verdict.rule is not None else {}
            fields |= {"NFQDPI_NAME": line.names[0]} if line.names else {}
        return b"".join(_field(name, value.encode()) for name, value in fields.items())

    return Datagrams("journald", levels, lambda: _unix(path), write_out)


def syslog(where: str, levels: Mapping[str, str]) -> Datagrams:
    """RFC 5424, with the event's JSON as the message: to a unix socket, or by UDP to "udp://HOST[:PORT]"."""
    host, pid = socket.gethostname() or "-", os.getpid()

    def write_out(line: Line, text: bytes, severity: int) -> bytes:
        when = f"{line.timestamp[:-2]}:{line.timestamp[-2:]}"  # RFC 3339 has a colon in the zone
        kind = "verdict" if isinstance(line, Event) else line.notice.kind
        return f"<{_DAEMON * 8 + severity}>1 {when} {host} nfqdpi {pid} {kind} - ".encode() + text

    connect = partial(_udp, where) if where.startswith("udp://") else partial(_unix, where)
    return Datagrams(f"syslog {where}", levels, connect, write_out)


def _field(name: str, value: bytes) -> bytes:
    """A newline in a value, which may come off the wire, must not begin another field."""
    if b"\n" in value:
        return name.encode() + b"\n" + _LENGTH.pack(len(value)) + value + b"\n"
    return name.encode() + b"=" + value + b"\n"


def _udp(where: str) -> socket.socket:
    url = urlsplit(where)
    try:
        found = socket.getaddrinfo(url.hostname, url.port or _SYSLOG, type=socket.SOCK_DGRAM)
    except UnicodeError:
        found = []
    failure = OSError(errno.EHOSTUNREACH, f"{url.hostname} has no address")
    for family, kind, proto, _, address in found:
        made = socket.socket(family, kind | socket.SOCK_CLOEXEC, proto)
        try:
            made.connect(address)
        except OSError as error:
            made.close()
            failure = error
        else:
            return made
    raise failure


def _unix(path: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        made.connect(path)
    except OSError as error:
        made.close()
        raise OSError(error.errno, error.strerror, path) from error
    return made
