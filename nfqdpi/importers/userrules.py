"""AdGuard Home's rules of the user, line by line, as patterns of ours."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Literal

from nfqdpi.config.values import Domain
from nfqdpi.importers import regex
from nfqdpi.importers.draft import Draft, InexpressibleError
from nfqdpi.policy import dialects
from nfqdpi.policy.names import Kind, Pattern


class Strength(StrEnum):
    """In the order in which AdGuard Home looks."""

    IMPORTANT_ALLOW = "always allowed"
    IMPORTANT_BLOCK = "always blocked"
    ALLOW = "allowed"
    BLOCK = "blocked"

    @property
    def action(self) -> Literal["accelerate", "block"]:
        return "block" if self in (Strength.IMPORTANT_BLOCK, Strength.BLOCK) else "accelerate"


def user_rules(lines: Sequence[object], draft: Draft) -> dict[Strength, dict[Domain, None]]:
    """The patterns of each strength, in order; what has none is named in the draft."""
    found: dict[Strength, dict[Domain, None]] = {strength: {} for strength in Strength}
    for n, line in enumerate(lines):
        text = str(line or "").strip()
        if not text or text[0] in "!#":
            continue
        rule = text.removeprefix("@@")
        body, important = _without_important(rule)
        try:
            patterns = _patterns(body, exception=rule != text)
        except ValueError as error:
            draft.lost(f"user_rules[{n}]", text, error)
            continue
        strength = {(True, True): Strength.IMPORTANT_ALLOW, (True, False): Strength.IMPORTANT_BLOCK,
                    (False, True): Strength.ALLOW, (False, False): Strength.BLOCK}[important, rule != text]
        found[strength].update(dict.fromkeys(Domain(pattern) for pattern in patterns))
    return found


def _without_important(rule: str) -> tuple[str, bool]:
    body, dollar, modifiers = rule.rpartition("$")
    return (body, True) if dollar and modifiers == "important" else (rule, False)


def _patterns(rule: str, *, exception: bool) -> list[Pattern]:
    if match := re.fullmatch(r"/(.+)/", rule):
        return regex.patterns(match[1])
    if re.match(dialects.COSMETIC, rule):
        raise InexpressibleError("it is about what a page shows")
    if not rule.startswith(("|", "*")):
        # Without @@ it is a line of a hosts file, or the name alone; with @@ it is a text to be found.
        if exception and re.fullmatch(r"[\w.-]+", rule, re.ASCII):
            return [Pattern(Kind.SUBSTRING, rule.lower())]
        if exception or dialects.sink(rule) is not None:
            raise InexpressibleError("it is about more than names")
    entries = dialects.adblock(rule)
    if not entries:
        raise InexpressibleError("it blocks nothing")
    return [Pattern(kind, text) for kind, text, _ in entries]
