"""Every engine scenario runs on IPv4 and on IPv6."""

from __future__ import annotations

import pytest

from tests.core.transcript import Talk, Talks, engine


@pytest.fixture(params=[False, True], ids=["v4", "v6"])
def six(request: pytest.FixtureRequest) -> bool:
    """IPv6?"""
    return bool(request.param)


@pytest.fixture
def talk(six: bool) -> Talks:
    """``talk(...)``: a flow before an engine of its own, made with these settings."""
    return lambda **settings: Talk(engine(**settings), six)
