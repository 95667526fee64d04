"""The firewall rules in the kernel: installed, checked and removed. Only this file runs iptables.

Every call works on whichever back end (nft or legacy) the ``iptables`` on PATH belongs to, in the network namespace of
the caller. Chains named NFQDPI or NFQDPI_* are ours; of other chains only the rules that jump to ours are touched.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from nfqdpi.kernel.privileges import Capability
from nfqdpi.kernel.ruleset import Family, RuleSet, render

Tables = dict[str, dict[str, list[str]]]  # table -> chain -> its rules, as iptables-save words them
Standing = dict[Family, Tables]  # our chains, and of others' the jumps to ours

# --- ours ---
CHANGE = (Capability.CAP_NET_ADMIN, Capability.CAP_NET_RAW)  # needed: the legacy back end has a raw socket
CHECK = (*CHANGE, Capability.CAP_SYS_ADMIN)
_LOCK_WAIT = 10  # seconds; another program's iptables-restore holds the lock for milliseconds

_TABLES = ("filter", "mangle")  # that hold rules of ours
_OURS = re.compile(r"NFQDPI(_\w+)?")
_IPTABLES_NFT = re.compile(r"table ip6? (filter|mangle|nat|raw|security)")  # what iptables-nft keeps its rules in
_QUEUES = re.compile(r"-j NFQUEUE --queue-(?:num|balance) (\d+)(?::(\d+))?")
_BYPASSED = re.compile(r"^\[(\d+):\d+\] -A NFQDPI_BYPASSED ", re.MULTILINE)
_JUMP = re.compile(r"-[jg] (NFQDPI(?:_\w+)?)$")
_RULE = re.compile(r"^(?:-[46] )?-A NFQDPI", re.MULTILINE)


class FirewallError(Exception):
    """A rule set could not be installed, read or removed; the message is what iptables said of it."""


def families() -> tuple[Family, ...]:
    """The families that this kernel forwards: 6 only where it has IPv6."""
    return (4, 6) if Path("/proc/net/if_inet6").exists() else (4,)


def absent() -> list[str]:
    """The programs without which rules can be neither installed nor looked at, as far as they are not on PATH."""
    return [name for family in families() for part in ("restore", "save")
            if not shutil.which(name := f"{_PROGRAM[family]}-{part}")]


def install(ruleset: RuleSet) -> None:
    """Put the rules in place of any older ones of ours, the jumps first in FORWARD.

    Each table changes in one transaction, so no packet meets half of the rules; filter goes first, since mangle's
    verdicts are enforced there. After a FirewallError nothing of ours is left.
    """
    try:
        for family in families():
            older = _saved(family)
            _restore(family, _merge(render(ruleset, family), older))
    except FirewallError:
        remove()
        raise


def remove() -> None:
    """Take every chain of ours away and every rule that jumps to one, of whatever configuration they are."""
    for family in families():
        script = ""
        for table, chains in _saved(family).items():
            if retired := [*_retired(chains), *(f"-X {chain}" for chain in filter(_OURS.fullmatch, chains))]:
                script += "\n".join([f"*{table}", *retired, "COMMIT", ""])
        if script:
            _restore(family, script)


def installed() -> bool:
    """True where a chain of ours is there, of whatever configuration."""
    tables = (chains for family in families() for chains in _saved(family).values())
    return any(_OURS.fullmatch(chain) for chains in tables for chain in chains)


def queue_numbers() -> set[int]:
    """The queues that the installed rules lead to."""
    rules = (rule for family in families() for chains in _saved(family).values()
             for chain, listed in chains.items() if _OURS.fullmatch(chain) for rule in listed)
    ranges = (found.groups() for rule in rules if (found := _QUEUES.search(rule)))
    return {number for first, last in ranges for number in range(int(first), int(last or first) + 1)}


def bypassed() -> int:
    """Packets that should have been judged and went by the queue since the rules were installed: it was full, or nobody
    listened, and the rule set lets them pass."""
    listings = (_run([f"{_PROGRAM[family]}-save", "-c", "-t", "filter"]) for family in families())
    return sum(int(count) for listing in listings for count in _BYPASSED.findall(listing))


def check(ruleset: RuleSet) -> list[str]:
    """How what the kernel holds differs from the rule set: one line of words each, none where it is exact. Needs
    CAP_SYS_ADMIN."""
    return differences({family: rehearse(render(ruleset, family), family) for family in families()})


def standing(ruleset: RuleSet) -> Standing:
    """What the kernel holds of ours, just after the rule set was installed: with it ``differences`` can tell later what
    became of it. Raises FirewallError where some of it is gone already."""
    found: Standing = {
        family: {table: {chain: rules if _OURS.fullmatch(chain) else _jumps(rules) for chain, rules in chains.items()}
                 for table, chains in _saved(family).items()}
        for family in families()
    }
    for family, tables in found.items():
        here = sum(len(chains[chain]) for chains in tables.values() for chain in filter(_OURS.fullmatch, chains))
        if here != len(_RULE.findall(render(ruleset, family))):
            raise FirewallError("another program changes the rules at the same time")
    return found


def differences(wanted: Standing) -> list[str]:
    """How what the kernel holds differs from that, a line of words each."""
    return [
        f"IPv{family} {table}: {difference}"
        for family, want in wanted.items()
        for have in [_saved(family)]
        for table in want | have
        for difference in _differences(have.get(table, {}), want.get(table, {}))
    ]


def rehearse(text: str, family: Family) -> Tables:
    """What iptables-save says of a rule text once it is loaded: read from an empty network namespace made for it.

    Words differ between versions and back ends (``--syn``, ``-j REJECT``), so what is installed can be compared with
    nothing but the same tools' own words. Needs CAP_SYS_ADMIN.
    """
    if lacking := absent():
        raise FirewallError(f"{lacking[0]} is not on PATH")
    name = _PROGRAM[family]
    script = f"{name}-restore --noflush -w {_LOCK_WAIT} && {name}-save"
    return parse(_run(["unshare", "--net", "sh", "-c", script], text))


def parse(saved: str) -> Tables:
    """The output of iptables-save, without counters."""
    tables: Tables = {}
    chains: dict[str, list[str]] = {}
    for line in saved.splitlines():
        if line.startswith("*"):
            chains = tables.setdefault(line[1:], {})
        elif line.startswith(":"):
            chains.setdefault(line[1:].split()[0], [])
        elif line.startswith("-A "):
            _, chain, rule = line.split(" ", 2)
            chains.setdefault(chain, []).append(rule)
    return tables


def others() -> Iterator[tuple[str, str]]:
    """(where it stands, rule) of every rule that is not ours, of both back ends of iptables and of nftables itself."""
    for program in ("iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy"):
        if shutil.which(f"{program}-save"):
            for table, chains in parse(_run([f"{program}-save"])).items():
                for chain, rules in chains.items():
                    if not _OURS.fullmatch(chain):
                        yield from ((f"{program} {table} {chain}", rule) for rule in rules if not _JUMP.search(rule))
    heading = ""
    for line in nftables():
        if line.startswith("table "):
            heading = line.removesuffix(" {")
        elif not _IPTABLES_NFT.fullmatch(heading):
            yield f"nft {heading}", line.strip()


def nftables(*options: str) -> list[str]:
    """The lines of ``nft list ruleset``, iptables-nft's tables among them; none where there is no nft."""
    return _run(["nft", *options, "list", "ruleset"]).splitlines() if shutil.which("nft") else []


