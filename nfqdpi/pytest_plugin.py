"""What pytest gives authors of plugins where nfqdpi is installed.

It stands outside of ``nfqdpi.testing`` and imports that late: pytest loads it before anybody has said what to measure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from nfqdpi.core.engine import Engine
    from nfqdpi.testing import Seen


@pytest.fixture
def engine() -> Callable[..., Engine]:
    """``engine(*classifiers, rules=, settings=)``: see ``nfqdpi.testing.engine``."""
    from nfqdpi import testing

    return testing.engine


@pytest.fixture
def verdict_of() -> Callable[..., Seen]:
    """``verdict_of(packets, *classifiers, rules=, settings=)``: see ``nfqdpi.testing.verdict_of``."""
    from nfqdpi import testing

    return testing.verdict_of
