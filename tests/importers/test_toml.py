"""The writer: whatever the operator called things, our loader reads them back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nfqdpi.config.model import DomainList, Group, Rule, Schedule
from nfqdpi.config.values import Domain, Duration, Member, Times
from nfqdpi.importers.draft import Draft
from nfqdpi.importers.toml import render
from tests.importers.judge import config_of

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)  # no half of a surrogate pair


@given(st.lists(texts, unique=True, min_size=4, max_size=4), texts)
def test_what_is_written_is_read_back(names: list[str], comment: str) -> None:
    """Names and comments with quotes, line breaks, control characters and signs of any script."""
    draft = Draft()
    draft.lists = [DomainList(name="a-list", url="https://x/#'\"", refresh=Duration(5400))]
    clients = (Member("10.0.0.0/8"), Member("aa:bb:cc:dd:ee:01"))
    draft.groups = [Group(name=names[0], clients=clients, interfaces=("lo",))]
    draft.schedules = [Schedule(name=names[1], windows=(Times("mon 08:00-12:00"),))]
    draft.rules = [
        Rule("block", names[2], domains=tuple(Domain(f"={n}.example") for n in range(9)), groups=(names[0],)),
        Rule("accelerate", names[3], lists=("a-list",), schedule=names[1], log=False)]
    draft.comments = {"=3.example": comment, "10.0.0.0/8": comment, "a-list": comment}
    config = config_of(draft)
    assert (config.list, config.group, config.schedule, config.rule) == (
        tuple(draft.lists), tuple(draft.groups), tuple(draft.schedules), tuple(draft.rules))


def test_what_no_file_can_hold() -> None:
    """Half of a surrogate pair, which JSON can escape and a file's name may have, is a question mark."""
    draft = Draft()
    draft.rules = [Rule("block", "x\ud800")]
    assert render(draft, "From \udcff\x01\n[[rule]].") == """# From [[rule]].

[[rule]]
action = "block"
name = "x?"
"""


def test_a_name_that_a_change_by_hand_may_have() -> None:
    """Is none of a rule's."""
    assert Draft().free_name("by hand 1") == "by hand 1 2"


def test_a_file_for_people() -> None:
    """Defaults are left out, long arrays have an item on each line, comments stand beside what they are about."""
    draft = Draft()
    draft.rules = [Rule("block", "ads", domains=(Domain("a.example"), Domain("=b.example")))]
    draft.comments = {"a.example": "by\nus"}
    assert render(draft, "Made by hand.") == """# Made by hand.

[[rule]]
action = "block"
name = "ads"
domains = [
    "a.example",  # by us
    "=b.example",
]
"""
