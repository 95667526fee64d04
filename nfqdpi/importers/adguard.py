"""AdGuard Home: filters, rules of the user, blocked services, and clients with settings of their own.

What it does (its filtering.go, and urlfilter below it): a name on a filter of ``whitelist_filters`` passes; then of
rules and filters the ``$important`` ones decide first, and at each of the two levels exceptions before blocks; then the
blocked services, but in the hours in which they are paused. A client's entry by address goes before one by network, the
smaller network before the larger, and both before one by MAC address.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import yaml

from nfqdpi.config.model import Group, Rule
from nfqdpi.importers.clients import Identity, blocks
from nfqdpi.importers.draft import Draft, InexpressibleError, SourceError, list_from
from nfqdpi.importers.pauses import Pauses
from nfqdpi.importers.userrules import Strength, user_rules

Node = dict[str, Any]

_LARGEST = 16 << 20  # bytes; AdGuardHome.yaml holds settings, no filters
# What it refuses to resolve as it comes.
_BLOCKED_HOSTS = {"version.bind", "id.server", "hostname.bind"}


class _Settings(NamedTuple):
    """What counts for a client: whether it is filtered, which services are blocked, in which schedule ("": always)."""

    filtering: bool
    services: tuple[str, ...] = ()
    schedule: str = ""


def convert(path: Path, services: Mapping[str, str]) -> Draft:
    """The configuration that judges as AdGuard Home does; ``services``: of blocked services, where a list of their
    names comes from. Raises SourceError, OSError."""
    with path.open("rb") as file:
        text = file.read(_LARGEST + 1)
    if len(text) > _LARGEST:
        raise SourceError(f"larger than {_LARGEST >> 20} MiB")
    try:
        source = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise SourceError(f"not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(source, dict) or not source.keys() & {"filters", "user_rules", "filtering", "dns"}:
        raise SourceError("not AdGuardHome.yaml: no filters, no user_rules")
    try:
        return _Conversion(source, services).draft
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SourceError(f"not as AdGuard Home writes it: {error!r}") from error


class _Conversion:
    """One file on its way to a ``draft``."""

    def __init__(self, source: Node, services: Mapping[str, str]) -> None:
        self.draft = Draft()
        self._services = services
        self._pauses = Pauses(self.draft)
        # Before schema 28 these settings stood under dns.
        self._filtering: Node = {**source.get("dns", {}), **source.get("filtering", {})}
        self._blocking = self._lists(source.get("filters"), "filters", "adguard-block")
        self._allowing = self._lists(source.get("whitelist_filters"), "whitelist_filters", "adguard-allow")
        self._rules = user_rules(source.get("user_rules") or [], self.draft)
        self._name_what_is_no_name_filter(self._filtering, "filtering")
        everybody = _Settings(bool(self._filtering.get("filtering_enabled", True)),
                              *self._blocked(self._filtering.get("blocked_services"), "filtering.blocked_services"))
        clients = source.get("clients") or []  # a list until schema 13
        persistent = (clients.get("persistent") or []) if isinstance(clients, dict) else clients
        for block in blocks(list(self._clients(persistent, everybody)), everybody):
            names = dict.fromkeys(self.draft.comments[one] for one in (*block.members, *block.interfaces))
            title = self.draft.free_name(", ".join(names) if len(names) <= 3 else f"{len(names)} clients")
            self.draft.groups.append(Group(name=title, clients=block.members, interfaces=block.interfaces))
            self._add_rules(block.settings, title, (title,))
            self.draft.rules.append(Rule(name=self.draft.free_name(f"{title}: all else"), action="accelerate",
                                         groups=(title,)))
        self._add_rules(everybody, "everybody", ())
        self.draft.drop_unused_lists()

    def _add_rules(self, settings: _Settings, title: str, groups: tuple[str, ...]) -> None:
        if settings.filtering:
            self._add(Rule("accelerate", f"{title}: on allow lists", lists=self._allowing, groups=groups))
            for strength, domains in self._rules.items():
                self._add(Rule(strength.action, f"{title}: {strength}", domains=tuple(domains), groups=groups,
                               lists=self._blocking if strength is Strength.BLOCK else ()))
        self._add(Rule("block", f"{title}: services", lists=settings.services, groups=groups,
                       schedule=settings.schedule))

    def _add(self, rule: Rule) -> None:
        if rule.domains or rule.lists:
            self.draft.rules.append(msgspec.structs.replace(rule, name=self.draft.free_name(rule.name)))

    def _lists(self, filters: list[Node] | None, key: str, name: str) -> tuple[str, ...]:
        names = []
        for n, one in enumerate(filters or []):
            place, url = f"{key}[{n}]", str(one["url"])
            if not one.get("enabled", True):
                self.draft.note(place, url, "disabled: left out")
                continue
            hours = int(self._filtering.get("filters_update_interval") or 24)
            try:
                self.draft.lists.append(list_from(f"{name}-{n + 1}", url, refresh_hours=hours))
            except InexpressibleError as error:
                self.draft.lost(place, url, error)
                continue
            self.draft.comments[f"{name}-{n + 1}"] = str(one.get("name") or "")
            names.append(f"{name}-{n + 1}")
        if names:
            self.draft.note(key, ", ".join(names), "an exception (@@) in a list holds for that list only, $important "
                                                   "in one for nothing; in AdGuard Home they hold for all")
        return tuple(names)

    def _blocked(self, blocked: Node | list[str] | None, place: str) -> tuple[tuple[str, ...], str]:
        """The lists of the blocked services, and their schedule."""
        ids = (blocked.get("ids") or []) if isinstance(blocked, dict) else blocked or []  # a list until schema 21
        lists = []
        for service in map(str, ids):
            if service not in self._services:
                self.draft.lost(place, service, "its names are AdGuard Home's own; --service NAME=SOURCE gives a list")
                continue
            name = f"service-{service}"
            if all(one.name != name for one in self.draft.lists):
                self.draft.lists.append(list_from(name, self._services[service]))
            lists.append(name)
        schedule = (blocked.get("schedule") or {}) if isinstance(blocked, dict) else {}
        times = self._pauses.blocked_times(schedule, f"{place}.schedule") if lists else ""
        return ((), "") if times is None else (tuple(lists), times)

    def _clients(self, clients: list[Node], everybody: _Settings) -> Iterator[tuple[Identity, _Settings]]:
        for n, client in enumerate(clients):
            place, settings = f"clients.persistent[{n}]", everybody
            if not client.get("use_global_settings", True):
                settings = settings._replace(filtering=bool(client.get("filtering_enabled", False)))
                self._name_what_is_no_name_filter(client, place)
            if not client.get("use_global_blocked_services", True):
                services, schedule = self._blocked(client.get("blocked_services"), f"{place}.blocked_services")
                settings = settings._replace(services=services, schedule=schedule)
            for id_ in map(str, client.get("ids") or []):
                try:
                    identity = Identity.parse(id_)
                except InexpressibleError as error:
                    self.draft.lost(f"{place}.ids", id_, error)
                    continue
                if identity.is_name:
                    self.draft.lost(f"{place}.ids", id_, "a ClientID: only encrypted DNS tells it")
                    continue
                self.draft.comments[identity.member] = str(client.get("name") or "")
                yield identity, settings

    def _name_what_is_no_name_filter(self, settings: Node, place: str) -> None:
        safe_search = settings.get("safe_search") or {}
        for key, on in (("safe_search", safe_search.get("enabled") or settings.get("safesearch_enabled")),
                        ("parental_enabled", settings.get("parental_enabled")),
                        ("safebrowsing_enabled", settings.get("safebrowsing_enabled"))):
            if on:
                self.draft.lost(f"{place}.{key}", "true", "it needs AdGuard's servers, or other answers of DNS")
        if settings.get("protection_enabled") is False:
            self.draft.lost(f"{place}.protection_enabled", "false", "the rules are as if it were on; `pause` is ours")
        for n, rewrite in enumerate(settings.get("rewrites") or []):
            self.draft.lost(f"{place}.rewrites[{n}]", f"{rewrite.get('domain')} -> {rewrite.get('answer')}",
                            "another answer of DNS")
        for key in ("allowed_clients", "disallowed_clients"):
            for client in settings.get(key) or []:
                self.draft.lost(f"dns.{key}", client, "it says who may ask for names")
        for host in settings.get("blocked_hosts") or []:
            if host not in _BLOCKED_HOSTS:
                self.draft.lost("dns.blocked_hosts", host, "it says what is not answered at all")
