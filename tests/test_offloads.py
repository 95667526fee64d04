"""What carries flows past netfilter, from listings of rules and from a file system."""

from __future__ import annotations

from pathlib import Path

import pytest

from nfqdpi.core.verdict import MarkField
from nfqdpi.doctor.offloads import Offload, fast_paths, flow_rules, judged, target_rules

# As fw4 of OpenWrt has it, with a second rule that is harmless and a third that is a comment.
NFT = """\
table inet fw4 { # handle 3
\tflowtable ft { # handle 2
\t\thook ingress priority filter
\t\tdevices = { lan0, wan0 }
\t\tcounter
\t}

\tchain forward { # handle 5
\t\ttype filter hook forward priority filter; policy drop;
\t\tmeta l4proto { tcp, udp } flow add @ft # handle 21
\t\tct mark & 0x0000000f == 0x00000002 flow offload @ft comment "allowed" # handle 22
\t\tct state established accept comment "not yet: flow add @ft" # handle 23
\t}
}
"""


def test_rules_that_feed_a_flowtable() -> None:
    """Of both spellings, each with its place and the command that removes it."""
    first, second = flow_rules(NFT.splitlines())
    assert first == Offload("flowtable ft", "nft inet fw4 forward", "meta l4proto { tcp, udp } flow add @ft",
                            "nft delete rule inet fw4 forward handle 21")
    assert second.command.endswith("handle 22")


def test_rules_with_the_target() -> None:
    """The command that removes one is the program's that has it."""
    rules = [("iptables-legacy filter FORWARD", "-m conntrack --ctstate ESTABLISHED -j FLOWOFFLOAD --hw"),
             ("iptables-nft filter FORWARD", "-j ACCEPT"), ("nft inet fw4", "flow add @ft")]
    (rule,) = target_rules(rules)
    assert rule.command == ("iptables-legacy -t filter -D FORWARD -m conntrack --ctstate ESTABLISHED "
                            "-j FLOWOFFLOAD --hw")


@pytest.mark.parametrize(
    ("place", "rule", "level"),
    [
        ("nft inet fw4 forward", "flow add @ft", "fail"),
        ("nft inet fw4 forward", "ct mark & 0x000000f0 == 0x00000020 flow add @ft", "ok"),
        ("nft inet fw4 forward", "ct mark and 0xff == 0x21 flow add @ft", "ok"),
        ("nft inet fw4 forward", "ct mark & 0x000000f0 == 0x00000010 flow add @ft", "fail"),
        ("nft inet fw4 forward", "ct mark & 0x00000020 == 0x00000020 flow add @ft", "fail"),
        ("nft inet fw4 forward", "meta mark & 0x000000f0 == 0x00000020 flow add @ft", "fail"),
        ("iptables filter FORWARD", "-m connmark --mark 0x20/0xf0 -j FLOWOFFLOAD", "ok"),
        ("iptables filter FORWARD", "-m connmark ! --mark 0x20/0xf0 -j FLOWOFFLOAD", "fail"),
        ("iptables filter FORWARD", "-m mark --mark 0x20/0xf0 -j FLOWOFFLOAD", "fail"),
    ],
)
def test_flows_that_are_allowed_may_be_offloaded(place: str, rule: str, level: str) -> None:
    """A rule is harmless only if it asks for our mark of an allowed flow, all of its bits."""
    assert judged(Offload("x", place, rule, "remove it"), MarkField(0xF0)).level == level


@pytest.mark.parametrize(
    ("files", "level", "remedy"),
    [
        (["sys/module/shortcut_fe/", "sys/module/shortcut_fe_cm/"], "warn", "rmmod shortcut_fe_cm shortcut_fe"),
        (["sys/module/ctf/"], "warn", "nvram set ctf_disable=1 && nvram commit && reboot"),
        (["sys/module/mtkhnat/", "sys/kernel/debug/hnat/hook_toggle=1\n"], "fail",
         "echo 0 > /sys/kernel/debug/hnat/hook_toggle"),
        (["sys/module/mtkhnat/", "sys/kernel/debug/hnat/hook_toggle=disabled\n"], "ok", ""),
        (["sys/kernel/debug/ecm/front_end_ipv4_stop=1\n", "sys/kernel/debug/ecm/front_end_ipv6_stop=0\n"], "fail",
         "echo 1 | tee /sys/kernel/debug/ecm/front_end_ipv4_stop /sys/kernel/debug/ecm/front_end_ipv6_stop "
         "/sys/kernel/debug/ecm/ecm_db/defunct_all"),
        (["sys/kernel/debug/ppe0/bind="], "ok", ""),
        (["sys/kernel/debug/ppe0/bind=00001 BND IPv4 5T\n"], "fail",
         'nft list flowtables, and take "flags offload" from those that are found'),
    ],
)
def test_fast_paths_of_vendors(tmp_path: Path, files: list[str], level: str, remedy: str) -> None:
    """A loaded module may carry flows, a switch that is on says that it does."""
    assert not list(fast_paths(tmp_path))
    for name, _, content in (file.partition("=") for file in files):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir()
        else:
            path.write_text(content)
    (finding,) = fast_paths(tmp_path)
    assert (finding.level, finding.remedy) == (level, remedy)
