"""Changes that come by themselves or by hand, in a real gateway: overrides, schedules, limits, leases, lists."""

from __future__ import annotations

import json
import re
import time
from datetime import datetime, timedelta, timezone, tzinfo
from pathlib import Path
from struct import pack

import pytest

from nfqdpi.core.verdict import Verdict
from nfqdpi.daemon.limits import OFTEN
from nfqdpi.lab.daemon import Daemon
from nfqdpi.lab.network import CLIENT, Lab
from tests.kernel.daily import Gateway, ask, config, wait_until
from tests.kernel.origin import Origin, Visitor, visit
from tests.kernel.test_gateway import mark
from tests.kernel.test_reload import reload

NIGHT = """
[policy]
time_zone = "Test/Near"
[[schedule]]
name = "night"
windows = ["{}"]
[[rule]]
name = "bedtime"
action = "block"
schedule = "night"
"""


def test_block_and_allow_at_once(lab: Lab, gateway: Gateway, origin: Origin) -> None:
    """The command comes back when the change is in force, for flows that run already too; the later one wins."""
    running = gateway(config(lab))
    with Visitor(lab.client, 4) as visitor:
        assert visitor.ask("allowed.example") == "ok"
        assert "1 running flows cut" in ask(lab, running, "block", "allowed.example")
        assert visit(lab) == "reset"
        assert "2 freed" in ask(lab, running, "allow", "allowed.example", "--client", CLIENT[4])
        assert visitor.ask("allowed.example") == "ok"
        assert visit(lab) == "ok"
    assert visit(lab, "blocked.example") == "reset"
    ask(lab, running, "overrides", "rm", "2")
    assert visit(lab) == "reset"


def test_a_pause_ends_by_itself_and_survives_a_restart(lab: Lab, gateway: Gateway, origin: Origin) -> None:
    """While it lasts everything passes, and ``status`` says so; when it ends, what it had let pass is cut."""
    earlier = gateway(config(lab))
    began = time.time()
    ask(lab, earlier, "pause", "--for", "8s")
    assert visit(lab, "blocked.example") == "ok"
    assert "by hand: allow everything for everybody, until 20" in ask(lab, earlier, "status")
    assert earlier.stop() == 0
    later = gateway(config(lab))
    with Visitor(lab.client, 4, timeout=10) as visitor:
        assert visitor.ask("blocked.example") == "ok"
        assert time.time() - began < 8, "the machine is too slow for this test"
        assert wait_until(lambda: mark(lab, 4, visitor.port) == Verdict.BLOCK, 15)
        assert time.time() - began > 8
        assert visitor.ask("blocked.example") == "reset"
    assert visit(lab, "blocked.example") == "reset"
    assert "by hand" not in ask(lab, later, "status")


def zone_with_a_full_minute_at(moment: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tzinfo:
    """Windows begin with a minute, and a zone may be off by any number of seconds (RFC 8536, 3.2): this one shows a
    full minute at the moment, and the daemon finds it as Test/Near."""
    ahead = -moment % 60
    file = folder / "zones" / "Test" / "Near"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"TZif" + bytes(16) + pack(">6L", 0, 0, 0, 0, 1, 4) + pack(">lBB", ahead, 0, 0) + b"TST\0")
    monkeypatch.setenv("PYTHONTZPATH", str(folder / "zones"))
    return timezone(timedelta(seconds=ahead))


def test_a_schedule_cuts_when_it_begins(lab: Lab, gateway: Gateway, origin: Origin, monkeypatch: pytest.MonkeyPatch,
                                        ) -> None:
    """At the edge of a window, without anybody's doing: new flows and those that run."""
    edge = int(time.time()) + 8
    shown = datetime.fromtimestamp(edge, zone_with_a_full_minute_at(edge, lab.state, monkeypatch))
    gateway(config(lab) + NIGHT.format(f"{shown:%H:%M}-{shown + timedelta(hours=1):%H:%M}"))
    with Visitor(lab.client, 4) as visitor:
        assert visitor.ask("allowed.example") == "ok"
        assert time.time() < edge, "the machine is too slow for this test"
        assert wait_until(lambda: mark(lab, 4, visitor.port) == Verdict.BLOCK, 30)
        assert 0 <= time.time() - edge < 5
        assert visitor.ask("allowed.example") == "reset"
    assert visit(lab) == "reset"


def test_a_time_limit(lab: Lab, gateway: Gateway, origin: Origin) -> None:
    """A rule's clock runs while a flow of what it names is active, not while it is idle or another's; then the flow is
    cut. A restart does not turn the clock back."""
    text = config(lab) + '[[rule]]\nname = "games"\naction = "block"\ndomains = ["games.example"]\nlimit = "6s"\n'
    running = gateway(text)
    with Visitor(lab.client, 4) as player, Visitor(lab.client, 4) as other:
        assert player.ask("games.example") == "ok"
        assert wait_until(lambda: 0 < used(lab, running) < 6, 15)
        before = used(lab, running)
        looked = time.monotonic()
        while time.monotonic() - looked < OFTEN + 1:  # in which it is looked at once or twice
            assert other.ask("allowed.example") == "ok"
            time.sleep(0.2)
        assert used(lab, running) == before
        assert wait_until(lambda: player.ask("games.example") == "reset", 30)
        assert other.ask("allowed.example") == "ok"
    assert visit(lab, "games.example") == "reset"
    assert running.stop() == 0
    running = gateway(text)
    assert visit(lab, "games.example") == "reset"
    assert used(lab, running) >= 6
    reload(lab, running, text.replace('"6s"', '"1h"'))
    assert visit(lab, "games.example") == "ok"


