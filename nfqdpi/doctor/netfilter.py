"""Netfilter: what rules are made of, our rules, queues and mark bits, conntrack."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from nfqdpi.config.model import Config
from nfqdpi.core.verdict import Verdict
from nfqdpi.daemon.rules import ruleset
from nfqdpi.doctor.finding import Finding, Level
from nfqdpi.kernel import conntrack, firewall, foreign, queues, sysctl
from nfqdpi.kernel.foreign import iptables_use, nft_use
from nfqdpi.kernel.modules import Presence, closed, presence
from nfqdpi.kernel.ruleset import render

_NEARLY, _FULL = 0.75, 0.95  # shares of conntrack's table


class Part(NamedTuple):
    """What the rules are made of: a rule that needs nothing else, the kernel option that brings it, its modules."""

    rule: str
    option: str
    modules: tuple[str, ...]


_PARTS = {
    "NFQUEUE": Part("-j NFQUEUE --queue-balance 0:1 --queue-bypass", "NETFILTER_XT_TARGET_NFQUEUE",
                    ("xt_NFQUEUE", "nfnetlink_queue")),
    "CONNMARK": Part("-j CONNMARK --save-mark --nfmask 0xf --ctmask 0xf", "NETFILTER_XT_TARGET_CONNMARK",
                     ("xt_connmark",)),
    "MARK": Part("-j MARK --set-xmark 0x0/0xf", "NETFILTER_XT_TARGET_MARK", ("xt_mark",)),
    "connmark": Part("-m connmark --mark 0x3/0xf", "NETFILTER_XT_MATCH_CONNMARK", ("xt_connmark",)),
    "conntrack": Part("-m conntrack --ctdir ORIGINAL", "NETFILTER_XT_MATCH_CONNTRACK",
                      ("xt_conntrack", "nf_conntrack_netlink")),
    "multiport": Part("-p tcp -m multiport --ports 80,443", "NETFILTER_XT_MATCH_MULTIPORT", ("xt_multiport",)),
    "bpf": Part('-m bpf --bytecode "1,6 0 0 1"', "NETFILTER_XT_MATCH_BPF", ("xt_bpf",)),
    "REJECT": Part("-p tcp -j REJECT --reject-with tcp-reset", "IP_NF_TARGET_REJECT and CONFIG_IP6_NF_TARGET_REJECT",
                   ("ipt_REJECT", "ip6t_REJECT")),
}


def _parts(_: Config) -> Iterator[Finding]:
    for name, (rule, option, modules) in _PARTS.items():
        table = "filter" if name == "REJECT" else "mangle"
        try:
            for family in firewall.families():
                firewall.rehearse(f"*{table}\n-A FORWARD {rule}\nCOMMIT\n", family)
        except firewall.FirewallError as error:
            on_disk = [module for module in modules if presence(module) is Presence.ON_DISK]
            yield Finding(name, Level.FAIL, f"not usable in a rule, so that the rules cannot be installed: {error}",
                          f"modprobe {' '.join(on_disk)}" if on_disk else f"a kernel with CONFIG_{option}")
        else:
            yield Finding(name, Level.OK, "usable in a rule, " + " and ".join(f"IPv{f}" for f in firewall.families()))


def _modules(_: Config) -> Iterator[Finding]:
    names = sorted({module for part in _PARTS.values() for module in part.modules})
    later = [name for name in names if presence(name) is Presence.ON_DISK]
    if later and closed():
        yield Finding("modules", Level.FAIL, f"{', '.join(later)}: not loaded, and the kernel takes no more modules "
                      "(kernel.modules_disabled): rules that need them cannot be installed",
                      f"load them at boot: printf '%s\\n' {' '.join(later)} > /etc/modules-load.d/nfqdpi.conf")
    elif later:
        yield Finding("modules", Level.OK, f"{', '.join(later)}: on disk, loaded when a rule first needs them")
    else:
        yield Finding("modules", Level.OK, "none has to be loaded")


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
    held, fed = queues.queues(), firewall.queue_numbers()
    for number in range(config.queue.first, config.queue.first + config.worker_count):
        if number not in held:
            yield _unheard(config, number) if number in fed else Finding(f"queue {number}", Level.OK, "free")
            continue
        owner = held[number].owner
        program = _command(owner) if owner else ""
        if "nfqdpi" in program:
            yield Finding(f"queue {number}", Level.OK, f"nfqdpi listens, pid {owner}")
        else:
            yield Finding(f"queue {number}", Level.FAIL, f"belongs to pid {owner or 'unknown'} ({program or 'unseen'})",
                          f"kill {owner}, or [queue] first = another number" if owner else
                          "stop that program, or [queue] first = another number")


def _unheard(config: Config, number: int) -> Finding:
    fate = "passes without being judged" if config.bypass else "is dropped"
    return Finding(f"queue {number}", Level.FAIL, f"nobody listens, and our rules lead to it: what they queue {fate}",
                   "systemctl start nfqdpi; to do without it, nfqdpi rules remove")


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


def _queue_rules(config: Config) -> Iterator[Finding]:
    ours = set(range(config.queue.first, config.queue.first + config.worker_count))
    clean = True
    for place, rule in firewall.others():
        if shared := sorted(ours.intersection(foreign.queues(rule))):
            clean = False
            yield Finding("queue numbers", Level.FAIL, f"{place}: a rule that is not ours leads to queue {shared[0]}, "
                          f"which is ours: its packets are judged as flows of clients: {rule}",
                          "another number in that rule, or in [queue] first")
    if clean:
        yield Finding("queue numbers", Level.OK, f"no other rule leads to queue {min(ours)} to {max(ours)}")


def _table(_: Config) -> Iterator[Finding]:
    count, most = (int(sysctl.read(f"netfilter/nf_conntrack_{name}") or 0) for name in ("count", "max"))
    if not most:
        yield Finding("conntrack table", Level.FAIL, "is not there: no flow can be marked", "modprobe nf_conntrack")
        return
    level = Level.FAIL if count >= _FULL * most else Level.WARN if count >= _NEARLY * most else Level.OK
    meaning = f"{count} of {most} flows"
    if level is Level.OK:
        yield Finding("conntrack table", level, meaning)
    else:
        yield Finding("conntrack table", level, f"{meaning}: when it is full, new flows are dropped",
                      f"sysctl -w net.netfilter.nf_conntrack_max={2 * most}")


def _accounting(_: Config) -> Iterator[Finding]:
    off = [name for name in ("acct", "timestamp") if sysctl.read(f"netfilter/nf_conntrack_{name}") != "1"]
    for name in off:
        what = ("`nfqdpi flows`, `stats --names` and `top --by bytes` tell no packets and bytes" if name == "acct" else
                "`nfqdpi flows` tells no age")
        yield Finding(f"nf_conntrack_{name}", Level.OK, f"is off: {what}; with "
                      f"net.netfilter.nf_conntrack_{name} = 1 they would")


def _conntrack(config: Config) -> Iterator[Finding]:
    count = sum(1 for _ in conntrack.dump(config.field, Verdict.BLOCK))
    yield Finding("conntrack netlink", Level.OK, f"answers; {count} flows are blocked now")


def _glue(_: Config) -> Iterator[Finding]:
    there = "is there" if queues.glue() else "is not in the kernel"
    yield Finding("GLUE_CT", Level.OK, f"NETFILTER_NETLINK_GLUE_CT {there}; verdicts reach conntrack without it")


BY_IPTABLES = frozenset((_parts, _rules, _queues, _queue_rules, _marks))
CHECKS = (_parts, _modules, _rules, _queues, _queue_rules, _marks, _conntrack, _table, _accounting, _glue)
