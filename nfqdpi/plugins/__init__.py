"""Plugins: classifiers and observers, one a file. Built-in ones come in by anybody's door, an entry point."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any, NamedTuple

import msgspec

from nfqdpi.core.observer import Observer
from nfqdpi.core.plugin import INTERFACE, Adviser, Plugin, Reader
from nfqdpi.plugins.checked import checked, why_not

GROUP = "nfqdpi.classifiers"
_OURS = "nfqdpi."

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
    if namesakes := [other.value for other in points() if other.name == point.name and other.value != point.value]:
        raise PluginError(f"{called} is named as {', '.join(namesakes)} is; uninstall one")
    try:
        found = point.load()
    except (Exception, SystemExit) as error:
        raise PluginError(f"{called} does not load: {error}") from error
    if isinstance(found, Reader | Observer):
        found = Plugin(partial(_alone, found), NoSettings)
    if not isinstance(found, Plugin):
        raise PluginError(f"{called} is no Plugin, Classifier, DatagramClassifier, Adviser or Observer")
    if found.interface != INTERFACE:
        raise PluginError(f"{called} is made for interface {found.interface}, and this is {INTERFACE}")
    return Installed(point.name, point.value, found)


def _alone(offered: Reader | Observer, _: NoSettings) -> tuple[Reader | Observer, ...]:
    return (offered,)


def readers(sections: Mapping[str, Section]) -> dict[str, list[Reader]]:
    """What each plugin offers to workers that is enabled, made with its settings, by the plugins' names. Raises
    PluginError."""
    found = {one.name: offered for one, section in _enabled(sections) if (offered := make(one, section))}
    slow = [one.name for offered in found.values() for one in offered if isinstance(one, Adviser) and one.slow]
    if twice := sorted({name for name in slow if slow.count(name) > 1}):
        raise PluginError(f"two slow advisers are named {twice[0]!r}, and their answers would be one another's")
    return found


def observers(sections: Mapping[str, Section]) -> dict[str, list[Observer]]:
    """And what each offers to the observers' process."""
    offered = {one.name: found for one, section in _enabled(sections) if (found := make_observers(one, section))}
    names = Counter(one.name for found in offered.values() for one in found)
    if twice := [name for name, count in names.items() if count > 1]:
        raise PluginError(f"two observers are named {twice[0]!r}")
    return offered


def _enabled(sections: Mapping[str, Section]) -> Iterator[tuple[Installed, Section]]:
    for point in points():
        section = sections.get(point.name, {})
        if section.get("enabled") is not False:
            one = load(point)
            if section.get("enabled", one.plugin.enabled):
                yield one, section


def modules() -> dict[str, str]:
    """The module (for a package of its own: the package) that each plugin is, by the plugins' names."""
    named = {point.name: point.value.partition(":")[0] for point in points()}
    return {name: module if module.startswith(_OURS) else module.partition(".")[0] for name, module in named.items()}


def make(one: Installed, section: Section) -> list[Reader]:
    """What a plugin offers to workers with these settings. Raises PluginError."""
    ports = tuple(section["ports"]) if "ports" in section else None
    readers = [offer for offer in _made(one, section) if isinstance(offer, Reader)]
    if not one.source.startswith(_OURS):
        readers = [checked(one.name, reader) for reader in readers]
    return [replace(reader, ports=ports)
            if ports is not None and not isinstance(reader, Adviser) and reader.ports else reader
            for reader in readers]


def make_observers(one: Installed, section: Section) -> list[Observer]:
    """The observers that it offers. Raises PluginError."""
    return [offer for offer in _made(one, section) if isinstance(offer, Observer)]


def _made(one: Installed, section: Section) -> tuple[Reader | Observer, ...]:
    own = {key: value for key, value in section.items() if key not in COMMON}
    try:
        made = tuple(one.plugin.make(msgspec.convert(own, one.plugin.settings)))
    except (Exception, SystemExit) as error:
        raise PluginError(f"plugin {one.name!r} ({one.source}) cannot be made: {error}") from error
    if why := next(filter(None, map(why_not, made)), ""):
        raise PluginError(f"plugin {one.name!r} ({one.source}) cannot be used: {why}")
    return made
