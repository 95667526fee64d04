"""The lab with its witnesses, a daemon and the adversary: plays cases, many at a time, and says what came of each."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from typing import Any, Self

from nfqdpi.lab.daemon import daemon
from nfqdpi.lab.network import Lab
from tests.evasion.case import ALLOWED, BLOCKED, WHERE, Attempt, Case, Seen
from tests.evasion.stream import Adversary, RawStream
from tests.evasion.witness import Witnesses

TIMEOUT = 6.0  # seconds, of the inspection: the slow drip must be slower

_AT_ONCE = 32  # cases that do not sleep
_ANSWER = 15.0  # seconds within which what must work must have worked, on a busy machine
_SILENCE = 1.5  # seconds without an answer that are none
_RESEND = 0.45  # seconds
_EVENT = 0.5  # seconds for the daemon to write an event

CONFIG = """\
[inspect]
timeout = "{timeout}s"
[[rule]]
name = "ads"
action = "block"
domains = ["{blocked}"]
[events]
file = "{state}/eve.json"
[control]
socket = "{state}/control.sock"
"""

@dataclass(frozen=True)
class Setting:
    """A gateway: ``config`` goes into its configuration, ``tcp_loose`` and ``rp_filter`` are what `doctor` asks of it
    in strict mode (E9), unless the setting has something against it."""

    name: str
    config: str = ""
    back_end: str = ""
    tcp_loose: int = 0
    rp_filter: int = 1

    @property
    def sysctls(self) -> dict[str, int]:
        return {"netfilter__nf_conntrack_checksum": 1, "netfilter__nf_conntrack_tcp_be_liberal": 0,
                "netfilter__nf_conntrack_tcp_loose": self.tcp_loose, "ipv4__conf__lan0__rp_filter": self.rp_filter}


USUAL = Setting("as doctor wants it")
_number = count()


class Stage:
    """Everything that a case needs, for as long as a ``with`` block."""

    def __init__(self, setting: Setting = USUAL) -> None:
        self.lab = Lab(f"nfqdpi-lab-evasion{os.getpid()}-{next(_number)}")
        self._setting = setting
        self._stack = ExitStack()
        self._events: dict[int, dict[str, Any]] = {}
        self._events_read = 0
        self._events_lock = threading.Lock()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            lab = stack.enter_context(self.lab)
            lab.gateway.set(**self._setting.sysctls)
            self.witnesses = Witnesses(lab.server, lab.state / "witness")
            stack.callback(self.witnesses.close)
            config = CONFIG.format(timeout=TIMEOUT, blocked=BLOCKED, state=lab.state) + self._setting.config
            self.daemon = stack.enter_context(daemon(lab, config, self._setting.back_end))
            self.adversary = Adversary(lab)
            stack.callback(self.adversary.close)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(self, cases: Sequence[Case]) -> dict[Case, Future[Seen]]:
        """Play them: all that sleep at once, the others some at a time."""
        slow = [case for case in cases if case.trick.wait]
        sleepers = ThreadPoolExecutor(len(slow) or 1, "sleeper")
        players = ThreadPoolExecutor(_AT_ONCE, "player")
        self._stack.callback(players.shutdown, cancel_futures=True)
        self._stack.callback(sleepers.shutdown, cancel_futures=True)
        return {case: (sleepers if case.trick.wait else players).submit(self.play, case) for case in cases}

    def play(self, case: Case) -> Seen:
        """All of a case's flows; the first that went wrong, or the last."""
        seen = Seen("nothing was sent", "", "", "", "no attempt")
        for seen in self._flows(case):
            if seen.wrong:
                break
        return seen

    def _flows(self, case: Case) -> Iterator[Seen]:
        addresses, port = WHERE[case.trick.server]
        for attempt in case.trick.attempts(case.name):
            stream = self.adversary.stream(case.family, addresses[case.family], port)
            try:
                client = self._client(case, attempt, stream)
            finally:
                stream.close()
            yield self._seen(case, stream, client)

    def _client(self, case: Case, attempt: Attempt, stream: RawStream) -> str:
        """Send it all, send again what is not acknowledged, and wait: what the client got."""
        try:
            attempt.play(stream, attempt.text, attempt.decoy)
        except TimeoutError:
            return "no SYN+ACK"
        stream.end = max(stream.end, len(attempt.text))
        works = case.name == ALLOWED and case.trick.allowed == "works"
        deadline = time.monotonic() + (_ANSWER if works else _SILENCE)
        had = -1
        while not attempt.talk(stream):
            if stream.fate != "open" and len(stream.got) == had:
                return stream.fate if not stream.got else f"{_first(stream.got)}, {stream.fate}"
            if time.monotonic() > deadline:
                return _first(stream.got) if stream.got else "silence"
            had = len(stream.got)
            if not stream.await_answer(had + 1, _RESEND):
                stream.send(attempt.text[max(0, stream.acked) :], at=max(0, stream.acked))
        return "answer"

    def _seen(self, case: Case, stream: RawStream, client: str) -> Seen:
        port = stream.place.sport
        said = self.witnesses.said(port)
        if client == "answer" and not said:  # nginx answers first and writes it down then
            time.sleep(_EVENT)
            said = self.witnesses.said(port)
        verdict = self._event(port, blocked=client == "reset")
        seen = Seen(client, "; ".join(said) or "nothing", verdict.get("action", "-"), verdict.get("reason", "-"))
        return Seen(seen.client, seen.server, seen.verdict, seen.reason, self._wrong(case, stream, said, client))

    def _wrong(self, case: Case, stream: RawStream, said: list[str], client: str) -> str:
        if line := leaked(said):
            return f"the server application saw {line}"
        if b"hello from " + BLOCKED.encode() in stream.got.lower():
            return "the client got the blocked name's page"
        if client == "answer" and not said:
            return "an answer that no application knows of"
        if case.name != ALLOWED or (client == "answer") == (case.trick.allowed == "works"):
            return ""
        # What fails closed because conntrack has forgotten the flow does not where conntrack takes up any flow.
        if client == "answer" and self._setting.tcp_loose:
            return ""
        return f"the allowed name got {client}, against what the row states: {case.trick.allowed}"

    def _event(self, port: int, *, blocked: bool) -> dict[str, Any]:
        """The ``verdict`` of the last event about a client's port; ``blocked``: one that blocks is to be expected."""
        deadline = time.monotonic() + _EVENT
        self._read_events()
        while time.monotonic() < deadline and self._events.get(port, {}).get("action") not in (
                ("block",) if blocked else ("block", "accelerate")):
            time.sleep(0.05)
            self._read_events()
        return self._events.get(port, {})

    def _read_events(self) -> None:
        file = self.lab.state / "eve.json"
        with self._events_lock:
            if not file.exists():
                return
            with file.open("rb") as lines:
                lines.seek(self._events_read)
                for line in lines.read().splitlines(keepends=True):
                    if line.endswith(b"\n"):
                        self._events_read += len(line)
                        event = json.loads(line)
                        self._events[event["src_port"]] = event["verdict"]


def leaked(said: list[str]) -> str:
    """The first thing that an application wrote down of a blocked name."""
    return next((line for line in said if BLOCKED in line.lower()), "")


def _first(got: bytes) -> str:
    """What an answer is, by its first bytes."""
    if got[:1] == b"\x15":
        return f"alert {got[6] if len(got) > 6 else '?'}"
    return got[:12].decode("ascii", "backslashreplace") if got[:1] != b"\x16" else "part of a handshake"
