"""Which events are meant."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec
import pytest

from nfqdpi.events.filter import Filter, subject, wanted
from nfqdpi.events.model import Line, notice
from tests.events.samples import event

EVENT = subject(event("Www.X.example", mac="aa:bb:cc:00:11:22"))


@pytest.mark.parametrize(("key", "fits", "not_this"), [
    ("verdict", "block", "accelerate"),
    ("client", "10.0.0.1", "10.0.0.2"),
    ("client", "10.0.0.0/24", "fd00::/8"),
    ("client", "10.0.0.0/24", "10.0.1.0/24"),
    ("client", "AA-BB-CC-00-11-22", "aa:bb:cc:00:11:23"),
    ("name", "*.x.example", "*.www.x.example"),
    ("name", "x.example", "=x.example"),
    ("name", "*ww.x*", "example.com"),
    ("reason", "rule", "default"),
    ("rule", "ads", "Ads"),
])
def test_one_filter(key: str, fits: str, not_this: str) -> None:
    """It accepts what has the value, and refuses what has not; unwanted, the other way round."""
    assert Filter([(key, fits)])(EVENT)
    assert not Filter([(key, not_this)])(EVENT)
    assert not Filter(unwanted=[(key, fits)])(EVENT)
    assert Filter(unwanted=[(key, not_this)])(EVENT)


def test_several_filters() -> None:
    """Of the values of a key one must fit, of the keys all; nothing unwanted may."""
    either = [("client", "10.0.0.2"), ("client", "10.0.0.1")]
    assert Filter(either)(EVENT)
    assert not Filter([*either, ("rule", "other")])(EVENT)
    assert not Filter(either, [("name", "x.example")])(EVENT)


def test_a_flow_without_a_name_has_none() -> None:
    """No pattern matches it, so that it is not unwanted either."""
    nameless = subject(event(""))
    assert not Filter([("name", "*e*")])(nameless)
    assert Filter(unwanted=[("name", "*e*")])(nameless)


@pytest.mark.parametrize(("key", "value"), [("client", "10.0.0"), ("client", "10.0.0.1/24"), ("name", "a..b"),
                                            ("colour", "red"), ("", "")])
def test_filters_that_cannot_be_meant(key: str, value: str) -> None:
    """They are refused in words."""
    with pytest.raises(ValueError, match=r"is no|is none of"):
        Filter([(key, value)])


def test_age_and_notices() -> None:
    """Older events go; notices stay, unless a filter asks for verdicts."""
    now = datetime.now().astimezone()
    old, young = event(when=now - timedelta(hours=1)), event(when=now)
    told = msgspec.json.decode(notice("x", "y"), type=Line)
    assert [line for line in (old, young) if wanted(None, now - timedelta(minutes=1))(line)] == [young]
    assert wanted(None, None)(told)
    assert not wanted(Filter([("verdict", "block")]), None)(told)
