"""Kernel modules: loaded, built in, or on the disk to be loaded."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path


class Presence(StrEnum):
    """Where a module is."""

    LOADED = "loaded"  # or built in, and with a parameter or a version
    BUILT_IN = "built in"
    ON_DISK = "on disk"
    UNSEEN = "not seen"  # built into a kernel that came without its lists, or not there


def presence(name: str, root: Path = Path("/")) -> Presence:
    """Of a module, in the file system that begins at ``root``."""
    if (root / "sys/module" / name).is_dir():
        return Presence.LOADED
    folder = root / "lib/modules" / os.uname().release
    if name in _listed(folder / "modules.builtin"):
        return Presence.BUILT_IN
    return Presence.ON_DISK if name in _listed(folder / "modules.dep") else Presence.UNSEEN


def closed(root: Path = Path("/")) -> bool:
    """True where the kernel takes no more modules before the next boot (kernel.modules_disabled)."""
    try:
        return (root / "proc/sys/kernel/modules_disabled").read_text().strip() == "1"
    except FileNotFoundError:
        return True  # a kernel without modules


def _listed(path: Path) -> set[str]:
    """The names in modules.builtin or modules.dep (modules.dep(5)): one path of a file a line."""
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return set()
    return {Path(line.partition(":")[0]).name.partition(".")[0].replace("-", "_") for line in lines}
