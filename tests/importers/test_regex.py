"""Regular expressions as patterns, beside the standard library's engine."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfqdpi.importers.draft import InexpressibleError
from nfqdpi.importers.regex import patterns

labels = st.sampled_from(["a", "b", "ad", "ads", "ads1", "x-y"])
names = st.lists(labels, min_size=1, max_size=4).map(".".join)
pieces = st.sampled_from(["a", "b", "ad", "s?", r"\.", "[.]", "(a|b)", "(?:ad|b)?", "[ab]", "[0-9]", "|", "^", "$",
                          r"(\.|^)", r"(^|\.)", r"^(.+\.)?", r"^.*\.", ".*", ".", "+", "(", ")", r"\d", "x-y"])


@given(st.lists(pieces, max_size=7).map("".join), st.lists(names, max_size=20))
def test_patterns_match_what_the_expression_matches(text: str, found: list[str]) -> None:
    """Whatever is written: it is refused, or the patterns match the same names."""
    try:
        ours = patterns(text)
    except InexpressibleError:
        return
    theirs = re.compile(text)
    for name in found:
        assert any(pattern.matches(name) for pattern in ours) == bool(theirs.search(name)), (text, name)


@pytest.mark.parametrize(("text", "expected"), [
    (r"(\.|^)example\.com$", ["example.com"]),
    (r"(^|\.)(ads?|track)\.example\.com$", ["ads.example.com", "ad.example.com", "track.example.com"]),
    (r"^Example\.com$", ["=example.com"]),
    (r"^(.+[.])?example[.]com$", ["example.com"]),
    (r"\.example\.com$", ["*.example.com"]),
    (r"^.+\.zip$", ["*.zip"]),
    ("casino", ["*casino*"]),
    (r".*\.ads\..*", ["*.ads.*"]),
    (r"^a\.com$|^b\.com$", ["=a.com", "=b.com"]),
    (r"^ad[12]\.com$", ["=ad1.com", "=ad2.com"]),
])
def test_expressions_that_operators_write(text: str, expected: list[str]) -> None:
    """The customary ways to say: this name, it and all below, all below, this word."""
    assert [str(pattern) for pattern in patterns(text)] == expected


@pytest.mark.parametrize(("text", "why"), [
    (r"example\.com$", "end of a name within a label"), (r"^ads\.", "beginning of a name"), ("a.b", "any character"),
    ("ads[0-9]+", r"'\+'"), (r"^a|b$", "beginning of a name"), ("(a", "brackets"), ("", "no name"), (r"\d", r"'\\\\d'"),
    ("[^a]", "set of characters"), ("[0-9][0-9][0-9]", "more than 256"), (r"^a\.\.b$", "no name"),
])
def test_what_cannot_be_said_is_refused_with_the_reason(text: str, why: str) -> None:
    """Never a pattern that is merely similar."""
    with pytest.raises(InexpressibleError, match=why):
        patterns(text)
