"""What doctor says of the clock, the disk, the lists, the daemon and the kernel's modules."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import Any

import pytest

from nfqdpi.config.model import Clients, Config, DomainList, Events, Group, Rule, Schedule, State
from nfqdpi.config.values import Duration, Member, Times
from nfqdpi.doctor import upkeep
from nfqdpi.doctor.finding import Finding, Level
from nfqdpi.kernel.modules import Presence, closed, presence
from nfqdpi.lists.store import Attempt, Facts, Seen, Store
from nfqdpi.policy.formats import Format


def found(config: Config) -> dict[str, Finding]:
    return {finding.name: finding for check in upkeep.CHECKS for finding in check(config)}


@pytest.mark.parametrize(("now", "synchronized", "schedules", "level"), [
    (0.0, True, True, Level.FAIL), (0.0, True, False, Level.WARN),
    (2e9, False, True, Level.WARN), (2e9, False, False, Level.OK), (2e9, True, True, Level.OK),
])
def test_the_clock(monkeypatch: pytest.MonkeyPatch, now: float, synchronized: bool, schedules: bool, level: Level,
                   ) -> None:
    """A router without a battery begins in 1970: that matters most where rules go by the time."""
    monkeypatch.setattr(upkeep, "time", lambda: now)
    monkeypatch.setattr("nfqdpi.kernel.clock.synchronized", lambda: synchronized)
    config = Config(schedule=(Schedule("night", (Times("21:00-07:00"),)),) * schedules)
    finding = found(config)["time"]
    assert finding.level is level
    assert bool(finding.remedy) == (level is not Level.OK)


def test_the_kernel_says_whether_the_clock_is_kept_right() -> None:
    """By adjtimex(2), on this machine: either answer, and no error."""
    assert found(Config())["time"].meaning.startswith(f"is {time.strftime('%Y')}")


def test_room_for_events(tmp_path: Path) -> None:
    """As much as the files may still grow is wanted; a folder that is still to be made counts as where it will be."""
    there = Events(file=str(tmp_path / "later" / "eve.json"))
    assert found(Config(events=there))["disk for events"].level is Level.OK
    greedy = Events(file=str(tmp_path / "eve.json"), max_bytes=1 << 40, keep=1000)
    finding = found(Config(events=greedy))["disk for events"]
    assert (finding.level, "[events] max_bytes" in finding.remedy) == (Level.WARN, True)
    assert "disk for events" not in found(Config(events=Events(file="")))


def test_a_disk_that_cannot_be_written() -> None:
    """A read-only file system is a failure, and the command names its mount."""
    finding = found(Config(state=State("/proc/sys/none")))["disk for state"]
    full = found(Config(state=State("/sys/kernel")))["disk for state"]
    assert {finding.level, full.level} == {Level.FAIL}


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path


def listed(state: Path, **options: Any) -> Config:
    source = DomainList("ads", url="https://lists.example/ads", **options)
    return Config(state=State(str(state)), list=(source, DomainList("unused", path="/x")),
                  rule=(Rule("block", lists=("ads",)),))


def fetched(state: Path, when: float, problem: str = "", asked: float | None = None) -> None:
    text = b"a.example\n"
    facts = Facts("https://lists.example/ads", "auto", Format.DOMAINS, 1, 0,
                  hashlib.sha256(text).hexdigest(), when, Seen())
    with Store(str(state)).writing("ads") as writing:
        writing.put(facts, text)
        writing.note(Attempt(when if asked is None else asked, "", Seen(), problem))


def test_lists_are_fresh_or_not(state: Path) -> None:
    """Only those that rules name: never fetched, refused, forgotten, well, or damaged."""
    now = time.time()
    config = listed(state, refresh=Duration(86400))
    assert found(config)["list ads"].level is Level.FAIL
    assert found(config)["list ads"].remedy == "nfqdpi lists update ads"
    for when, problem, asked, level in (
        (now, "", None, Level.OK), (now - 9e5, "", now, Level.OK), (now - 9e5, "", None, Level.WARN),
        (now, "HTTP 404", None, Level.WARN),
    ):
        fetched(state, when, problem, asked)
        finding = found(config)["list ads"]
        assert (finding.level, problem in finding.meaning) == (level, True)
    assert "list unused" not in found(config)
    stored = state / "lists/ads/list"
    stored.write_bytes(stored.read_bytes() + b"b.example\n")
    assert found(config)["list ads"].meaning == "what is stored of it is damaged"


def test_names_of_clients(tmp_path: Path) -> None:
    """A line that cannot be read, or a name that nobody has, would leave somebody out."""
    names = tmp_path / "names"
    config = Config(clients=Clients(names=str(names)))
    for text, level in (("192.0.2.7 tablet\n", Level.OK), ("tablet 192.0.2.7\n", Level.FAIL)):
        names.write_text(text)
        finding = found(config)["names of clients"]
        assert (finding.level, str(names) in finding.remedy) == (level, level is Level.FAIL)
    names.unlink()
    assert found(config)["names of clients"].level is Level.FAIL
    assert "names of clients" not in found(Config())
    group = Group("kids", (Member("tablet"), Member("192.0.2.0/24")))
    finding = found(Config(group=(group,)))["names of clients"]
    assert (finding.level, "tablet (group kids)" in finding.meaning) == (Level.WARN, True)
    assert "192.0.2.0" not in finding.meaning


def test_what_a_daemon_says_of_itself() -> None:
    """Queues that nobody serves, events that go nowhere, losses and full queues."""
    status = {"pid": 7, "compiled": True, "workers": [{"queue": 3, "owns_queue": True}], "troubles": [], "degraded": []}
    stats = {"total": {"events_lost": 0}, "kernel": [{"dropped": 0}]}
    assert [finding.level for finding in upkeep.running(status, stats)] == [Level.OK]
    status |= {"workers": [{"queue": 3, "owns_queue": False}], "troubles": ["eve.json: No space left on device"],
               "degraded": ["the names of clients stay as they were: /etc/nfqdpi/clients: line 3"]}
    stats = {"total": {"events_lost": 5}, "kernel": [{"dropped": 2}, {"dropped": 1}]}
    findings = {finding.name: finding for finding in upkeep.running(status, stats)}
    assert {name: finding.level for name, finding in findings.items()} == {
        "daemon": Level.FAIL, "degraded": Level.WARN, "events": Level.FAIL, "events lost": Level.WARN,
        "full queues": Level.WARN}
    assert "nobody serves queue 3" in findings["daemon"].meaning
    assert findings["full queues"].meaning.startswith("3 packets")
    assert all(finding.remedy for finding in findings.values())


def test_modules(tmp_path: Path) -> None:
    """Loaded, built in, on disk to be loaded, or nowhere to be seen."""
    folder = tmp_path / "lib/modules" / os.uname().release
    folder.mkdir(parents=True)
    (folder / "modules.builtin").write_text("kernel/net/netfilter/xt_mark.ko\n")
    (folder / "modules.dep").write_text("kernel/net/netfilter/xt_NFQUEUE.ko.xz: kernel/net/netfilter/x_tables.ko.xz\n"
                                        "kernel/net/netfilter/xt-bpf.ko:\n")
    (tmp_path / "sys/module/xt_connmark").mkdir(parents=True)
    assert [presence(name, tmp_path) for name in ("xt_connmark", "xt_mark", "xt_NFQUEUE", "xt_bpf", "ipt_REJECT")] == [
        Presence.LOADED, Presence.BUILT_IN, Presence.ON_DISK, Presence.ON_DISK, Presence.UNSEEN]
    assert closed(tmp_path)
    (tmp_path / "proc/sys/kernel").mkdir(parents=True)
    (tmp_path / "proc/sys/kernel/modules_disabled").write_text("0\n")
    assert not closed(tmp_path)
