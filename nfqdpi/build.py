"""What this program is."""

from __future__ import annotations

from importlib.util import find_spec

from nfqdpi import __version__


def compiled() -> bool:
    """True where packets meet machine code (packaging/compiled.py), which costs them half of what Python does."""
    spec = find_spec("nfqdpi.core.engine")
    return spec is not None and not (spec.origin or "").endswith(".py")


def version() -> str:
    """Its version, and what it is beside."""
    return __version__ + " (compiled)" * compiled()