# --- what is there, and what is to be done about it ---

def _jumps(rules: list[str]) -> list[str]:
    return [rule for rule in rules if _JUMP.search(rule)]


def _retired(chains: dict[str, list[str]]) -> Iterator[str]:
    """The commands that empty our chains of a table and unhook them."""
    for chain, rules in chains.items():
        if not _OURS.fullmatch(chain):
            yield from (f"-D {chain} {rule}" for rule in _jumps(rules))
    yield from (f"-F {chain}" for chain in filter(_OURS.fullmatch, chains))


def _merge(text: str, older: Tables) -> str:
    """The rendered text with the older rules' removal at the head of each table's transaction."""
    new = parse(text)
    for table, chains in older.items():
        stale = [f"-X {chain}" for chain in chains if _OURS.fullmatch(chain) and chain not in new.get(table, {})]
        text = text.replace(f"*{table}\n", "\n".join([f"*{table}", *_retired(chains), *stale, ""]))
    return text


def _differences(have: dict[str, list[str]], want: dict[str, list[str]]) -> Iterator[str]:
    for chain in want | have:
        here, wanted = have.get(chain, []), want.get(chain, [])
        if _OURS.fullmatch(chain):
            if (chain in have) != (chain in want):
                yield f"chain {chain} is " + ("missing" if chain in want else "not of this configuration")
                continue
            foremost = here
        else:
            foremost, here = here[: len(wanted)], _jumps(here)
        missing, added = Counter(wanted) - Counter(here), Counter(here) - Counter(wanted)
        yield from (f"{chain} lacks: {rule}" for rule in missing.elements())
        yield from (f"{chain} has in addition: {rule}" for rule in added.elements())
        if not missing and not added and foremost != wanted:
            yield f"{chain} has its rules in another order, or other rules before ours"


# --- iptables ---

_PROGRAM: dict[Family, str] = {4: "iptables", 6: "ip6tables"}


def _saved(family: Family) -> Tables:
    """Table by table: the legacy back end's list of all is root's alone to read."""
    return parse("".join(_run([f"{_PROGRAM[family]}-save", "-t", table]) for table in _TABLES))


def _restore(family: Family, text: str) -> None:
    _run([f"{_PROGRAM[family]}-restore", "--noflush", "-w", str(_LOCK_WAIT)], text)


def _run(command: list[str], text: str = "") -> str:
    # A Ctrl-C at the terminal is for us to obey, and must not leave half of the tables done: the program has a session
    # of its own, and no signal in the moment before it has that.
    ours = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=True, timeout=3 * _LOCK_WAIT,
                              start_new_session=True)
    except subprocess.CalledProcessError as error:
        raise FirewallError(f"{command[0]}: {error.stderr.strip() or f'exit code {error.returncode}'}") from error
    except FileNotFoundError as error:
        raise FirewallError(f"{command[0]} is not on PATH") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FirewallError(str(error)) from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, ours)
    return done.stdout
