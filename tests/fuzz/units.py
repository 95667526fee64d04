"""What a classifier's answer holds, where the test knows that it is there."""

from __future__ import annotations

from nfqdpi.core.classifier import Answer, Classification, Classify, Confirm


def unit(answer: Answer) -> Classification:
    """A whole unit."""
    assert isinstance(answer, Classification)
    return answer


def then(found: Classification) -> Classify:
    """Who reads what follows it."""
    assert found.then is not None
    return found.then


def confirm(found: Classification) -> Confirm:
    """Who reads the server's answer to it."""
    assert found.confirm is not None
    return found.confirm
