"""What plugins of others offer and answer, right and wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from nfqdpi.build import compiled
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
    (lambda: None, "NoneType is no Classifier"), (lambda: "x", "str is no"), (lambda: Classifier, "type is no"),
    (lambda: offer(ports=(70000,)), "ports"), (lambda: offer(ports=80), "ports"),
    (lambda: offer(ports=["80"]), "ports"), (lambda: offer(needs="9"), "needs"), (lambda: offer(needs=-5), "needs"),
    (lambda: offer(classify="x"), "nothing to call"), (lambda: offer(protocol=""), "protocol"),
    (lambda: offer(version=1), "version"), (lambda: offer(name="x" * 65), "64 characters"),
    (lambda: Observer("../x", "1", nothing), "'../x'"),
    (lambda: Adviser("x", "1", None), "nothing to call"),  # type: ignore[arg-type]
    (lambda: DatagramClassifier("x", "x", "1", nothing, (0,)), "ports"),
])
def test_what_cannot(offered: Callable[[], object], why: str) -> None:
    """The reason says what is wrong; a constructor that is compiled may have said it before."""
    try:
        made = offered()
    except TypeError:
        assert compiled()
    else:
        assert why in why_not(made)


@pytest.mark.parametrize("answer", [
    NEED_MORE, NO_MATCH, Classification("x", ("a.example", "\u00fc"), {"a": "b"}, length=5), Glimpse("", ("a",)),
    Message("x", ("a",), answers=(Known("a", bytes(16), 0),)),
])
def test_right_answers(answer: object) -> None:
    """They stay as they are."""
    assert reading(answer) is answer


_WRONG: list[Callable[[], Any]] = [
    lambda: None, lambda: 3, lambda: "x", lambda: b"", lambda: Classification,
    lambda: Classification("x", names="abc"), lambda: Classification("x", names=(3,)),  # type: ignore[arg-type]
    lambda: Classification("x", names=None), lambda: Classification("x", ("\ud800",)),  # type: ignore[arg-type]
    lambda: Classification("x", attributes={"a": "\udcff"}),
    lambda: Classification("x", attributes={"a": b""}), lambda: Classification("x", attributes={3: "a"}),  # type: ignore[dict-item]
    lambda: Classification("x", attributes=3), lambda: Classification("x", flaw=3),  # type: ignore[arg-type]
    lambda: Classification(3), lambda: Classification("x" * 65),  # type: ignore[arg-type]
    lambda: Classification("x", length=-1), lambda: Classification("x", length=6),
    lambda: Classification("x", length="1"), lambda: Classification("x", skip=1 << 63),  # type: ignore[arg-type]
    lambda: Classification("x", length=1, then=3), lambda: Classification("x", ids=("a",)),  # type: ignore[arg-type]
    lambda: Classification("x", length=1, confirm=3), lambda: Glimpse("x", None),  # type: ignore[arg-type]
    lambda: Glimpse("x", then=3), lambda: Step(1, 0, None), lambda: Step(1 << 63, 0, nothing),  # type: ignore[arg-type]
    lambda: Message("x", edit=3), lambda: Message("x", answers=(Known("a", b"", 0),)),  # type: ignore[arg-type]
    lambda: Message("x", answers=None),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("answer", _WRONG, ids=range(len(_WRONG)))
def test_wrong_answers(answer: Callable[[], object]) -> None:
    """They are noted as the plugin's, in which a constructor that is compiled raises by itself."""
    reader = checked("author", offer(classify=lambda _: answer()))
    assert isinstance(reader, Classifier)
    with pytest.raises((AnswerError, TypeError)) as raised:
        reader.classify(b"12345")
    assert raised.value.plugin == "author" if isinstance(raised.value, AnswerError) else compiled()


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
    with pytest.raises((AnswerError, TypeError) if compiled() else AnswerError):
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
