"""Verdicts and the bits of a mark that carry them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfqdpi.core.verdict import MarkField, Verdict

marks = st.integers(0, 0xFFFFFFFF)
fields = st.tuples(st.integers(3, 32), st.integers(0, 29)).filter(lambda run: sum(run) <= 32).map(
    lambda run: MarkField((1 << run[0]) - 1 << run[1]))


@given(fields, marks, st.sampled_from(Verdict))
def test_a_verdict_is_read_back_and_no_other_bit_moves(field: MarkField, mark: int, verdict: Verdict) -> None:
    """Whatever the mask and the mark: writing changes our bits alone."""
    written = field.write(mark, verdict)
    assert field.read(written) is verdict
    assert (written ^ mark) & ~field.mask == 0
    assert 0 <= written <= 0xFFFFFFFF
    assert field.value(verdict) == field.write(0, verdict)


@given(fields, marks)
def test_a_mark_of_anybody_is_read(field: MarkField, mark: int) -> None:
    """A value that is none of ours reads as unseen."""
    value = (mark & field.mask) >> field.shift
    assert field.read(mark) == (value if value <= max(Verdict) else Verdict.UNSEEN)


@pytest.mark.parametrize("mask", [0, -1, 0x3, 0x5, 0xF0F, 1 << 32, 0xF << 30])
def test_a_mask_must_be_one_run_wide_enough(mask: int) -> None:
    """The states are 0 to 5 and need three bits side by side, within 32."""
    with pytest.raises(ValueError, match="is not one run of at least 3 bits"):
        MarkField(mask)


def test_the_default_field_shows_the_states_themselves() -> None:
    """`conntrack -L` prints the state as the mark."""
    assert [MarkField().value(verdict) for verdict in Verdict] == [0, 1, 2, 3, 4, 5]


def test_which_verdicts_block() -> None:
    """The two block states let no packet by, the others do."""
    assert {verdict for verdict in Verdict if verdict.blocks} == {Verdict.BLOCK, Verdict.BLOCK_SILENT}
