"""Names and the patterns that match them, against a loop that tries one after the other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfqdpi.policy.names import Kind, Pattern, PatternIndex, canonical
from tests.policy.reference import matches
from tests.policy.worlds import LABELS, WORDS

labels = st.lists(st.sampled_from(LABELS), min_size=1, max_size=4)
names = labels.map(".".join)
patterns = st.builds("{}{}".format, st.sampled_from(["", "=", "*."]), names) | st.sampled_from(WORDS).map("*{}*".format)


@given(st.lists(patterns, max_size=12), names)
def test_the_index_finds_what_a_loop_finds(written: list[str], name: str) -> None:
    """However many patterns: each that matches is found, with its rule, and no other."""
    parsed = [Pattern.parse(text) for text in written]
    index = PatternIndex((pattern, rule) for rule, pattern in enumerate(parsed))
    assert index.matches(name) == sum(1 << rule for rule, one in enumerate(parsed) if matches(one, name))


@given(patterns, names)
def test_a_pattern_alone_matches_as_in_the_index(written: str, name: str) -> None:
    """What `explain` says of one pattern is what decides."""
    pattern = Pattern.parse(written)
    assert pattern.matches(name) == matches(pattern, name)


@pytest.mark.parametrize(("pattern", "yes", "no"), [
    ("google.com", ["google.com", "www.google.com", "a.b.google.com"],
     ["notgoogle.com", "google.com.evil", "com", "oogle.com"]),
    ("=google.com", ["google.com"], ["www.google.com", "notgoogle.com"]),
    ("*.google.com", ["www.google.com", "a.b.google.com"], ["google.com", "notgoogle.com"]),
    ("*google*", ["google.com", "notgoogle.com", "x.googleplex"], ["goo.gle"]),
    ("Google.COM.", ["google.com"], ["google.co"]),
    ("bücher.example", ["xn--bcher-kva.example", "www.xn--bcher-kva.example"], ["bcher.example"]),
    ("10.0.0.1", ["10.0.0.1"], ["10.0.0.10", "110.0.0.1"]),
    ("FD00:0::1", ["fd00::1"], ["fd00::10"]),
    ("com", ["google.com", "com"], ["telecom"]),
])
def test_the_four_kinds(pattern: str, yes: list[str], no: list[str]) -> None:
    """Label-exact: the name, what is below it, both, or any part of it."""
    index = PatternIndex([(Pattern.parse(pattern), 7)])
    assert all(index.matches(name) == 1 << 7 for name in yes)
    assert not any(index.matches(name) for name in no)


@pytest.mark.parametrize("written", ["", ".", "=", "*.", "*", "**", "a..b", "a b", "a/b", "http://a",
                                     "a.example:80", "*a*b*", "a*", "*a", "=*.a", "a" * 64, "a." * 127 + "a",
                                     "*a b*", "*b\u00fcch*", "*a/b*", "*\x00*",
                                     "\N{SNOWMAN}\u200d.example"])
def test_what_is_no_pattern(written: str) -> None:
    """The operator is told which text, and what patterns look like."""
    with pytest.raises(ValueError, match="is not a domain"):
        Pattern.parse(written)


@given(patterns)
def test_a_pattern_prints_as_it_is_written(written: str) -> None:
    """What `explain` shows can be pasted into the configuration."""
    assert str(Pattern.parse(written)) == written


@given(st.text(max_size=80))
def test_any_text_is_a_pattern_or_says_why(text: str) -> None:
    """No text raises anything but what the operator can read, and a pattern's text is canonical."""
    try:
        pattern = Pattern.parse(text)
    except ValueError:
        return
    assert pattern.kind is Kind.SUBSTRING or canonical(pattern.text) == pattern.text
    assert Pattern.parse(str(pattern)) == pattern


@given(st.text(max_size=80))
def test_any_name_has_a_canonical_form(text: str) -> None:
    """Names from anywhere are total, and canonical once is canonical."""
    index = PatternIndex([(Pattern.parse("google.com"), 0), (Pattern.parse("*e*"), 1)])
    assert 0 <= index.matches(canonical(text)) <= 3


@pytest.mark.parametrize(("name", "form"), [("Google.COM", "google.com"), ("google.com.", "google.com"),
                                            ("bücher.example", "xn--bcher-kva.example"),
                                            ("FD00:0:0::1", "fd00::1"), ("a:b", "a:b"),
                                            ("\u2603\u200d.x", "\u2603\u200d.x")])
def test_canonical(name: str, form: str) -> None:
    """Lower case, A-labels, no trailing dot; an impossible name stays as it is."""
    assert canonical(name) == form
