"""The files of plugins that are loaded, so that another version of one can be taken while the daemon runs.

What is loaded stays until a reload, whatever happens to the files: a worker is forked with what the supervisor has, and
a package that is half installed is not looked at.
"""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType

from nfqdpi import plugins

_OURS = "nfqdpi."  # what comes with us is changed by a restart


class PluginFiles:
    """What the plugins' packages were when they were loaded."""

    def __init__(self) -> None:
        self._known = self._before = _packages()
        self._points = dict(plugins.known)
        self._replaced: dict[str, ModuleType] = {}

    def refresh(self) -> bool:
        """Forget the plugins whose files have changed, and who is installed: the next ``plugins.readers`` loads them
        anew. What is already in use stays as it is. True where anything has changed."""
        importlib.invalidate_caches()
        self._points = dict(plugins.known)
        plugins.known.clear()
        self._before, self._known = self._known, _packages()
        self._replaced = {}
        for package, files in self._before.items():
            if self._known.get(package) != files:
                for name in [name for name in sys.modules if name == package or name.startswith(f"{package}.")]:
                    self._replaced[name] = sys.modules.pop(name)
        return self._known != self._before

    def take_back(self) -> None:
        """Let the plugins be those from before the last ``refresh``."""
        sys.modules.update(self._replaced)
        plugins.known.update(self._points)
        self._known = self._before


def _packages() -> dict[str, dict[str, int]]:
    """When each loaded file of each plugin's package was changed, in nanoseconds; 0: it is gone."""
    found: dict[str, dict[str, int]] = {}
    for package in {module for module in plugins.modules().values() if not module.startswith(_OURS)}:
        parts = [part for name, part in list(sys.modules.items()) if name == package or name.startswith(f"{package}.")]
        found[package] = {file: _changed(file) for part in parts if (file := getattr(part, "__file__", None))}
    return found


def _changed(file: str) -> int:
    try:
        return os.stat(file).st_mtime_ns
    except OSError:
        return 0
