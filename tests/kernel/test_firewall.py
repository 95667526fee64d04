"""The rules in the kernel: installed, compared and removed, on both back ends, IPv4 and IPv6."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from nfqdpi.core.verdict import MarkField
from nfqdpi.kernel import firewall
from nfqdpi.kernel.firewall import FirewallError
from nfqdpi.kernel.ruleset import Family, RuleSet
from nfqdpi.lab.namespace import Namespace
from tests.kernel.namespaces import BACK_ENDS, PROGRAM, back_end_path, fresh, rules, saved

FAMILIES: tuple[Family, ...] = (4, 6)
SCOPED = RuleSet(lan=("br-lan", "br-guest"), wan=("wan0",), queues=2, strict=False, bypass=False)
DATAGRAMS = RuleSet(ports=(80, 443, 53), quic="inspect", udp=(51820,), udp_both=(53,))
FOREIGN = (
    "-t mangle -A FORWARD -p tcp --dport 80 -j MARK --set-xmark 0x100/0xff00",
    "-t mangle -N NFQ",
    "-t mangle -A NFQ -j RETURN",
    "-t mangle -A FORWARD -j NFQ",
    "-A FORWARD -m comment --comment \"-j NFQDPI\" -j ACCEPT",
    "-t nat -A POSTROUTING -o wan0 -j MASQUERADE",
)


@pytest.fixture(params=BACK_ENDS)
def back_end(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("PATH", back_end_path(tmp_path, request.param))
    return str(request.param)


@pytest.fixture
def namespace(back_end: str) -> Iterator[Namespace]:
    with fresh() as built:
        yield built


def add_foreign_rules(namespace: Namespace) -> None:
    for family in FAMILIES:
        for rule in FOREIGN:
            namespace.run(["sh", "-c", f"{PROGRAM[family]} {rule}"])


@pytest.mark.parametrize("ruleset", [RuleSet(), SCOPED, DATAGRAMS], ids=["default", "scoped", "datagrams"])
def test_three_installs_and_a_removal_leave_what_was_there(namespace: Namespace, ruleset: RuleSet) -> None:
    """Installing three times leaves one copy; removing leaves the foreign rules, and nothing else."""
    add_foreign_rules(namespace)
    before = [saved(namespace, family) for family in FAMILIES]
    firewall.install(ruleset)
    once = [saved(namespace, family) for family in FAMILIES]
    firewall.install(ruleset)
    firewall.install(ruleset)
    assert [saved(namespace, family) for family in FAMILIES] == once != before
    firewall.remove()
    assert [saved(namespace, family) for family in FAMILIES] == before


def test_removal_takes_rules_of_any_configuration(namespace: Namespace) -> None:
    """What an older mask, mode and interface list left is removed, and a second removal finds nothing to do."""
    firewall.install(RuleSet(MarkField(0xF0000), ports=(8080,), lan=("old0",)))
    namespace.run(["iptables", "-t", "mangle", "-A", "OUTPUT", "-p", "tcp", "-j", "NFQDPI"])
    firewall.remove()
    firewall.remove()
    assert [rules(namespace, family) for family in FAMILIES] == [[], []]
    assert not firewall.installed()


def test_installing_replaces_an_older_rule_set(namespace: Namespace) -> None:
    """After an install the kernel holds the new rule set exactly, whatever of ours was there before."""
    for ruleset in (RuleSet(lan=("old0",)), RuleSet(MarkField(0x70), quic="ignore"), SCOPED, DATAGRAMS, RuleSet()):
        firewall.install(ruleset)
        assert firewall.check(ruleset) == []


def test_our_jumps_come_first(namespace: Namespace) -> None:
    """No rule of the administrator is asked before ours, also where it was inserted after our last install."""
    firewall.install(RuleSet())
    add_foreign_rules(namespace)
    namespace.run(["iptables", "-I", "FORWARD", "-j", "ACCEPT"])
    [difference] = firewall.check(RuleSet())
    assert difference == "IPv4 filter: FORWARD has its rules in another order, or other rules before ours"
    firewall.install(RuleSet())
    assert firewall.check(RuleSet()) == []


@pytest.mark.parametrize("family", FAMILIES)
def test_check_sees_every_missing_rule(namespace: Namespace, family: Family) -> None:
    """Whichever single rule of ours is deleted, check says so."""
    ruleset = RuleSet(lan=("lan0",))
    firewall.install(ruleset)
    ours = [
        (table, chain, number)
        for table, chains in firewall.parse("\n".join(saved(namespace, family))).items()
        for chain, lines in chains.items()
        for number in range(1, len(lines) + 1)
    ]
    assert len(ours) > 20
    for table, chain, number in ours:
        namespace.run([PROGRAM[family], "-t", table, "-D", chain, str(number)])
        differences = firewall.check(ruleset)
        assert any(f"IPv{family} {table}: {chain} lacks: " in line for line in differences), (table, chain, number)
        firewall.install(ruleset)


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ("-t mangle -R NFQDPI_VERDICT 1 -j CONNMARK --save-mark", "NFQDPI_VERDICT lacks: -j CONNMARK --save-mark"),
        ("-t mangle -I NFQDPI 1 -j RETURN", "NFQDPI has in addition: -j RETURN"),
        ("-A FORWARD -m connmark --mark 0x3/0xf -j NFQDPI", "FORWARD has in addition: -m connmark --mark 0x3/0xf"),
        ("-t mangle -A OUTPUT -j NFQDPI", "OUTPUT has in addition: -j NFQDPI"),
        ("-t mangle -N NFQDPI_OLD", "chain NFQDPI_OLD is not of this configuration"),
    ],
)
def test_check_sees_a_change(namespace: Namespace, change: str, difference: str) -> None:
    """A changed, added or doubled rule is told in iptables' own words."""
    firewall.install(RuleSet())
    namespace.run(["iptables", *change.split()])
    assert any(difference in line for line in firewall.check(RuleSet())), firewall.check(RuleSet())


def test_a_failed_install_leaves_nothing(namespace: Namespace, tmp_path: Path) -> None:
    """Where IPv6 refuses, the IPv4 rules that were in place already are taken away again, and the reason is told."""
    refusing = tmp_path / "ip6tables-restore"
    refusing.unlink()
    refusing.write_text("#!/bin/sh\necho 'line 7: no such target' >&2\nexit 2\n")
    refusing.chmod(0o755)
    with pytest.raises(FirewallError, match="ip6tables-restore: line 7: no such target"):
        firewall.install(RuleSet())
    assert rules(namespace, 4) == []


def test_a_kernel_without_ipv6_gets_no_ipv6_rules(namespace: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without IPv6, ip6tables is never run."""
    monkeypatch.setattr(firewall, "families", lambda: (4,))
    firewall.install(RuleSet())
    assert rules(namespace, 6) == []
    assert firewall.check(RuleSet()) == []


def test_others_are_told_apart_from_ours(namespace: Namespace, back_end: str) -> None:
    """The list of other programs' rules holds theirs and none of ours."""
    firewall.install(RuleSet())
    namespace.run(["iptables", "-t", "mangle", "-A", "POSTROUTING", "-j", "MARK", "--set-mark", "0x100"])
    found = list(firewall.others())
    assert (f"iptables-{back_end} mangle POSTROUTING", "-j MARK --set-xmark 0x100/0xffffffff") in found
    assert not [rule for _, rule in found if re.search(r"NFQDPI", rule)]
