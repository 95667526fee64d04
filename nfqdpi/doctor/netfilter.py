"""Netfilter: what rules are made of, our rules, queues and mark bits, conntrack."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from nfqdpi.config.model import Config
from nfqdpi.core.verdict import Verdict
from nfqdpi.daemon.rules import ruleset
from nfqdpi.doctor.finding import Finding, Level
from nfqdpi.kernel import conntrack, firewall, queues
from nfqdpi.kernel.foreign import iptables_use, nft_use
from nfqdpi.kernel.ruleset import render

# What the rules are made of: one rule each, and the kernel option that brings it.
_PARTS = {
    "NFQUEUE": ("-j NFQUEUE --queue-balance 0:1 --queue-bypass", "NETFILTER_XT_TARGET_NFQUEUE"),
    "CONNMARK": ("-j CONNMARK --save-mark --nfmask 0xf --ctmask 0xf", "NETFILTER_XT_TARGET_CONNMARK"),
    "MARK": ("-j MARK --set-xmark 0x0/0xf", "NETFILTER_XT_TARGET_MARK"),
    "connmark": ("-m connmark --mark 0x3/0xf", "NETFILTER_XT_MATCH_CONNMARK"),
    "conntrack": ("-m conntrack --ctdir ORIGINAL", "NETFILTER_XT_MATCH_CONNTRACK"),
    "multiport": ("-p tcp -m multiport --ports 80,443", "NETFILTER_XT_MATCH_MULTIPORT"),
    "bpf": ('-m bpf --bytecode "1,6 0 0 1"', "NETFILTER_XT_MATCH_BPF"),
    "REJECT": ("-p tcp -j REJECT --reject-with tcp-reset", "IP_NF_TARGET_REJECT and IP6_NF_TARGET_REJECT"),
}


def _parts(_: Config) -> Iterator[Finding]:
    for name, (rule, option) in _PARTS.items():
        table = "filter" if name == "REJECT" else "mangle"
        try:
            for family in firewall.families():
                firewall.rehearse(f"*{table}\n-A FORWARD {rule}\nCOMMIT\n", family)
        except firewall.FirewallError as error:
            yield Finding(name, Level.FAIL, f"not usable in a rule: {error}", f"a kernel with CONFIG_{option}")
        else:
            yield Finding(name, Level.OK, "usable in a rule, " + " and ".join(f"IPv{f}" for f in firewall.families()))


def _rules(config: Config) -> Iterator[Finding]:
    wanted = ruleset(config)
    for family in firewall.families():
        firewall.rehearse(render(wanted, family), family)
    differences = firewall.check(wanted)
    if not differences:
        yield Finding("rules", Level.OK, "installed as configured")
    elif firewall.installed():
        yield Finding("rules", Level.WARN, f"installed, but {len(differences)} differences from the configuration",
                      "nfqdpi rules check, nfqdpi rules install")
    else:
        yield Finding("rules", Level.OK, "not installed; the whole rule set can be")


def _queues(config: Config) -> Iterator[Finding]:
    held = queues.queues()
    for number in range(config.queue.first, config.queue.first + config.worker_count):
        if number not in held:
            yield Finding(f"queue {number}", Level.OK, "free")
            continue
        owner = held[number].owner
        program = _command(owner) if owner else ""
        if "nfqdpi" in program:
            yield Finding(f"queue {number}", Level.OK, f"nfqdpi listens, pid {owner}")
        else:
            yield Finding(f"queue {number}", Level.FAIL, f"belongs to pid {owner or 'unknown'} ({program or 'unseen'})",
                          "stop that program, or set [queue] first to a free number")


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def _marks(config: Config) -> Iterator[Finding]:
    mask = config.field.mask
    clean = True
    for place, rule in firewall.others():
        reads, writes = (nft_use if place.startswith("nft ") else iptables_use)(rule)
        if (reads | writes) & mask:
            clean = False
            verb, level = ("changes", Level.FAIL) if writes & mask else ("compares", Level.WARN)
            yield Finding("mark bits", level, f"{place}: a rule {verb} bits of our mask {mask:#x}: {rule}",
                          "give that rule a mask without these bits, or set [marks] mask to bits that nobody uses")
    if clean:
        yield Finding("mark bits", Level.OK, f"no other rule uses bits of {mask:#x}")


def _conntrack(config: Config) -> Iterator[Finding]:
    count = sum(1 for _ in conntrack.dump(config.field, Verdict.BLOCK))
    yield Finding("conntrack netlink", Level.OK, f"answers; {count} flows are blocked now")


def _glue(_: Config) -> Iterator[Finding]:
    there = "is there" if queues.glue() else "is not in the kernel"
    yield Finding("GLUE_CT", Level.OK, f"NETFILTER_NETLINK_GLUE_CT {there}; verdicts reach conntrack without it")


CHECKS = (_parts, _rules, _queues, _marks, _conntrack, _glue)
