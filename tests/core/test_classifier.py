"""What a plugin may answer."""

from __future__ import annotations

import pytest

from nfqdpi.core.classifier import NEED_MORE, Classification, Pending, Step


def more(_: bytes) -> Pending:
    return NEED_MORE


def test_the_first_name_is_the_one_that_is_shown() -> None:
    """A unit may have several names, or none."""
    assert Classification("x", ("a", "b")).name == "a"
    assert Classification("x").name is None


@pytest.mark.parametrize(("length", "skip"), [(0, 0), (0, 5), (-1, 0), (1, -1)])
def test_reading_on_takes_bytes(length: int, skip: int) -> None:
    """An answer that reads on without having read would be asked for without end."""
    with pytest.raises(ValueError, match="more to read behind it"):
        Step(length, skip, more)
    with pytest.raises(ValueError, match="more to read behind it"):
        Classification("x", length=length, skip=skip, then=more)
