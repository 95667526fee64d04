"""What plugins of others offer and answer, right and wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from nfqdpi.core.classifier import (
    NEED_MORE,
    NO_MATCH,
    Back,
    Classification,
    Classifier,
    DatagramClassifier,
    Glimpse,
    Known,
    Message,
    Onward,
    Reply,
    Step,
)
from nfqdpi.core.observer import Observer
from nfqdpi.core.plugin import Advice, Adviser
from nfqdpi.core.verdict import Verdict
from nfqdpi.plugins.checked import AnswerError, checked, why_not


def nothing(*_: object) -> Any:
    return None


def offer(**other: Any) -> Classifier:
    return Classifier(**{"name": "x", "protocol": "x", "version": "1", "needs": 9, "classify": nothing, **other})


def reading(answer: object) -> Any:
    """What a reader's answer becomes."""
    reader = checked("author", offer(classify=lambda _: answer))
    assert isinstance(reader, Classifier)
    return reader.classify(b"12345")


@pytest.mark.parametrize("offered", [
    offer(), offer(name="h\u00f6flich", ports=(1, 65535)), DatagramClassifier("x", "x", "1", nothing, (53,)),
    Adviser("x", "1", nothing), Observer("dns_tunnels", "1", nothing)])
def test_what_can_be_used(offered: object) -> None:
    assert why_not(offered) == ""


@pytest.mark.parametrize(("offered", "why"), [
    (None, "NoneType is no Classifier"), ("x", "str is no"), (Classifier, "type is no"),
    (offer(ports=(70000,)), "ports"), (offer(ports=80), "ports"), (offer(ports=["80"]), "ports"),
    (offer(needs="9"), "needs"), (offer(needs=-5), "needs"), (offer(classify="x"), "nothing to call"),
    (offer(protocol=""), "protocol"), (offer(version=1), "version"), (offer(name="x" * 65), "64 characters"),
    (Observer("../x", "1", nothing), "'../x'"), (Adviser("x", "1", None), "nothing to call"),  # type: ignore[arg-type]
    (DatagramClassifier("x", "x", "1", nothing, (0,)), "ports"),
])
def test_what_cannot(offered: object, why: str) -> None:
    """The reason says what is wrong."""
    assert why in why_not(offered)


@pytest.mark.parametrize("answer", [
    NEED_MORE, NO_MATCH, Classification("x", ("a.example", "\u00fc"), {"a": "b"}, length=5), Glimpse("", ("a",)),
    Message("x", ("a",), answers=(Known("a", bytes(16), 0),)),
])
def test_right_answers(answer: object) -> None:
    """They stay as they are."""
    assert reading(answer) is answer


_WRONG: list[Any] = [
    None, 3, "x", b"", Classification, Classification("x", names="abc"), Classification("x", names=(3,)),  # type: ignore[arg-type]
    Classification("x", names=None), Classification("x", ("\ud800",)), Classification("x", attributes={"a": "\udcff"}),  # type: ignore[arg-type]
    Classification("x", attributes={"a": b""}), Classification("x", attributes={3: "a"}),  # type: ignore[dict-item]
    Classification("x", attributes=3), Classification("x", flaw=3), Classification(3), Classification("x" * 65),  # type: ignore[arg-type]
    Classification("x", length=-1), Classification("x", length=6), Classification("x", length="1"),  # type: ignore[arg-type]
    Classification("x", skip=1 << 63), Classification("x", length=1, then=3), Classification("x", ids=("a",)),  # type: ignore[arg-type]
    Classification("x", length=1, confirm=3), Glimpse("x", None), Glimpse("x", then=3), Step(1, 0, None),  # type: ignore[arg-type]
    Step(1 << 63, 0, nothing), Message("x", edit=3), Message("x", answers=(Known("a", b"", 0),)),  # type: ignore[arg-type]
    Message("x", answers=None),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("answer", _WRONG, ids=lambda answer: ascii(answer)[:40])
def test_wrong_answers(answer: object) -> None:
    """They are noted as the plugin's."""
    with pytest.raises(AnswerError) as raised:
        reading(answer)
    assert raised.value.plugin == "author"


@pytest.mark.parametrize("later", [
    lambda: reading(Classification("x", length=1, then=nothing)).then(b"x"),
    lambda: reading(Classification("x", length=1, confirm=nothing)).confirm(b"x"),
    lambda: reading(Step(1, 0, nothing)).then(b"x"),
    lambda: reading(Glimpse("x", then=nothing)).then(b"x"),
    lambda: reading(Message("x", edit=lambda _: Back(bytes(1 << 16)))).edit(None),
    lambda: reading(Message("x", edit=lambda _: Onward("x"))).edit(None),  # type: ignore[arg-type]
    lambda: reading(Classification("x", length=1, confirm=lambda _: Reply(True, -1))).confirm(b"x"),
    lambda: checked("x", DatagramClassifier("x", "x", "1", nothing, ())).read(b"x"),  # type: ignore[union-attr]
    lambda: checked("x", Adviser("x", "1", lambda *_: 3)).advise(None, b"", b""),  # type: ignore[union-attr,arg-type]
    lambda: checked("x", Adviser("x", "1", lambda *_: Advice(Verdict.UNSEEN, ""))).advise(None, b"", b""),  # type: ignore[union-attr,arg-type]
])
def test_what_is_asked_later(later: Callable[[], object]) -> None:
    """So is what an answer says is to be called."""
    with pytest.raises(AnswerError):
        later()


def test_right_words_later() -> None:
    """And what is right goes by."""
    assert reading(Message("x", edit=nothing)).edit(None) is None
    assert reading(Message("x", edit=lambda _: Back(b"x"))).edit(None) == Back(b"x")
    assert reading(Classification("x", length=1, confirm=lambda _: NEED_MORE)).confirm(b"") is NEED_MORE
    assert reading(Classification("x", length=1, confirm=lambda _: Reply(True, 1, None))).confirm(b"").accepted
    said = checked("x", Adviser("x", "1", lambda *_: Advice(Verdict.BLOCK, "why")))
    assert said.advise(None, b"", b"") == Advice(Verdict.BLOCK, "why")  # type: ignore[union-attr,arg-type]
    assert checked("x", Adviser("x", "1", nothing)).advise(None, b"", b"") is None  # type: ignore[union-attr,arg-type]