def used(lab: Lab, running: Daemon) -> int:
    """Seconds of the rule's limit, as ``status`` has them."""
    (seconds,) = re.findall(r"limit 'games': (\d+)s of 6s used today", ask(lab, running, "status"))
    return int(seconds)


def test_names_of_clients_and_lists_are_followed(lab: Lab, hasty: Gateway, origin: Origin) -> None:
    """A lease that gives the client a name, and a list's file that changes, are in force without a command."""
    leases, names = lab.state / "leases", lab.state / "names.txt"
    names.write_text("first.example\n")
    text = config(lab) + f"""
[clients]
leases = "{leases}"
[[list]]
name = "ads"
path = "{names}"
[[group]]
name = "tablets"
clients = ["tablet"]
[[rule]]
name = "listed"
action = "block"
lists = ["ads"]
groups = ["tablets"]
"""
    running = hasty(text)
    assert visit(lab, "first.example") == "ok"
    leases.write_text(f"0 02:00:00:00:00:01 {CLIENT[4]} tablet *\n")
    assert wait_until(lambda: visit(lab, "first.example") == "reset", 30)
    assert visit(lab, "second.example") == "ok"
    replaced = lab.state / "names.new"
    replaced.write_text("first.example\nsecond.example\n")
    replaced.rename(names)
    assert wait_until(lambda: visit(lab, "second.example") == "reset", 30)
    assert wait_until(lambda: events_name_the_list(lab.state / "eve.json"), 5)
    assert "problem" not in running.log.read_text()


def test_what_cannot_be_read_keeps_nothing_else_from_changing(lab: Lab, gateway: Gateway, origin: Origin) -> None:
    """A bad file of names, or a damaged state: what was read of it last goes on, changes and reloads are in force, and
    ``status`` says what is wrong for as long as it is; the log once each time that it begins."""
    names, state = lab.state / "clients", lab.state / "state" / "nfqdpi.sqlite"
    good, bad = f"{CLIENT[4]} tablet\n", "no name at all\n"
    more = '[[rule]]\nname = "more"\naction = "block"\ndomains = ["allowed.example"]\n'
    names.write_text(good)
    text = config(lab) + f'[clients]\nnames = "{names}"\n'
    running = gateway(text)
    ask(lab, running, "block", "first.example", "--client", "tablet")
    for said in (1, 2):
        names.write_text(bad)
        ask(lab, running, "block", f"{said}.example")
        assert visit(lab, f"{said}.example") == visit(lab, "first.example") == "reset"
        assert f"! the names of clients stay as they were: {names}: line 1" in ask(lab, running, "status", code=5)
        assert running.log.read_text().count("the names of clients stay") == said
        names.write_text(good)
        ask(lab, running, "block", "another.example")
        ask(lab, running, "status")
    for file in state.parent.glob("nfqdpi.sqlite*"):
        file.unlink()
    state.write_bytes(b"no database" * 100)
    reload(lab, running, text + more)
    assert visit(lab) == visit(lab, "first.example") == "reset"
    assert "changes by hand and limits stay as they were" in ask(lab, running, "status", code=5)
    state.unlink()
    reload(lab, running, text)
    assert visit(lab) == visit(lab, "first.example") == "ok"
    ask(lab, running, "status")


def test_a_start_without_what_cannot_be_read(lab: Lab, gateway: Gateway, origin: Origin) -> None:
    """A gateway that judges by the rest is better than none; ``status`` says what is missing, until it is there."""
    names, state = lab.state / "clients", lab.state / "state" / "nfqdpi.sqlite"
    names.write_text("no name at all\n")
    state.parent.mkdir()
    state.write_bytes(b"no database" * 100)
    running = gateway(config(lab) + f'[clients]\nnames = "{names}"\n')
    assert visit(lab, "blocked.example") == "reset"
    said = ask(lab, running, "status", code=5)
    assert f"! the names of clients stay as they were: {names}: line 1" in said
    assert "! changes by hand and limits stay as they were" in said
    names.write_text(f"{CLIENT[4]} tablet\n")
    state.unlink()
    ask(lab, running, "block", "--client", "tablet")
    assert visit(lab) == "reset"
    ask(lab, running, "status")


def test_what_is_named_and_not_there(lab: Lab, gateway: Gateway, origin: Origin) -> None:
    """A list that never came, or a group that is configured no more: ``reload`` and ``status`` name them."""
    group = f'[[group]]\nname = "kids"\nclients = ["{CLIENT[4]}"]\n'
    named = (f'[[list]]\nname = "late"\npath = "{lab.state}/late"\n'
             '[[rule]]\nname = "listed"\naction = "block"\nlists = ["late"]\n')
    running = gateway(config(lab) + group)
    ask(lab, running, "block", "--group", "kids")
    assert visit(lab) == "reset"
    wrong = reload(lab, running, config(lab) + named)["troubles"]
    assert visit(lab) == "ok"
    assert wrong == ["list 'late' has not been fetched yet: rules match none of its names",
                     "'by hand 1' does nothing: no group is named 'kids'"]
    said = ask(lab, running, "reload") + ask(lab, running, "status", code=5)
    assert [said.count(f"! {one}") for one in wrong] == [2, 2]
    (lab.state / "late").write_text("late.example\n")
    assert ask(lab, running, "lists", "update").startswith("late: new")
    assert reload(lab, running, config(lab) + named + group)["troubles"] == []
    ask(lab, running, "status")


def events_name_the_list(file: Path) -> bool:
    last = json.loads(file.read_text().splitlines()[-1])
    return bool(last["verdict"]["list"] == "ads")
