"""Plugins: classifiers, one a file. Built-in ones come in by the same door as anybody's: an entry point."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any, NamedTuple

import msgspec

from nfqdpi.core.classifier import INTERFACE, Adviser, Classifier, DatagramClassifier, Plugin

GROUP = "nfqdpi.classifiers"
_OURS = "nfqdpi."

Reader = Classifier | DatagramClassifier | Adviser
Section = Mapping[str, Any]  # [plugin.NAME] of the configuration, as TOML has it


class PluginError(Exception):
    """A plugin cannot be used; the message names it and says why."""


class Common(msgspec.Struct, frozen=True):
    """What every plugin's section may have: whether it is enabled, and, for those that read certain ports, which."""

    enabled: bool | None = None
    ports: tuple[Annotated[int, msgspec.Meta(ge=1, le=65535)], ...] | None = None


COMMON = frozenset(Common.__struct_fields__)


class NoSettings(msgspec.Struct, frozen=True):
    """Of a plugin that has none."""


class Installed(NamedTuple):
    """A plugin and where it comes from."""

    name: str
    source: str  # MODULE:ATTRIBUTE
    plugin: Plugin


# By the path that was looked along; whoever empties it has the disk asked again. A fork knows what its parent does.
known: dict[tuple[str, ...], list[EntryPoint]] = {}


def points() -> list[EntryPoint]:
    """The entry points of the group, in the order of their names, as they were when this was first asked."""
    path = tuple(sys.path)
    if path not in known:
        known[path] = sorted(entry_points(group=GROUP), key=lambda point: point.name)
    return known[path]


def load(point: EntryPoint) -> Installed:
    """The plugin behind an entry point. Raises PluginError."""
    called = f"plugin {point.name!r} ({point.value})"
    try:
        found = point.load()
    except Exception as error:
        raise PluginError(f"{called} does not load: {error}") from error
    if isinstance(found, Reader):
        found = Plugin(partial(_alone, found), NoSettings)
    if not isinstance(found, Plugin):
        raise PluginError(f"{called} is no Plugin, Classifier, DatagramClassifier or Adviser")
    if found.interface != INTERFACE:
        raise PluginError(f"{called} is made for interface {found.interface}, and this is {INTERFACE}")
    return Installed(point.name, point.value, found)


def _alone(reader: Reader, _: NoSettings) -> tuple[Reader, ...]:
    return (reader,)


def readers(sections: Mapping[str, Section]) -> dict[str, list[Reader]]:
    """What each plugin offers that is enabled, made with its settings, by the plugins' names. Raises PluginError."""
    made = {}
    for point in points():
        section = sections.get(point.name, {})
        if section.get("enabled") is not False:
            one = load(point)
            if section.get("enabled", one.plugin.enabled):
                made[one.name] = make(one, section)
    return made


def modules() -> dict[str, str]:
    """The module (for a package of its own: the package) that each plugin is, by the plugins' names."""
    named = {point.name: point.value.partition(":")[0] for point in points()}
    return {name: module if module.startswith(_OURS) else module.partition(".")[0] for name, module in named.items()}


def make(one: Installed, section: Section) -> list[Reader]:
    """What a plugin offers with these settings. Raises PluginError."""
    ports = tuple(section["ports"]) if "ports" in section else None
    own = {key: value for key, value in section.items() if key not in COMMON}
    try:
        offered = one.plugin.make(msgspec.convert(own, one.plugin.settings))
    except Exception as error:
        raise PluginError(f"plugin {one.name!r} ({one.source}) cannot be made: {error}") from error
    return [replace(one, ports=ports) if ports is not None and not isinstance(one, Adviser) and one.ports else one
            for one in offered]
