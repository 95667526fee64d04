"""What carries flows past netfilter: packets that never meet a rule are never judged."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from nfqdpi.config.model import Config
from nfqdpi.core.verdict import MarkField, Verdict
from nfqdpi.doctor.finding import Finding, Level
from nfqdpi.kernel import firewall
from nfqdpi.kernel.links import forwards_by_itself, links

# --- nft -a list ruleset ---
_BLOCK = re.compile(r"\s*(table|chain|flowtable) (.+) \{(?: # handle \d+)?")
_FLOW = re.compile(r"\bflow (?:add|offload) @(\S+).* # handle (\d+)")  # older versions of nft write "offload"
_NFT_MARK = re.compile(r"\bct mark (?:&|and) (0x[0-9a-f]+) == (0x[0-9a-f]+)")
_COMMENT = re.compile(r'\bcomment "[^"]*"')

# --- iptables-save ---
_TARGET = re.compile(r"-j FLOWOFFLOAD\b")  # OpenWrt's, of before nftables
_CONNMARK = re.compile(r"-m connmark --mark (0x[0-9a-f]+)/(0x[0-9a-f]+)")


class FastPath(NamedTuple):
    """A vendor's forwarding engine: the modules that bring it (those that use others first), the files that say whether
    it works and what they hold when it does not, and the command that stops it ("": unload the modules)."""

    name: str
    modules: tuple[str, ...] = ()
    switches: tuple[str, ...] = ()
    off: str = ""
    command: str = ""


_ECM, _HNAT = "/sys/kernel/debug/ecm", "/sys/kernel/debug/hnat/hook_toggle"

_FAST_PATHS = (
    FastPath("shortcut-fe",
             ("fast_classifier", "shortcut_fe_drv", "shortcut_fe_cm", "shortcut_fe_ipv6", "shortcut_fe")),
    FastPath("Qualcomm ECM", ("ecm", "qca_nss_sfe"), (f"{_ECM}/front_end_ipv4_stop", f"{_ECM}/front_end_ipv6_stop"),
             "1", f"echo 1 | tee {_ECM}/front_end_ipv4_stop {_ECM}/front_end_ipv6_stop {_ECM}/ecm_db/defunct_all"),
    FastPath("MediaTek HNAT", ("mtkhnat",), (_HNAT,), "0|disabled", f"echo 0 > {_HNAT}"),
    FastPath("MediaTek PPE", (), tuple(f"/sys/kernel/debug/ppe{n}/bind" for n in range(3)),  # what it forwards now
             command='nft list flowtables, and take "flags offload" from those that are found'),
    FastPath("Ralink HW NAT", ("hw_nat",)),
    FastPath("Broadcom flow cache", ("pktflow",), command="fcctl disable && fcctl flush"),
    FastPath("Broadcom CTF", ("ctf",), command="nvram set ctf_disable=1 && nvram commit && reboot"),
    FastPath("fastpath", ("fastpath", "fast_path")),
)


class Offload(NamedTuple):
    """A rule that gives flows to ``taker``, a flowtable or a target, and the command that removes it."""

    taker: str
    place: str
    rule: str
    command: str


def _flowtables(config: Config) -> Iterator[Finding]:
    listing = firewall.nftables("-a")
    rules = list(flow_rules(listing))
    yield from (judged(rule, config.field) for rule in rules)
    fed = {rule.taker for rule in rules}
    for kind, name in (block.groups() for line in listing if (block := _BLOCK.fullmatch(line))):
        if kind == "flowtable" and f"flowtable {name}" not in fed:
            yield Finding(f"flowtable {name}", Level.OK, "no rule gives flows to it")
    if not rules:
        yield Finding("flowtables", Level.OK, "no rule of nftables gives flows to one")


def _targets(config: Config) -> Iterator[Finding]:
    rules = list(target_rules(firewall.others()))
    yield from (judged(rule, config.field) for rule in rules)
    if not rules:
        yield Finding("FLOWOFFLOAD", Level.OK, "no rule of iptables has this target")


def _cards(_: Config) -> Iterator[Finding]:
    busy = [link.name for link in links() if link.name != "lo" and forwards_by_itself(link.name)]
    for name in busy:
        yield Finding(f"hw-tc-offload {name}", Level.WARN, "is on: flows that tc or a flowtable gives to the card are "
                      "forwarded by it, and no rule sees them", f"ethtool -K {name} hw-tc-offload off")
    if not busy:
        yield Finding("hw-tc-offload", Level.OK, "is off on every interface")


def _fast_paths(_: Config) -> Iterator[Finding]:
    found = list(fast_paths(Path("/")))
    yield from found or [Finding("fast paths", Level.OK, "no vendor's forwarding engine that is known here")]


BY_IPTABLES = frozenset((_targets,))
CHECKS = (_flowtables, _targets, _cards, _fast_paths)


def flow_rules(listing: Iterable[str]) -> Iterator[Offload]:
    """The rules that give flows to a flowtable, of the lines of ``nft -a list ruleset``."""
    table = chain = ""
    for line in listing:
        if (block := _BLOCK.fullmatch(line)) is not None:
            kind, name = block.groups()
            table, chain = (name, "") if kind == "table" else (table, name)
        elif (flow := _FLOW.search(_COMMENT.sub("", line))) is not None:
            flowtable, handle = flow.groups()
            yield Offload(f"flowtable {flowtable}", f"nft {table} {chain}", line.strip().partition(" # handle ")[0],
                          f"nft delete rule {table} {chain} handle {handle}")


def target_rules(rules: Iterable[tuple[str, str]]) -> Iterator[Offload]:
    """Those with the target FLOWOFFLOAD, of (where it stands, rule) as ``firewall.others`` has them."""
    for place, rule in rules:
        if not place.startswith("nft ") and _TARGET.search(rule):
            program, table, chain = place.split(" ")
            yield Offload("FLOWOFFLOAD", place, rule, f"{program} -t {table} -D {chain} {rule}")


def judged(offload: Offload, field: MarkField) -> Finding:
    """Only a rule that asks for our mark of an allowed flow may take flows past netfilter."""
    taker, place, rule, command = offload
    allowed, mask = field.value(Verdict.ACCELERATE), field.mask
    asked = [*_NFT_MARK.findall(rule), *(pair[::-1] for pair in _CONNMARK.findall(rule))]  # (its mask, its value)
    for bits, value in ((int(bits, 16), int(value, 16)) for bits, value in asked):
        if bits & mask == mask and value & mask == allowed:
            return Finding(taker, Level.OK, f"{place}: takes flows that are allowed: {rule}")
    narrow = f"ct mark and {mask:#x} == {allowed:#x}" if place.startswith("nft ") \
        else f"-m connmark --mark {allowed:#x}/{mask:#x}"
    return Finding(taker, Level.FAIL, f"{place}: takes flows past netfilter before they are decided: {rule}",
                   f"{command}; a rule with {narrow} may offload what is allowed")


def fast_paths(root: Path) -> Iterator[Finding]:
    """The vendors' engines in the file system that begins at ``root``."""
    for engine in _FAST_PATHS:
        # Not /proc/modules: an engine may be built in.
        loaded = [name for name in engine.modules if (root / "sys/module" / name).is_dir()]
        states = {path: state for path in engine.switches if (state := _read(root / path.lstrip("/"))) is not None}
        at_work = [path for path, state in states.items() if not re.fullmatch(engine.off, state)]
        command = engine.command or f"rmmod {' '.join(loaded)}"
        if at_work:
            yield Finding(engine.name, Level.FAIL, f"works (see {at_work[0]}): flows go past netfilter unseen", command)
        elif states:
            yield Finding(engine.name, Level.OK, f"is there, and does not work (see {', '.join(states)})")
        elif loaded:
            yield Finding(engine.name, Level.WARN, f"{', '.join(loaded)}: loaded, and may carry flows past netfilter",
                          command)


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return None
