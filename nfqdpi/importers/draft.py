"""What an import comes to: tables of our configuration, and remarks on what they do not or not quite say."""

from __future__ import annotations

import re
from typing import NamedTuple

from nfqdpi.config.model import DomainList, Group, Rule, Schedule
from nfqdpi.config.values import Duration, check_url
from nfqdpi.policy.overrides import by_hand


class SourceError(Exception):
    """The file cannot be read as what it is said to be; the text says why."""


class InexpressibleError(ValueError):
    """Our policy has no words for this; the text says why."""


class Remark(NamedTuple):
    """``place`` in the source ("domainlist id 7"), the ``text`` there, and ``why``; ``lost`` where the policy does less
    or more than the source for it, otherwise it is merely worth knowing."""

    place: str
    text: str
    why: str
    lost: bool


class Draft:
    """The tables, in the order in which they are written, and the remarks. ``comments``: what the operator wrote beside
    a list, a group's client or a domain pattern."""

    def __init__(self) -> None:
        self.lists: list[DomainList] = []
        self.groups: list[Group] = []
        self.schedules: list[Schedule] = []
        self.rules: list[Rule] = []
        self.time_zone = ""
        self.comments: dict[str, str] = {}
        self.remarks: list[Remark] = []

    def lost(self, place: str, text: object, why: object) -> None:
        self.remarks.append(Remark(place, str(text), str(why), lost=True))

    def note(self, place: str, text: object, why: object) -> None:
        self.remarks.append(Remark(place, str(text), str(why), lost=False))

    def free_name(self, wanted: str) -> str:
        """The name, or with a number behind it where another group, schedule or rule has it already, or a change by
        hand may have it."""
        taken = {table.name for tables in (self.groups, self.schedules, self.rules) for table in tables}
        names = (wanted if n == 1 else f"{wanted} {n}" for n in range(1, len(taken) + 3))
        return next(name for name in names if name not in taken and not by_hand(name))

    def drop_unused_lists(self) -> None:
        """A list that no rule names would be fetched all the same."""
        used = {name for rule in self.rules for name in rule.lists}
        self.lists = [one for one in self.lists if one.name in used]


def list_from(name: str, source: str, *, refresh_hours: float = 24) -> DomainList:
    """A list from a URL, a ``file://`` URL or a path that begins with /. Raises InexpressibleError."""
    path = source.removeprefix("file://")
    refresh = Duration.parse(f"{refresh_hours:g}h")
    if path.startswith("/"):
        return DomainList(name=name, path=path, refresh=refresh)
    if re.fullmatch(r"https?://[!-~]+", source):
        try:
            check_url(source)
        except ValueError as error:
            raise InexpressibleError(str(error)) from None
        return DomainList(name=name, url=source, refresh=refresh)
    raise InexpressibleError("a list comes from an http or https URL, or from a path that begins with /")
