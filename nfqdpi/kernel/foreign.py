"""Which bits of a mark a rule of somebody else reads or changes: two programs cannot use the same ones."""

from __future__ import annotations

import re
from typing import NamedTuple

_ALL = 0xFFFFFFFF

# iptables-save(8) writes every change of a mark as --set-xmark or with --nfmask and --ctmask.
_MARK = re.compile(r"--(set-xmark|set-mark|tproxy-mark|mark) (\w+)(?:/(\w+))?")
_MASKS = re.compile(r"--(?:nf|ct)mask (\w+)")

# nft(8) writes operators as signs or as words, depending on its version.
_NFT_MARK = re.compile(r"\b(meta|ct) mark (set )?(.*)")
_NFT_MASKED = re.compile(r"(?:&|and) (0x[0-9a-f]+)")
_NFT_CHANGES = {
    mark: re.compile(rf"\(?{name} (?:(?:&|and) (0x[0-9a-f]+)\)?)?(?: ?(?:[|^]|or|xor) (0x[0-9a-f]+))?")
    for mark, name in (("meta", "(?:meta )?mark"), ("ct", "ct mark"))
}

_QUEUE = re.compile(r"-j NFQUEUE --queue-(?:num|balance) (\d+)(?::(\d+))?")
_NFT_QUEUE = re.compile(r"\bqueue(?: flags \S+)?(?: (?:num|to) (\d+)(?:-(\d+))?)?(?: \S*)?$")


class Use(NamedTuple):
    """The bits that a rule compares and those that it changes."""

    reads: int
    writes: int


def iptables_use(rule: str) -> Use:
    """Of a rule as iptables-save prints it."""
    reads = writes = 0
    for option, value, mask in _MARK.findall(rule):
        bits = int(mask, 0) if mask else _ALL
        if option == "mark":
            reads |= bits
        else:
            writes |= bits | int(value, 0)
    for mask in _MASKS.findall(rule):
        writes |= int(mask, 0)
    return Use(reads, writes)


def nft_use(line: str) -> Use:
    """Of a line as ``nft list ruleset`` prints it; what is not understood counts as all bits."""
    if (found := _NFT_MARK.search(line)) is None:
        return Use(0, 0)
    mark, changes, expression = found.groups()
    if not changes:
        masked = _NFT_MASKED.match(expression)
        return Use(int(masked[1], 16) if masked else _ALL, 0)
    kept, added = changed.groups() if (changed := _NFT_CHANGES[mark].match(expression)) else (None, None)
    if kept is None and added is None:
        return Use(0, _ALL)
    return Use(0, ~int(kept or hex(_ALL), 16) & _ALL | int(added or "0", 16))


def queues(rule: str) -> range:
    """The queues that a rule leads to, as iptables-save or ``nft list ruleset`` prints it; nft's without a number is
    queue 0."""
    found = _QUEUE.search(rule) or _NFT_QUEUE.search(rule)
    if found is None:
        return range(0)
    first = int(found[1] or 0)
    return range(first, int(found[2] or first) + 1)
