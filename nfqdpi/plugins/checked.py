"""What plugins of others offer and answer, looked at before it is believed: what it is not must be noted as theirs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from nfqdpi.core.classifier import (
    Back,
    Classification,
    Classifier,
    DatagramClassifier,
    Glimpse,
    Known,
    Message,
    Onward,
    Pending,
    Reply,
    Step,
)
from nfqdpi.core.observer import Observer
from nfqdpi.core.plugin import Advice, Adviser, Reader, Slow
from nfqdpi.core.verdict import Verdict

_NAME: Final = re.compile(r"[\w-]+")  # observers have files of their names
_LONGEST_NAME: Final = 64  # characters of a name, a protocol and a version
_LONGEST_DATAGRAM: Final = 0xFFFF - 28  # bytes of payload, behind an IPv4 header and UDP's
_MOST_OPAQUE: Final = 1 << 62  # bytes


class AnswerError(TypeError):
    """``plugin`` has answered what is no answer."""

    def __init__(self, plugin: str, why: str) -> None:
        super().__init__(why)
        self.plugin = plugin


def why_not(offer: object) -> str:  # noqa: PLR0911  one for each answer
    """Why this is nothing that a plugin can offer; "": it is."""
    if not isinstance(offer, Reader | Observer):
        return f"{_kind(offer)} is no Classifier, DatagramClassifier, Adviser or Observer"
    words = [offer.name, offer.version]
    called: object = None
    match offer:
        case Classifier() | DatagramClassifier():
            words.append(offer.protocol)
            called = offer.classify if isinstance(offer, Classifier) else offer.read
            if not isinstance(offer.ports, tuple) or not all(_is_int(port, 1, 0xFFFF) for port in offer.ports):
                return "ports is no tuple of numbers from 1 to 65535"
            if isinstance(offer, Classifier) and not _is_int(offer.needs, 1):
                return "needs is no number of bytes"
        case Adviser():
            called = offer.advise
            if not isinstance(offer.slow, Slow | None):
                return "slow is no Slow"
        case Observer():
            called = offer.begin
    if not all(isinstance(word, str) and 0 < len(word) <= _LONGEST_NAME for word in words):
        return f"name, protocol or version is no text of 1 to {_LONGEST_NAME} characters"
    if not _NAME.fullmatch(offer.name):
        return f"the name {offer.name!r} has other characters than letters, digits, - and _"
    return "" if callable(called) else "there is nothing to call"


def checked(plugin: str, reader: Reader) -> Reader:
    """The same, whose answers are looked at. These raise AnswerError then."""
    match reader:
        case Classifier():
            return replace(reader, classify=_reading(plugin, reader.classify))
        case DatagramClassifier():
            return replace(reader, read=_reading(plugin, reader.read))
        case Adviser():
            return replace(reader, advise=_calling(plugin, reader.advise, _advice))


def _calling(plugin: str, call: Callable[..., Any], why: Callable[[object], str]) -> Any:
    def called(*what: Any) -> Any:
        answer = call(*what)
        if wrong := why(answer):
            raise AnswerError(plugin, wrong)
        return answer

    return called


def _reading(plugin: str, read: Callable[[bytes], Any]) -> Any:
    def asked(data: bytes) -> Any:
        answer: Any = read(data)
        if isinstance(answer, Pending):
            return answer
        if wrong := _answer(answer, len(data)):
            raise AnswerError(plugin, wrong)
        if isinstance(answer, Message):
            edit = answer.edit
            return answer if edit is None else replace(answer, edit=_calling(plugin, edit, _edited))
        if answer.then is not None:
            answer = replace(answer, then=_reading(plugin, answer.then))
        if isinstance(answer, Classification) and answer.confirm is not None:
            answer = replace(answer, confirm=_calling(plugin, answer.confirm, _reply))
        return answer

    return asked


def _answer(answer: Any, size: int) -> str:
    """``size``: of the bytes that were there, of which a unit is a part."""
    match answer:
        case Classification():
            return _contents(answer) or _number(answer.length, 0, size) or _number(answer.skip, 0) or _calls(answer)
        case Step():
            return _number(answer.length) or _number(answer.skip, 0) or _calls(answer)
        case Glimpse():
            return _contents(answer) or _calls(answer)
        case Message():
            known = isinstance(answer.answers, tuple) and all(map(_is_known, answer.answers))
            return _contents(answer) or _calls(answer) or "answers is no tuple of Known" * (not known)
        case _:
            return f"{_kind(answer)} is no answer"


def _contents(answer: Any) -> str:
    names, ids = answer.names, getattr(answer, "ids", ())
    if not isinstance(names, tuple) or not isinstance(ids, tuple) or not all(isinstance(one, bytes) for one in ids):
        return "names or ids is no tuple, or an id no bytes"
    if not isinstance(answer.attributes, Mapping):
        return "attributes is no mapping"
    texts = (answer.protocol, getattr(answer, "flaw", ""), *names, *answer.attributes, *answer.attributes.values())
    right = _are_text(texts) and len(answer.protocol) <= _LONGEST_NAME
    return "" if right else "protocol, flaw, a name or an attribute is no text"


def _calls(answer: object) -> str:
    called = (getattr(answer, word, None) for word in ("then", "confirm", "edit"))
    right = all(one is None or callable(one) for one in called) and not (
        isinstance(answer, Step) and answer.then is None)
    return "" if right else "then, confirm or edit is nothing to call"


def _number(number: object, least: int = 1, most: int = _MOST_OPAQUE) -> str:
    return "" if _is_int(number, least, most) else "length or skip is no number of bytes, or more than there are"


def _advice(advice: object) -> str:
    if advice is None:
        return ""
    right = isinstance(advice, Advice) and advice.verdict in _ADVISED and _are_text((advice.why,))
    return "" if right else f"{_kind(advice)} is no Advice to accelerate, inspect or block"


_ADVISED: Final = (Verdict.ACCELERATE, Verdict.INSPECT, Verdict.BLOCK, Verdict.BLOCK_SILENT)


def _edited(edit: object) -> str:
    right = edit is None or (isinstance(edit, Onward | Back) and isinstance(edit.payload, bytes)
                             and len(edit.payload) <= _LONGEST_DATAGRAM)
    return "" if right else f"{_kind(edit)} is no edit, or longer than a datagram"


def _reply(reply: object) -> str:
    right = isinstance(reply, Pending) or (
        isinstance(reply, Reply) and _is_int(reply.length, 0) and (reply.skip is None or _is_int(reply.skip, 0)))
    return "" if right else f"{_kind(reply)} is no Reply"


def _is_known(known: object) -> bool:
    return (isinstance(known, Known) and _are_text((known.name,)) and isinstance(known.address, bytes)
            and len(known.address) in (4, 16) and _is_int(known.ttl, 0))


def _is_int(number: object, least: int = 1, most: int = _MOST_OPAQUE) -> bool:
    return isinstance(number, int) and least <= number <= most


def _are_text(words: Iterable[object]) -> bool:
    """True of what can be written: a surrogate without its other half cannot (str.encode)."""
    try:
        return all(isinstance(word, str) and (word.isascii() or word.encode()) is not None for word in words)
    except UnicodeEncodeError:
        return False


def _kind(thing: object) -> str:
    return type(thing).__name__[:_LONGEST_NAME]
