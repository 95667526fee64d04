"""What no single key of a configuration can tell: what its parts say of each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from nfqdpi.config.model import Config, Rule
from nfqdpi.config.structs import INVALID, Problems, is_struct, near, struct
from nfqdpi.config.values import check_url
from nfqdpi.core.verdict import MarkField
from nfqdpi.policy.overrides import by_hand

T = TypeVar("T")

_LEAST_MEMORY = 64 << 20  # bytes; a worker that has 25 MB for itself from the start would be replaced for ever


def check(config: Config, problems: Problems) -> None:
    try:
        MarkField(config.marks.mask)
    except ValueError as error:
        problems.add(("marks", "mask"), str(error))
    if config.queue.first + config.worker_count > 1 << 16:
        problems.add(("queue", "first"), "queue numbers end at 65535")
    if 0 < config.service.worker_memory < _LEAST_MEMORY:
        problems.add(("service", "worker_memory"), f"at least {_LEAST_MEMORY} bytes, or 0")
    known = {kind: _names(kind, getattr(config, kind), problems) for kind in ("list", "group", "schedule")}
    _lists(config, problems)
    _rules(config, known, problems)
    if config.plugin:
        _plugins(config.plugin, problems)


def _lists(config: Config, problems: Problems) -> None:
    for number, source in _valid(config.list):
        if bool(source.path) == bool(source.url):
            problems.add(("list", number), "either path or url says where the names come from")
        try:
            check_url(source.url or "http://x")
        except ValueError as error:
            problems.add(("list", number, "url"), str(error))


def _rules(config: Config, known: dict[str, set[str]], problems: Problems) -> None:
    """What rules say of lists, groups and schedules, of which these names are known."""
    for number, rule in _valid(config.rule):
        scheduled = (rule.schedule,) if rule.schedule else ()
        for key, kind, called in (("lists", "list", rule.lists), ("groups", "group", rule.groups),
                                  ("schedule", "schedule", scheduled)):
            for name in called:
                if name not in known[kind]:
                    problems.add(("rule", number, key), f"no {kind} is named {name!r}")
        if (rule.action == "redirect") is not bool(rule.redirect):
            problems.add(("rule", number, "redirect"), 'the action "redirect" and its addresses need each other')
        if by_hand(rule.name):
            problems.add(("rule", number, "name"), "changes by hand are named so")
    _names("rule", config.rule, problems)


def _plugins(sections: dict[str, dict[str, Any]], problems: Problems) -> None:
    """What the plugins say of their sections. One that cannot be used may be disabled."""
    from nfqdpi import plugins

    points = {point.name: point for point in plugins.points()}
    for name, section in sections.items():
        path = ("plugin", name)
        if name not in points:
            problems.add(path, "no such plugin" + near(name, points))
            continue
        own = {key: value for key, value in section.items() if key not in plugins.COMMON}
        common = {key: value for key, value in section.items() if key in plugins.COMMON}
        struct(plugins.Common, common, path, problems)
        try:
            one = plugins.load(points[name])
        except plugins.PluginError as error:
            if section.get("enabled") is not False:
                problems.add(path, str(error))
            continue
        before = len(problems.lines)
        if is_struct(one.plugin.settings):
            struct(one.plugin.settings, own, path, problems)
        if len(problems.lines) == before:
            try:
                plugins.make(one, section)
            except plugins.PluginError as error:
                if section.get("enabled") is not False:
                    problems.add(path, str(error))


def _names(kind: str, tables: tuple[Any, ...], problems: Problems) -> set[str]:
    """What the tables are called; no two the same."""
    names: set[str] = set()
    for number, one in _valid(tables):
        name = one.called(number + 1) if isinstance(one, Rule) else one.name
        if name in names:
            problems.add((kind, number, "name"), f"another {kind} is named {name!r}")
        names.add(name)
    return names


def _valid(tables: tuple[T, ...]) -> Iterator[tuple[int, T]]:
    """Each with its number, but for those that have a problem of their own."""
    return ((number, one) for number, one in enumerate(tables) if one is not INVALID)
