"""OpenSync's FSM_Policy: rows in the order of ``idx``, of which the first that matches and has an action decides.

Conditions on the device, the name and its categories come as a set and an operator, "in" or "out" of the set. Ours are
all "in". "Out" is said by dividing: devices into classes that the same rows apply to, each with its own rules, in which
those of names that are in the set stand before the one for all names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from nfqdpi.config.model import Group, Rule
from nfqdpi.config.values import Member
from nfqdpi.importers import ovsdb
from nfqdpi.importers.draft import Draft, SourceError, list_from
from nfqdpi.importers.fsmrow import Step, read_step

_TABLE = "FSM_Policy"
_LARGEST = 64 << 20  # bytes


def convert(path: Path, categories: Mapping[int, str], table: str | None) -> Draft:
    """The configuration that judges as FSM does with the rows of a policy ``table`` (None: the only one);
    ``categories``: where a list of a category's names comes from. Raises SourceError, OSError."""
    with path.open("rb") as file:
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise SourceError(f"larger than {_LARGEST >> 20} MiB")
    rows = ovsdb.rows(content.decode(errors="replace"), _TABLE)
    draft = Draft()
    draft.lists = [list_from(f"category-{number}", source) for number, source in categories.items()]
    try:
        chosen = _of_table(rows, table)
        steps = [step for row in sorted(chosen, key=lambda row: int(row.get("idx", 0)))
                 if (step := read_step(row, categories.keys(), draft))]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SourceError(f"rows that {_TABLE} cannot have: {error!r}") from error
    _add_rules(steps, draft)
    draft.drop_unused_lists()
    return draft


def _of_table(rows: Sequence[ovsdb.Row], table: str | None) -> list[ovsdb.Row]:
    """FSM asks one table for each of its plugins, so rows of two together say nothing."""
    names = sorted({str(row.get("policy") or "default") for row in rows})
    if table is None and len(names) > 1:
        raise SourceError(f"it has several policy tables; --table says which: {', '.join(names)}")
    if table is not None and table not in names:
        raise SourceError(f"it has no policy table {table!r}; there are {', '.join(names)}")
    return [row for row in rows if str(row.get("policy") or "default") == (table or names[0])]


def _add_rules(steps: Sequence[Step], draft: Draft) -> None:
    if not any(step.macs_out or step.names_out for step in steps):
        for step in steps:
            _append(draft, step.rule, _group(draft, step.rule.name, step.macs))
        return
    classes: dict[tuple[int, ...], list[Member]] = {}
    for mac in dict.fromkeys(mac for step in steps for mac in step.macs or ()):
        mine = tuple(n for n, step in enumerate(steps) if step.applies_to(mac))
        classes.setdefault(mine, []).append(mac)
    for number, (mine, macs) in enumerate(classes.items(), 1):
        name = _group(draft, f"devices {number}", tuple(macs))
        _add_sequence([steps[n] for n in mine], name, draft)
        draft.rules.append(Rule("accelerate", draft.free_name(f"devices {number}: all else"), groups=name))
    _add_sequence([step for step in steps if step.applies_to(None)], (), draft)


def _add_sequence(steps: Sequence[Step], groups: tuple[str, ...], draft: Draft) -> None:
    """The rules of devices that all these steps apply to."""
    for n, step in enumerate(steps):
        if not step.names_out:
            _append(draft, step.rule, groups)
            continue
        # What is in the set goes on to the next step. With one for all names, or none, that is decided here and now.
        following = steps[n + 1].rule if n + 1 < len(steps) else Rule("accelerate")
        if following.domains or following.lists or (n + 1 < len(steps) and steps[n + 1].names_out):
            draft.lost(step.place, step.rule.name, "names that are not in a set, and a row behind it for some names"
                                                   + (f" (for the group {groups[0]!r})" if groups else ""))
            continue
        inside = msgspec.structs.replace(step.rule, action=following.action, name=f"{step.rule.name}: but not these",
                                         log=following.log)
        _append(draft, inside, groups)
        _append(draft, msgspec.structs.replace(step.rule, domains=(), lists=()), groups)
        return


def _append(draft: Draft, rule: Rule, groups: tuple[str, ...]) -> None:
    draft.rules.append(msgspec.structs.replace(rule, name=draft.free_name(rule.name), groups=groups))


def _group(draft: Draft, name: str, macs: tuple[Member, ...] | None) -> tuple[str, ...]:
    """The name of the group of these devices, made where there is none; () for all devices."""
    if macs is None:
        return ()
    known = next((group.name for group in draft.groups if group.clients == macs), None)
    if known is None:
        known = draft.free_name(name)
        draft.groups.append(Group(name=known, clients=macs))
    return (known,)
