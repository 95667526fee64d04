"""Registrable domains, as publicsuffix.org has them."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfqdpi.policy.suffixes import registrable


@pytest.mark.parametrize(("name", "domain"), [
    ("www.example.com", "example.com"), ("a.b.example.co.uk", "example.co.uk"), ("Example.COM.", "example.com"),
    ("www.city.kawasaki.jp", "city.kawasaki.jp"), ("somebody.github.io", "somebody.github.io"),
    ("a.b.ck", "a.b.ck"), ("www.ck", "www.ck"),  # a wildcard in the list, and the exception from it
    ("www.bücher.de", "xn--bcher-kva.de"),
])
def test_a_name_belongs_to_the_domain_that_was_registered(name: str, domain: str) -> None:
    """One label more than the public suffix, in the canonical form."""
    assert registrable(name) == domain


@pytest.mark.parametrize("name", ["192.0.2.7", "fd00::7", "co.uk", "localhost", "router.lan", ""])
def test_what_nobody_registered_is_itself(name: str) -> None:
    """Addresses, public suffixes and private names are not cut."""
    assert registrable(name) == name


@given(st.text(max_size=300))
def test_any_name_has_an_answer(name: str) -> None:
    """Names come from attackers: whatever they are, the answer is their end."""
    assert isinstance(registrable(name), str)


def test_the_list_is_read_when_it_is_needed() -> None:
    """Whoever counts nothing does not pay for it."""
    program = "import sys, nfqdpi.daemon.domains; print('publicsuffixlist' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
