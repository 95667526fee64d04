"""Every row of the matrix: what the server application wrote down, and what the client got."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.evasion.case import Case, Seen
from tests.evasion.matrix import CASES
from tests.evasion.stage import Stage, leaked


@pytest.mark.parametrize("case", CASES, ids=str)
def test_row(outcome: Callable[[Case], Seen], case: Case) -> None:
    """The blocked name reaches neither the application nor the client; the allowed one fares as its row states."""
    assert outcome(case).wrong == ""


def test_no_application_ever_saw_a_blocked_name(stage: Stage) -> None:
    """Nothing came late, either: the last look at all that the servers wrote down."""
    assert leaked(stage.witnesses.everything()) == ""


def test_the_daemon_lived_through_it(stage: Stage) -> None:
    """No worker died, hung or was replaced meanwhile: whatever passed, passed by judgement."""
    (line,) = stage.daemon.log.read_text().splitlines()
    assert "ready" in line
