"""The matrix runs in one lab, beside one daemon, many cases at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from nfqdpi.kernel.privileges import missing
from nfqdpi.lab import needs
from tests.evasion.case import Case, Seen
from tests.evasion.stage import Stage

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.kernel)


@pytest.fixture(autouse=True, scope="package")
def _privileged() -> None:
    if lacking := missing(*needs.CAPABILITIES):
        pytest.fail(f"kernel tests need root (no {', '.join(lacking)}): sudo ./dev test, or leave out: -m 'not kernel'")


@pytest.fixture(scope="package")
def stage() -> Iterator[Stage]:
    """The lab, its witnesses, the daemon and the adversary."""
    with Stage() as standing:
        yield standing


@pytest.fixture(scope="package")
def outcome(stage: Stage, request: pytest.FixtureRequest) -> Callable[[Case], Seen]:
    """What came of a case. All that this run has selected are played from the first question on."""
    selected = [item.callspec.params["case"] for item in request.session.items  # type: ignore[attr-defined]
                if "case" in getattr(getattr(item, "callspec", None), "params", ())]
    playing: dict[Case, Future[Seen]] = stage.start(selected)
    return lambda case: playing[case].result()
