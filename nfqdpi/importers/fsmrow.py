"""One row of FSM_Policy as a rule of ours, as far as it goes."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, Literal, NamedTuple

from nfqdpi.config.model import Rule
from nfqdpi.config.values import Domain, Member
from nfqdpi.importers.draft import Draft, InexpressibleError
from nfqdpi.importers.ovsdb import Row
from nfqdpi.policy.names import Kind, Pattern

# For the names that it matches, a row that updates a tag ends the search as one that allows does.
_ACTIONS: dict[str, Literal["accelerate", "block"]] = {"allow": "accelerate", "drop": "block",
                                                       "update_tag": "accelerate"}


class Step(NamedTuple):
    """``rule`` for the devices in ``macs`` (None: all), or with ``macs_out`` for all others; with ``names_out`` for all
    names but those that it names."""

    place: str
    rule: Rule
    macs: tuple[Member, ...] | None
    macs_out: bool
    names_out: bool

    def applies_to(self, mac: Member | None) -> bool:
        """True of a device that the row is for (None: one that no row names)."""
        return self.macs is None or (mac in self.macs) is not self.macs_out


class _NeverError(Exception):
    """The row matches nothing."""


def read_step(row: Row, categories: Collection[int], draft: Draft) -> Step | None:
    """The step; None where the row does nothing, or cannot be said, which is in the draft then."""
    name, action = str(row.get("name") or f"row {row.get('idx', 0)}"), str(_optional(row, "action") or "")
    place = f"{row.get('policy') or 'default'} idx {row.get('idx', 0)}"
    if not action:
        draft.note(place, name, "without an action: FSM goes on to the next row, and so do we")
        return None
    try:
        _refuse(row, action)
        macs = _macs(row, name, place, draft)
        names = _names(row, name, place, categories, draft)
    except InexpressibleError as error:
        draft.lost(place, name, error)
        return None
    except _NeverError as error:
        draft.note(place, name, f"{error}: it matches nothing, and is left out")
        return None
    _remark(row, action, name, place, draft)
    if action == "drop" and (names.out or not (names.domains or names.lists)):
        draft.note(place, name, "for all names, and here also for flows without one")
    log = str(_optional(row, "log") or "none")
    rule = Rule(_ACTIONS[action], name, domains=names.domains, lists=names.lists,
                log=log == "all" or (log == "blocked" and action == "drop"))
    return Step(place, rule, macs, _optional(row, "mac_op") == "out", names.out)


class _Names(NamedTuple):
    domains: tuple[Domain, ...] = ()
    lists: tuple[str, ...] = ()
    out: bool = False


def _refuse(row: Row, action: str) -> None:
    """Raises InexpressibleError where the row does or asks what none of ours can."""
    if action not in _ACTIONS:
        raise InexpressibleError(f"action {action!r} has no counterpart")
    if _optional(row, "risk_op"):
        raise InexpressibleError("a risk level is known to OpenSync's providers only")
    if _optional(row, "app_op"):
        raise InexpressibleError("it is about applications, not names")
    # A name is never in a set of addresses; in none of no addresses is every name.
    if _optional(row, "ipaddr_op") == "in" or (_optional(row, "ipaddr_op") and _set(row, "ipaddrs")):
        raise InexpressibleError(f"it is about addresses of servers: {', '.join(_set(row, 'ipaddrs'))}")


def _macs(row: Row, name: str, place: str, draft: Draft) -> tuple[Member, ...] | None:
    operator = _operator(row, "mac_op", ("in", "out"))
    if operator is None:
        return None
    macs: list[str] = []
    unknown: list[str] = []
    for text in _set(row, "macs"):
        (macs if re.fullmatch("([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}", text) else unknown).append(text)
    if unknown and (operator == "out" or not macs):
        raise InexpressibleError(f"devices by tags, which are not here: {', '.join(unknown)}")
    for text in unknown:
        draft.lost(place, name, f"without the devices of the tag {text}, which is not here")
    if operator == "in" and not macs:
        raise _NeverError("for a device in an empty set")
    return tuple(Member.parse(mac) for mac in dict.fromkeys(macs)) if macs else None


def _names(row: Row, name: str, place: str, categories: Collection[int], draft: Draft) -> _Names:
    domains, lists = _domains(row, name, place, draft), _categories(row, name, place, categories, draft)
    if domains is not None and lists is not None:
        raise InexpressibleError("names and categories, of which both must match")
    return domains or lists or _Names()


def _domains(row: Row, name: str, place: str, draft: Draft) -> _Names | None:
    """None: any name."""
    operator = _operator(row, "fqdn_op", tuple(f"{how}{op}" for how in ("", "sfr_", "sfl_", "wild_")
                                               for op in ("in", "out")))
    if operator is None:
        return None
    how, _, op = operator.rpartition("_")
    domains = []
    for text in _set(row, "fqdns"):
        try:
            domains.append(Domain(_pattern(how, text)))
        except ValueError as error:
            if op == "out":
                raise InexpressibleError(f"{text}: {error}") from None
            draft.lost(place, text, error)
    if how == "sfr" and domains:
        draft.note(place, name, "sfr: ends of names by whole labels; FSM lets notexample.com pass for example.com")
    return _of_set(_Names(tuple(domains), out=op == "out"), bool(_set(row, "fqdns")))


def _pattern(how: str, text: str) -> Pattern:
    if how == "sfl":
        raise InexpressibleError("our patterns have no beginnings of names")
    if how == "wild" and re.search(r"[*?[\\]", text):
        raise InexpressibleError("our patterns have no wildcard for a part of a label, or for one label only")
    if how == "sfr":
        return Pattern.parse(f"{Kind.BELOW if text.startswith('.') else Kind.TREE}{text.removeprefix('.')}")
    return Pattern.parse(f"{Kind.EXACT}{text}")


def _categories(row: Row, name: str, place: str, known: Collection[int], draft: Draft) -> _Names | None:
    """None: any category."""
    operator = _operator(row, "fqdncat_op", ("in", "out"))
    if operator is None:
        return None
    numbers = [int(number) for number in _set(row, "fqdncats")]
    if unknown := [str(number) for number in numbers if number not in known]:
        why = f"without a list for category {', '.join(unknown)}: --category N=SOURCE gives one"
        if operator == "out":
            raise InexpressibleError(why)
        draft.lost(place, name, why)
    lists = tuple(f"category-{number}" for number in numbers if number in known)
    return _of_set(_Names(lists=lists, out=operator == "out"), bool(numbers))


def _of_set(names: _Names, had_any: bool) -> _Names | None:
    if names.domains or names.lists:
        return names
    if names.out:
        return None  # outside of an empty set is every name
    if had_any:
        raise InexpressibleError("nothing of what it names is left")
    raise _NeverError("for a name in an empty set")


def _remark(row: Row, action: str, name: str, place: str, draft: Draft) -> None:
    """On what the row does beside its verdict."""
    if action == "update_tag":
        draft.lost(place, name, "the names pass, but no tag is updated")
    if redirects := _set(row, "redirect"):
        draft.note(place, name, f"no redirection to {', '.join(redirects)}: the flow itself is blocked")
    if _optional(row, "next"):
        draft.lost(place, name, f"goes on in {', '.join(map(str, row['next']))}, which is another table")


def _operator(row: Row, column: str, known: tuple[str, ...]) -> str | None:
    operator = _optional(row, column)
    if operator is None:
        return None
    if operator not in known:
        raise InexpressibleError(f"{column} {operator!r} is unknown")
    return str(operator)


def _optional(row: Row, column: str) -> Any:
    """A column that holds at most one value, or None."""
    value = row.get(column)
    if isinstance(value, list):
        value = value[0] if value else None
    return value or None


def _set(row: Row, column: str) -> list[str]:
    """A set of one value is written as that value (RFC 7047, 5.1)."""
    value = row.get(column)
    values = value if isinstance(value, list) else [] if value in (None, "") else [value]
    return [str(one) for one in values]
