"""What has been asked before."""

from __future__ import annotations

from nfqdpi.core.memo import Memo


def test_the_oldest_answer_is_forgotten() -> None:
    """Each key is asked for once, until as many others as are remembered have come."""
    asked = []

    def half(number: int) -> float:
        asked.append(number)
        return number / 2

    memo = Memo(half, 2)
    assert [memo[number] for number in (1, 2, 1, 2, 3, 2, 1)] == [0.5, 1.0, 0.5, 1.0, 1.5, 1.0, 0.5]
    assert asked == [1, 2, 3, 1]
