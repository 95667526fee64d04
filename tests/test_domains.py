"""Counts by registrable domain."""

from __future__ import annotations

from nfqdpi.daemon.domains import Domains


def test_names_of_one_domain_are_counted_together() -> None:
    """By action, most verdicts first; a flow without a name counts nowhere."""
    domains = Domains()
    for name, action in (("www.example.com", "accelerate"), ("ads.example.com", "block"), ("x.example.org", "block"),
                         (None, "block")):
        domains.add(name, action)
    assert domains.read() == {"domains": [{"domain": "example.com", "accelerate": 1, "block": 1},
                                          {"domain": "example.org", "block": 1}], "others": {}}
