"""``nfqdpi replay`` as a program."""

from __future__ import annotations

import fcntl
import gzip
import io
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from nfqdpi import assemble, plugins
from nfqdpi.config.model import Config, State
from nfqdpi.core.classifier import Classifier, DatagramClassifier, Pending
from nfqdpi.replay.jobs import Output, Settings, replay
from nfqdpi.testing.capture import ether, pcap
from nfqdpi.testing.flows import Talk
from nfqdpi.testing.http import request
from nfqdpi.testing.packets import ip, udp
from nfqdpi.testing.tls import hello
from tests.replay.files import pcapng, replayed


def _replay(*arguments: str | Path, cwd: Path | None = None) -> tuple[int, list[dict[str, Any]], str]:
    """Exit code, rows, and what was said on stderr."""
    done = subprocess.run([sys.executable, "-W", "error", "-m", "nfqdpi", "replay", *map(str, arguments)],
                          capture_output=True, text=True, check=False, cwd=cwd)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def _capture(path: Path, *names: str, extra: bytes = b"") -> Path:
    talks = [Talk(sport=port) for port in range(1, len(names) + 1)]
    packets = [packet for talk, name in zip(talks, names, strict=True)
               for packet in (*talk.opening(), talk.says(request(name)))]
    make = pcapng if path.suffix == ".pcapng" else pcap
    path.write_bytes(make(ether(packet) for packet in packets) + extra)
    return path


def test_order(tmp_path: Path) -> None:
    """Rows come file by file in the order of the arguments, however many processes there are."""
    files = [_capture(tmp_path / f"{n}.pcapng", *(f"n{n}-{flow}.example" for flow in range(3 + 200 * (n == 1))))
             for n in (3, 1, 2, 5, 4)]
    for jobs in ("1", "2", "8"):
        code, rows, said = _replay("-j", jobs, *files, files[0])
        assert code == 0
        assert [row["pcap"] for row in rows] == [str(file) for file in (*files, files[0])
                                                 for _ in range(203 if file.stem == "1" else 3)]
        assert [row["name"] for row in rows[:3]] == ["n3-0.example", "n3-1.example", "n3-2.example"]
        assert said.startswith("6 files: ")
        assert said.count("\n") == 1


