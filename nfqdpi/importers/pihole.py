"""Pi-hole: lists, domains and clients with their groups.

What FTL does (its dnsmasq_interface.c and gravity-db.c): of the entries for a client the most exact alone counts, and
gives it its groups; a client without an entry is in group 0. What belongs to none of a client's groups is not there for
it. Then: allowed names pass; denied names are blocked; names on allow lists pass; names on lists, and those that a
denied expression matches, are blocked; all others pass.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Literal, NamedTuple

from nfqdpi.config.model import Group, Rule
from nfqdpi.config.values import Domain
from nfqdpi.importers import regex, teleporter
from nfqdpi.importers.clients import Identity, blocks
from nfqdpi.importers.draft import Draft, InexpressibleError, SourceError, list_from
from nfqdpi.importers.teleporter import Row, Tables
from nfqdpi.policy.names import Kind, Pattern

_DEFAULT_GROUP = 0
_ALLOW_LIST = 1  # adlist.type, since Pi-hole 6

GroupIds = frozenset[int]


class _Stage(Enum):
    """In the order in which Pi-hole looks."""

    ALLOWED = "allowed"
    DENIED = "denied"
    ON_ALLOW_LISTS = "on allow lists"
    LISTED = "listed"

    @property
    def action(self) -> Literal["accelerate", "block"]:
        return "accelerate" if self in (_Stage.ALLOWED, _Stage.ON_ALLOW_LISTS) else "block"


# domainlist.type: allowed and denied names, allowed and denied expressions.
_STAGES = (_Stage.ALLOWED, _Stage.DENIED, _Stage.ALLOWED, _Stage.LISTED)
_FIRST_EXPRESSION = 2


class _Names(NamedTuple):
    """What one entry names, by domains or by a list, and the groups that it is in."""

    place: str
    text: str
    stage: _Stage
    groups: GroupIds
    domains: tuple[Domain, ...] = ()
    lists: tuple[str, ...] = ()


def convert(path: Path) -> Draft:
    """The configuration that judges as the Pi-hole does. Raises SourceError, OSError."""
    tables, others = teleporter.read(path)
    draft = Draft()
    try:
        _convert(tables, draft)
    except (KeyError, TypeError, ValueError) as error:
        raise SourceError(f"its tables are not Pi-hole's: {error!r}") from error
    for name in others:
        draft.note(name, "", "settings of Pi-hole itself, no policy")
    return draft


def _convert(tables: Tables, draft: Draft) -> None:
    group_names = {int(row["id"]): str(row["name"]) for row in tables["group"] if _enabled(row, "group", "name", draft)}
    enabled = frozenset(group_names)
    everybody = frozenset({_DEFAULT_GROUP}) & enabled
    groups = blocks(_clients(tables, enabled, draft), everybody)
    names = list(_used([*_domains(tables, draft), *_lists(tables, draft)],
                       everybody.union(*(block.settings for block in groups)), draft))
    for block in groups:
        name = draft.free_name(" + ".join(group_names[id_] for id_ in sorted(block.settings)) or "in no group")
        draft.groups.append(Group(name=name, clients=block.members, interfaces=block.interfaces))
        _add_rules(draft, names, block.settings, name, (name,))
        draft.rules.append(Rule(name=draft.free_name(f"{name}: all else"), action="accelerate", groups=(name,)))
    _add_rules(draft, names, everybody, "everybody", ())
    draft.drop_unused_lists()


def _used(names: list[_Names], groups: GroupIds, draft: Draft) -> Iterator[_Names]:
    for one in names:
        if one.groups & groups:
            yield one
        else:
            draft.note(one.place, one.text, "no client is in its groups: left out")


def _add_rules(draft: Draft, names: list[_Names], groups: GroupIds, title: str, for_groups: tuple[str, ...]) -> None:
    for stage in _Stage:
        mine = [one for one in names if one.stage is stage and one.groups & groups]
        domains = dict.fromkeys(domain for one in mine for domain in one.domains)
        lists = tuple(name for one in mine for name in one.lists)
        if domains or lists:
            draft.rules.append(Rule(name=draft.free_name(f"{title}: {stage.value}"), action=stage.action,
                                    domains=tuple(domains), lists=lists, groups=for_groups))


def _clients(tables: Tables, enabled: GroupIds, draft: Draft) -> Iterator[tuple[Identity, GroupIds]]:
    groups = _links(tables["client_by_group"], "client_id")
    for row in sorted(tables["client"], key=lambda row: int(row["id"])):
        place = f"client id {row['id']}"
        try:
            identity = Identity.parse(str(row["ip"]).strip())
        except InexpressibleError as error:
            draft.lost(place, row["ip"], error)
            continue
        if identity.is_name:
            draft.note(place, row["ip"], "a name: [clients] must say whose, by a file of names or by dnsmasq's leases")
        draft.comments[identity.member or identity.interface] = str(row.get("comment") or "")
        yield identity, groups[int(row["id"])] & enabled


def _domains(tables: Tables, draft: Draft) -> Iterator[_Names]:
    groups = _links(tables["domainlist_by_group"], "domainlist_id")
    for row in tables["domainlist"]:
        if not _enabled(row, "domainlist", "domain", draft):
            continue
        kind, text, place = int(row["type"]), str(row["domain"]), f"domainlist id {row['id']}"
        try:
            patterns = (_expression(text, place, draft) if kind >= _FIRST_EXPRESSION
                        else [Pattern.parse(f"{Kind.EXACT}{text}")])
        except ValueError as error:
            draft.lost(place, text, error)
            continue
        domains = tuple(Domain(pattern) for pattern in patterns)
        draft.comments.update({domain: str(row.get("comment") or "") for domain in domains})
        yield _Names(place, text, _STAGES[kind], groups[int(row["id"])], domains)


def _expression(text: str, place: str, draft: Draft) -> list[Pattern]:
    """A regular expression with FTL's own options behind it."""
    expression, *options = text.split(";")
    for option in options:
        if not option.startswith("reply="):
            raise InexpressibleError(f"our patterns have no {option!r}")
        draft.note(place, text, f"{option}: there is no answer to choose, the flow itself is blocked")
    return regex.patterns(expression)


def _lists(tables: Tables, draft: Draft) -> Iterator[_Names]:
    groups = _links(tables["adlist_by_group"], "adlist_id")
    for row in tables["adlist"]:
        if not _enabled(row, "adlist", "address", draft):
            continue
        name, place, address = f"pihole-{row['id']}", f"adlist id {row['id']}", str(row["address"]).strip()
        try:
            draft.lists.append(list_from(name, address))
        except InexpressibleError as error:
            draft.lost(place, address, error)
            continue
        draft.comments[name] = str(row.get("comment") or "")
        stage = _Stage.ON_ALLOW_LISTS if int(row.get("type") or 0) == _ALLOW_LIST else _Stage.LISTED
        yield _Names(place, address, stage, groups[int(row["id"])], lists=(name,))


def _enabled(row: Row, table: str, key: str, draft: Draft) -> bool:
    if int(row["enabled"]):
        return True
    draft.note(f"{table} id {row['id']}", row[key], "disabled: left out")
    return False


def _links(rows: list[Row], key: str) -> defaultdict[int, GroupIds]:
    """What is linked to which groups."""
    links: defaultdict[int, GroupIds] = defaultdict(frozenset)
    for row in rows:
        links[int(row[key])] |= {int(row["group_id"])}
    return links
