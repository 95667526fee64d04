"""Every row of the plugins' matrix: what the servers wrote down, nginx, Python's, OpenSSL and dnsmasq."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from nfqdpi.lab.network import SERVER, Family
from nfqdpi.lab.resolver import Resolver
from nfqdpi.testing.dns import query
from nfqdpi.testing.tls import record
from tests.evasion.case import ALLOWED, BLOCKED, DECOY, FAMILIES, Case, Seen, cases
from tests.evasion.decoys import CONFIG, PLUGIN, TRICKS, framed
from tests.evasion.hellos import padded
from tests.evasion.stage import Setting, Stage, leaked

_SETTLES = 0.3  # s
_CASES = cases(TRICKS)
# A record that ends where a message of DNS of the length that it begins with ends, too, and is a query by its header.
_HELLO = record(padded(DECOY, 5632 - len(padded(DECOY, 0))))


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A stage with these plugins."""
    place = tmp_path_factory.mktemp("plugin")
    (place / "hail.py").write_text(PLUGIN)
    info = place / "hail-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hail\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[nfqdpi.classifiers]\nhail = hail:classifier\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{place}:{os.environ.get('PYTHONPATH', '')}")
        with Stage(Setting("plugins", CONFIG)) as standing:
            yield standing


@pytest.fixture(scope="module")
def seen(guarded: Stage, request: pytest.FixtureRequest) -> Callable[[Case], Seen]:
    """What came of a case; all that this run has selected are played at once."""
    params = [getattr(getattr(item, "callspec", None), "params", {}) for item in request.session.items]
    playing = guarded.start([one["decoy"] for one in params if isinstance(one.get("decoy"), Case)])
    return lambda case: playing[case].result()


@pytest.mark.parametrize("decoy", _CASES, ids=str)
def test_row(seen: Callable[[Case], Seen], decoy: Case) -> None:
    """The blocked name reaches neither the application nor the client; the allowed one fares as its row states."""
    assert seen(decoy).wrong == ""


@pytest.fixture(scope="module")
def resolver(guarded: Stage) -> Iterator[Resolver]:
    with Resolver(guarded.lab.server, guarded.lab.state / "resolver") as listening:
        yield listening


@pytest.mark.parametrize("pause", [False, True], ids=["at once", "after a pause"])
@pytest.mark.parametrize("before", [b"", _HELLO], ids=["alone", "a hello first"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_query_that_a_resolver_takes(guarded: Stage, resolver: Resolver, family: Family, before: bytes,
                                       pause: bool) -> None:
    """A resolver reads a hello for another name as a message that asks for nothing, and goes on behind it. It is never
    asked for a blocked name; for an allowed one without a decoy."""
    for name in (BLOCKED, ALLOWED):
        asked = len(resolver.asked)
        with guarded.lab.client.entered():
            client = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6)
        with client, suppress(OSError):  # it is reset
            client.settimeout(1)
            client.connect((SERVER[family], 53))
            client.sendall(before)
            time.sleep(_SETTLES * pause)
            client.sendall(framed(query(name)))
            client.recv(100)
        time.sleep(_SETTLES)
        assert ((("A", name) in resolver.asked[asked:]) is (name == ALLOWED and not before))


def test_no_application_ever_saw_a_blocked_name(guarded: Stage) -> None:
    """Nothing came late, either."""
    assert leaked(guarded.witnesses.everything()) == ""


def test_the_daemon_lived_through_it(guarded: Stage) -> None:
    """No worker died, hung or was replaced meanwhile."""
    (line,) = guarded.daemon.log.read_text().splitlines()
    assert "ready" in line
