"""docs/events.md, out of the structs that the daemon writes: python -m nfqdpi.events.reference > docs/events.md."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nfqdpi.core.verdict import Reason
from nfqdpi.events.model import schema

REASONS = {
    Reason.RULE: "a rule, or a change by hand, matched",
    Reason.DEFAULT: "no rule matched: `[policy] default`",
    Reason.NEED_MORE: "not decided yet",
    Reason.CONFIRMED: "the server's own bytes show that it took what was judged (strict mode)",
    Reason.NO_NAME: "a known protocol, but no name in it: `[fail] no_name`, or `[policy] default`",
    Reason.UNKNOWN_PROTOCOL: "no classifier knows the protocol: `[fail] unknown_protocol`, or `[policy] default`",
    Reason.ADVICE: "a plugin wants it so, whatever the policy allows: `advice` says which, and why",
    Reason.MIDSTREAM: "the flow is older than what is remembered of it: `[fail] midstream`",
    Reason.ECH: "an encrypted hello may hide another name: `[fail] ech`",
    Reason.SNI_MISMATCH: "a name that the client was not told this address for: `[fail] sni_mismatch`",
    Reason.MALFORMED: "it breaks its protocol's rules: `[fail] malformed`",
    Reason.OVERLAP: "a byte was sent twice, and not the same: `[fail] overlap`",
    Reason.OUT_OF_WINDOW: "a segment that the server would not take",
    Reason.TOO_BIG: "no decision within `[inspect] max_bytes` or `max_segments`: `[fail] too_big`",
    Reason.TIMEOUT: "no decision within `[inspect] timeout`: `[fail] timeout`",
    Reason.TRUNCATED: "the kernel did not hand over the whole packet: `[fail] truncated`",
    Reason.PLUGIN_ERROR: "a classifier raised an exception: `[fail] plugin_error`",
}
_HEAD = """\
# Events

<!-- Made by: python -m nfqdpi.events.reference > docs/events.md -->

Each verdict is a line of JSON in `[events] file`, in the words of Suricata's EVE where EVE has one. A line of another
kind, a notice, tells what befell the gateway itself. [events.schema.json](events.schema.json) is the same for programs.
A field that has nothing to say is left out. Names come off the wire: they are whatever a client has sent.

    nfqdpi events -f                                  # as they come
    nfqdpi events --since yesterday --verdict block   # what was blocked, and why
    nfqdpi events --json --last 1                     # the line itself
    nfqdpi events eve.json-20261121.gz                # a saved file

"""


def markdown() -> str:
    """The whole page."""
    structs = schema()["$defs"]
    reasons = [f"| `{reason}` | {meaning} |" for reason, meaning in REASONS.items()]
    return _HEAD + "\n".join([
        "## A verdict", "", *_table(structs, "Event"), "",
        "## Reasons", "", "| `verdict.reason` | |", "|---|---|", *reasons, "",
        "## A notice", "", *_table(structs, "Notice"), "",
        "Of kind `events_lost`: `count` events before this line are missing here; `nfqdpi stats` counts them too.",
        "The other kinds are what the daemon mends by itself: [control.md](control.md).", "",
    ])


def _table(structs: dict[str, Any], name: str) -> list[str]:
    return ["| field | type | |", "|---|---|---|",
            *(f"| `{path}` | {kind} | {meaning} |" for path, kind, meaning in _fields(structs, structs[name]))]


def _fields(structs: dict[str, Any], struct: dict[str, Any], before: str = "") -> Iterator[tuple[str, str, str]]:
    for name, field in struct["properties"].items():
        below = next(filter(None, (_struct(structs, one) for one in (field, *field.get("anyOf", ())))), None)
        if below:
            yield from _fields(structs, structs[below], f"{before}{name}.")
        else:
            yield f"{before}{name}", _kind(field), field.get("description", "")


def _struct(structs: dict[str, Any], field: dict[str, Any]) -> str | None:
    name: str = field.get("$ref", "").rpartition("/")[2]
    return name if "properties" in structs.get(name, {}) else None


def _kind(field: dict[str, Any]) -> str:
    if "enum" in field:
        return ", ".join(f'"{value}"' for value in field["enum"])
    if "anyOf" in field:
        return " or ".join(_kind(one) for one in field["anyOf"])
    return str(field.get("type", "string"))


if __name__ == "__main__":
    print(markdown(), end="")
