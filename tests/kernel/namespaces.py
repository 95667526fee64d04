"""Namespaces and back ends for tests of single kernel parts; whole gateways are the lab's."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from nfqdpi.kernel.ruleset import Family
from nfqdpi.lab.namespace import Namespace

BACK_ENDS = ("nft", "legacy")
PROGRAM: dict[Family, str] = {4: "iptables", 6: "ip6tables"}

_numbers = count()


@contextmanager
def fresh() -> Iterator[Namespace]:
    """A namespace with nothing but its loopback interface, which this thread is in."""
    namespace = Namespace(f"nfqdpi-test{os.getpid()}-{next(_numbers)}")
    namespace.add()
    try:
        namespace.configure("link set lo up")
        with namespace.entered():
            yield namespace
    finally:
        namespace.remove()


def back_end_path(directory: Path, back_end: str) -> str:
    """A PATH on which ``iptables`` and ``ip6tables`` are of this back end."""
    for program in PROGRAM.values():
        for suffix in ("", "-save", "-restore"):
            real = shutil.which(f"{program}-{back_end}{suffix}")
            assert real, f"{program}-{back_end}{suffix} is not installed"
            (directory / f"{program}{suffix}").symlink_to(real)
    return f"{directory}:{os.environ['PATH']}"


def saved(namespace: Namespace, family: Family, *options: str) -> list[str]:
    """What iptables-save prints, without comments (they hold the time) and without counters of chains."""
    lines = namespace.run([f"{PROGRAM[family]}-save", *options]).stdout.splitlines()
    return [re.sub(r"^(:.*) \[\d+:\d+\]$", r"\1", line) for line in lines if not line.startswith("#")]


def rules(namespace: Namespace, family: Family) -> list[str]:
    """The rules and the chains that somebody made; built-in tables may stay when their last rule goes."""
    return [line for line in saved(namespace, family) if line.startswith("-") or re.fullmatch(r":\S+ -", line)]


def hits(namespace: Namespace, family: Family, chain: str, part: str) -> int:
    """Packets that met the rules of a chain whose text holds ``part``."""
    found = [line for line in saved(namespace, family, "-c") if f" -A {chain} " in line and part in line]
    assert found, f"no rule of {chain} holds {part!r}"
    return sum(int(line[1:].split(":", 1)[0]) for line in found)