def test_lists_are_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many engines and processes there are: a million names take seconds."""
    looks: list[int] = []

    def look(state: str, lists: Iterable[str]) -> None:
        looks.append(os.getpid())
        assert looks == [parent], "again, or in a process of the pool"

    parent = os.getpid()
    monkeypatch.setattr(assemble, "look", look)
    files = [_capture(tmp_path / f"{n}.pcap", "a.example") for n in range(3)]
    rows, tallies = io.BytesIO(), []
    config = Config(state=State(str(tmp_path / "state")))
    replay(files, Settings(config), 2, Output(rows, lambda path, tally: tallies.append(tally.rows), lambda _: None))
    assert (looks, tallies) == ([parent], [1, 1, 1])


def test_pcap_as_given(tmp_path: Path) -> None:
    """A row names its file as the argument did."""
    _capture(tmp_path / "a.pcap", "a.example")
    assert _replay("a.pcap", "--json", cwd=tmp_path)[1][0]["pcap"] == "a.pcap"


def test_gzip(tmp_path: Path) -> None:
    """A gzipped capture is read as it is."""
    path = tmp_path / "a.pcap.gz"
    path.write_bytes(gzip.compress(_capture(tmp_path / "a.pcap", "a.example").read_bytes()))
    assert [row["name"] for row in _replay(path)[1]] == ["a.example"]


@pytest.mark.parametrize("jobs", ["1", "4"])
def test_broken_and_missing(tmp_path: Path, jobs: str) -> None:
    """What can be read of all files is reported; stderr says what could not, and the exit code is 5."""
    broken = _capture(tmp_path / "broken.pcap", "one.example", "two.example", extra=b"\1\2\3")
    size = broken.stat().st_size - 3
    other = tmp_path / "other.pcap"
    other.write_bytes(pcap([bytes(60)] * 7, link=105))
    files = [broken, tmp_path / "missing\x1b[31m.pcap", tmp_path, other, _capture(tmp_path / "good.pcap", "c.example")]
    code, rows, said = _replay("-j", jobs, *files)
    assert code == 5
    assert [row["name"] for row in rows] == ["one.example", "two.example", "c.example"]
    assert said.splitlines()[:4] == [
        f"{broken}: offset {size}: the file ends inside a record",
        f"{tmp_path}/missing\\x1b[31m.pcap: No such file or directory",
        f"{tmp_path}: Is a directory",
        f"{other}: 7 packets of link type 105, which is not known",
    ]


def test_snapped(tmp_path: Path) -> None:
    """Packets that the capture cut short are counted; the rest of the file is read."""
    snapped = [ether(Talk().says(bytes(500)))[:200], *map(ether, Talk(sport=2).opening())]
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap([*snapped, ether(Talk(sport=3).says(hello("a.example")))]))
    code, rows, said = _replay(path)
    assert (code, [row["name"] for row in rows]) == (0, ["a.example"])
    assert "5 packets, 1 truncated; 2 flows, 1 shown" in said


def test_usage(tmp_path: Path) -> None:
    """No file at all, and a configuration that is wrong, are errors of usage."""
    assert _replay()[0] == 2
    config = tmp_path / "nfqdpi.toml"
    config.write_text("[inspect]\nmode = 'slow'\n")
    code, rows, said = _replay("-c", config, _capture(tmp_path / "a.pcap", "a.example"))
    assert (code, rows) == (2, [])
    assert "inspect.mode" in said


def test_policy(tmp_path: Path) -> None:
    """``-c`` brings the policy, to every process."""
    config = tmp_path / "nfqdpi.toml"
    config.write_text("[[rule]]\nname = 'no'\naction = 'block'\ndomains = ['bad.example']\n")
    files = [_capture(tmp_path / f"{n}.pcap", "bad.example", "good.example") for n in range(3)]
    _, rows, _ = _replay("-j", "2", "-c", config, *files)
    assert [row["rule"] for row in rows] == ["no", None] * 3


def test_all(tmp_path: Path) -> None:
    """``--all`` also gives the flows without a known protocol."""
    path = tmp_path / "a.pcap"
    talk = Talk()
    path.write_bytes(pcap(ether(packet) for packet in (*talk.opening(), talk.says(b"\0\1"))))
    assert _replay(path)[1] == []
    (row,) = _replay("--all", path)[1]
    assert (row["proto"], row["name"], row["reason"]) == (None, None, "unknown_protocol")


def test_names_are_escaped(tmp_path: Path) -> None:
    """What a name holds reaches a terminal as text."""
    done = subprocess.run([sys.executable, "-m", "nfqdpi", "replay", _capture(tmp_path / "a.pcap", "\x1b]0;x\x07\x9b")],
                          capture_output=True, check=True)
    assert done.stdout.strip().isascii()
    assert done.stdout.strip().decode().isprintable()


def test_output_closed_early(tmp_path: Path) -> None:
    """A reader that has seen enough ends the run without a word."""
    file = _capture(tmp_path / "a.pcap", *(f"n{n}.example" for n in range(2000)))
    with subprocess.Popen([sys.executable, "-m", "nfqdpi", "replay", "-j1", file, file], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        run.stdout.read(10)
        run.stdout.close()
        assert b"Traceback" not in run.stderr.read()


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_progress(tmp_path: Path, jobs: str) -> None:
    """Long work shows its progress on a terminal, and only there."""
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap([ether(Talk().hears(bytes(1400)))] * 7000))
    assert "reading" not in _replay("-j", jobs, path, path)[2]
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    with subprocess.Popen([sys.executable, "-m", "nfqdpi", "replay", "-j", jobs, path, path],
                          stdout=subprocess.DEVNULL, stderr=follower):
        os.close(follower)
        shown = b""
        while not shown.endswith(b" s\r\n"):
            shown += os.read(leader, 4096)
    os.close(leader)
    assert b"reading" in shown
    assert b"100%" in shown


def test_plugin_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A classifier that raises is a problem of the file's; the flow is decided as ``plugin_error`` says."""

    def classify(prefix: bytes) -> Pending:
        raise ValueError(f"{len(prefix)} bytes")

    bad = (Classifier("bad", "bad", "1", 100, classify), DatagramClassifier("worse", "bad", "1", classify, (9,)))
    monkeypatch.setattr(plugins, "readers", lambda sections: {"bad": bad})
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap([ether(Talk().says(request("a.example"))), ether(ip(17, udp(b"x", dport=9)))]))
    rows, tally = replayed(path, show_all=True)
    assert [(row["verdict"], row["reason"]) for row in rows] == [("accelerate", "plugin_error")] * 2
    assert tally.problems == [f"2 packets could not be judged: ValueError: {len(request('a.example'))} bytes"]
