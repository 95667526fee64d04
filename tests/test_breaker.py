"""Whose fault it was, and who is left out."""

from __future__ import annotations

import sys

import pytest

from nfqdpi.core.classifier import NO_MATCH, Classifier, Pending
from nfqdpi.core.plugin import Overrun
from nfqdpi.daemon import breaker
from nfqdpi.daemon.breaker import Breaker
from nfqdpi.plugins.checked import AnswerError


def classify(prefix: bytes) -> Pending:
    raise Overrun if prefix == b"slow" else ValueError("wrong")


GOOD = Classifier("good", "good", "1", 10, lambda _: NO_MATCH)
BAD = Classifier("bad", "bad", "1", 10, classify)


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Breaker:
    """Of a plugin that is this module, and of another."""
    monkeypatch.setattr(breaker, "modules", lambda: {"bad": __name__, "good": "nowhere", "off": "elsewhere"})
    return Breaker({"good": [GOOD], "bad": [BAD]})


def raised(*, by: bytes = b"x") -> BaseException:
    try:
        BAD.bounded(by)
    except (ValueError, Overrun) as error:
        return error
    raise AssertionError


def test_left_out_and_tried_again(watch: Breaker) -> None:
    """Five faults in a minute are too many; a minute later the plugin has another chance."""
    assert [watch.fault(raised(), second) for second in range(4)] == [False] * 4
    assert watch.in_use == [GOOD, BAD]
    assert watch.fault(raised(), 4.0)
    assert (watch.left_out, watch.in_use) == (["bad"], [GOOD])
    assert not watch.rested(4.0 + breaker.REST - 1)
    assert watch.rested(4.0 + breaker.REST)
    assert (watch.left_out, watch.in_use) == ([], [GOOD, BAD])
    assert (watch.faults, watch.words) == ({"bad": 5}, "ValueError: wrong")


def test_no_better_than_before(watch: Breaker) -> None:
    """Tried again, a plugin is left out with its first fault; once it has done well for a minute, with its fifth."""
    now = 0.0
    for faults in (5, 1, 1):
        assert [watch.fault(raised(), now) for _ in range(faults)] == [False] * (faults - 1) + [True]
        now += breaker.REST
        assert watch.rested(now)
    now += breaker.WITHIN + 1
    assert [watch.fault(raised(), now) for _ in range(5)] == [False] * 4 + [True]


def test_slow_ones_count_twice(watch: Breaker) -> None:
    """Every packet of the worker has waited for them."""
    assert [watch.fault(raised(by=b"slow"), second) for second in range(3)] == [False, False, True]
    assert watch.faults == {"bad": 3}


def test_our_own_are_never_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is found in the reader of TLS, it costs the flows on which it was found."""
    monkeypatch.setattr(breaker, "modules", lambda: {"bad": "nfqdpi.plugins.bad"})
    watch = Breaker({"bad": [BAD]})
    error = raised()
    assert error.__traceback__ is not None
    monkeypatch.setitem(globals(), "__name__", "nfqdpi.plugins.bad")
    assert not any(watch.fault(error, 0.0) for _ in range(20))
    assert (watch.faults, watch.left_out) == ({"bad": 20}, [])


def test_a_wrong_answer(watch: Breaker) -> None:
    """It is found in our code, and is the fault of whoever gave it."""
    for plugin in ("bad", "one that is no more"):
        assert not watch.fault(AnswerError(plugin, "int is no answer"), 0.0)
    assert (watch.faults, watch.words) == ({"bad": 1}, "AnswerError: int is no answer")


class OddError(Exception):
    def __str__(self) -> str:
        raise SystemExit


@pytest.mark.parametrize(("error", "said"), [
    (OddError(), "OddError"),
    (ValueError("x" * 9999), f"ValueError: {'x' * 488}"), (ValueError("\ud800"), "ValueError: ?"),
])
def test_any_words(error: Exception, said: str) -> None:
    """Whatever an error says, or does when it is asked, it can be told."""
    assert breaker.words(error) == said


def test_now_and_then_is_not_too_often(watch: Breaker) -> None:
    """Faults that lie far apart are counted, and no more."""
    assert not any(watch.fault(raised(), second) for second in range(0, 1000, 20))
    assert (watch.faults, watch.left_out) == ({"bad": 50}, [])


def test_whose_code_runs(watch: Breaker) -> None:
    """The plugin that is nearest to what happens now; what is nobody's is nobody's fault."""
    frame = sys._getframe()
    assert watch.running(frame) == "bad"
    assert watch.running(None) == ""
    assert not watch.fault(ValueError("raised nowhere"), 0.0)
    assert watch.faults == {}
