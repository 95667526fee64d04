"""Counts by registrable domain."""

from __future__ import annotations

import pytest

from nfqdpi.daemon import domains
from nfqdpi.daemon.domains import Domains


@pytest.mark.parametrize("gathered", [domains._GATHERED, 2])
def test_names_of_one_domain_are_counted_together(monkeypatch: pytest.MonkeyPatch, gathered: int) -> None:
    """By action, most verdicts first, whether names are looked up when somebody asks or when they have become many."""
    monkeypatch.setattr(domains, "_GATHERED", gathered)
    counted = Domains()
    for action, names in (("accelerate", ["www.example.com"]), ("block", ["ads.example.com", "x.example.org"]),
                          ("block", []), ("accelerate", ["www.example.com", "www.example.net"])):
        counted.add(action, names)
    for _ in range(2):
        assert counted.read() == {"domains": [{"domain": "example.com", "accelerate": 2, "block": 1},
                                              {"domain": "example.net", "accelerate": 1},
                                              {"domain": "example.org", "block": 1}], "others": {}}


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many names come: those of one message at most beside what is gathered, and none is lost."""
    monkeypatch.setattr(domains, "_GATHERED", 50)
    counted = Domains()
    for n in range(100):
        counted.add("block", [f"n{n}-{m}.example" for m in range(20)])
        assert sum(map(len, counted._names.values())) <= 50
    told = counted.read()
    assert sum(row["block"] for row in told["domains"]) + told["others"].get("block", 0) == 2000
