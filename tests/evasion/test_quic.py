"""Every row of QUIC's matrix: whose hello a real server has put together."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from nfqdpi.lab.network import SERVER, Family
from tests.evasion.case import ALLOWED, BLOCKED
from tests.evasion.packets import Place
from tests.evasion.quic import CASES, OTHER_PORT, Case, Socket
from tests.evasion.stage import Stage
from tests.evasion.stream import ADVERSARY
from tests.kernel.http3 import Http3Origin

_SETTLES = 1.0  # s for what was sent last to come to the server, or not
_PATIENCE = 10.0  # s for what must work to have worked, on a busy machine
_ports = count(50_000)


@pytest.fixture(scope="module")
def http3(stage: Stage) -> Iterator[Http3Origin]:
    here = stage.lab.state / "witness"
    with Http3Origin(stage.lab.server, here / "cert.pem", here / "key.pem") as listening:
        yield listening


@pytest.fixture(scope="module")
def played(stage: Stage, http3: Http3Origin, request: pytest.FixtureRequest) -> dict[Case, int]:
    """The ports of all cases that this run has selected, once they are over."""
    params = [getattr(getattr(item, "callspec", None), "params", {}) for item in request.session.items]
    selected = [case for one in params if isinstance(case := one.get("quic"), Case)]  # others have another "quic"
    ports = {case: next(_ports) for case in selected}

    def play(case: Case) -> None:
        family: Family = 4 if case.family == 4 else 6
        place = Place(family, ADVERSARY[family], SERVER[family], ports[case], 443)
        case.trick.play(Socket(stage.adversary.send, place), case.name)

    with ThreadPoolExecutor(16) as players:
        list(players.map(play, selected))
    time.sleep(_SETTLES)
    return ports


@pytest.mark.parametrize("quic", CASES, ids=str)
def test_row(played: dict[Case, int], http3: Http3Origin, quic: Case) -> None:
    """No server has a whole hello for the blocked name; one for the allowed name comes, or not, as its row states."""
    port, works = played[quic], quic.trick.allowed == "works"
    deadline = time.monotonic() + _PATIENCE
    while quic.name == ALLOWED and works and ALLOWED not in http3.hellos[port] and time.monotonic() < deadline:
        time.sleep(0.05)
    names = http3.hellos[port] + http3.hellos[port + OTHER_PORT]
    assert BLOCKED not in names
    assert quic.name == BLOCKED or (ALLOWED in names) is works


def test_no_server_ever_had_a_hello_for_a_blocked_name(played: dict[Case, int], http3: Http3Origin) -> None:
    """Nor late."""
    assert played
    assert BLOCKED not in http3.names


def test_the_daemon_lived_through_it(stage: Stage, played: dict[Case, int]) -> None:
    """No worker died, hung or was replaced meanwhile."""
    (line,) = stage.daemon.log.read_text().splitlines()
    assert "ready" in line
