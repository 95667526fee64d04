"""Settings below /proc/sys/net, of the network namespace of the caller."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

_ROOT = Path("/proc/sys/net")


class Change(NamedTuple):
    """A setting, by its path below /proc/sys/net, and what it is to become."""

    key: str
    value: str

    @property
    def command(self) -> str:
        """Slashes, not dots: an interface's name may hold dots (sysctl(8))."""
        return f"sysctl -w net/{self.key}={self.value}"

    @property
    def line(self) -> str:
        """For a file in /etc/sysctl.d."""
        return f"net/{self.key} = {self.value}"

    def make(self) -> None:
        """Raises OSError."""
        (_ROOT / self.key).write_text(self.value)


def read(key: str) -> str | None:
    """A setting's value; None where the kernel has no such setting."""
    try:
        return (_ROOT / key).read_text().strip()
    except FileNotFoundError:
        return None


def interfaces() -> list[str]:
    """The names that have settings of IPv4 of their own, ``default`` (those to come) among them, ``all`` not."""
    return sorted({path.name for path in (_ROOT / "ipv4/conf").iterdir()} - {"all"})
