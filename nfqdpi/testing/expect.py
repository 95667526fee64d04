"""Expectation files: a capture, settings, and what is to become of each flow, however its packets come."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from nfqdpi.core.packet import Segment, parse
from nfqdpi.replay.captures import BrokenCaptureError
from nfqdpi.testing.capture import captured
from nfqdpi.testing.scatter import Run, scattered
from nfqdpi.testing.verdicts import Make, Seen, maker, seen_by

_KEYS = ("proto", "name", "verdict", "reason", "rule", "attributes")
_FURTHEST_CUT = 1 << 12  # bytes from where a client begins to speak; names come early


class ExpectationError(Exception):
    """The file cannot be used; the message says why."""


class Flow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Flows of which all this is true: so many."""

    proto: str | None = None
    name: str | None = None
    verdict: Literal["accelerate", "block", "block_silent", "inspect", "confirm"] | None = None
    reason: str | None = None
    rule: str | None = None
    attributes: dict[str, str] = {}
    count: int = 1

    def fits(self, seen: Seen) -> bool:
        """True of a flow that it tells of."""
        same = all(getattr(self, key) in (None, getattr(seen, key)) for key in _KEYS[:-1])
        return same and self.attributes.items() <= seen.attributes.items()

    def __str__(self) -> str:
        return _written(msgspec.structs.asdict(self))


class Expectation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``capture``: its path, from the file's folder; ``settings``: as the configuration is written."""

    capture: str
    settings: dict[str, Any] = {}
    flow: tuple[Flow, ...] = ()


class Way(NamedTuple):
    """How packets come, and what was wrong then; ``ways``: in how many."""

    name: str
    ways: int
    problems: list[str]


def found(folder: Path) -> list[Path]:
    """The expectation files in a folder, and in those below it but for hidden ones: TOML files that name a capture."""
    seen = (path for path in folder.rglob("*.toml")
            if not any(part.startswith(".") for part in path.relative_to(folder).parts))
    return sorted(path for path in seen if "capture" in _table(path))


def run(path: Path) -> Iterator[Way]:
    """The capture as it is, cut at every byte, and in another order, as far as the mode can bear that. Raises
    ExpectationError, ConfigError, PluginError."""
    try:
        expected = msgspec.convert(_table(path), Expectation)
        packets = list(captured(path.parent / expected.capture))
    except (msgspec.ValidationError, BrokenCaptureError, OSError) as error:
        raise ExpectationError(f"{path}: {error}") from None
    except KeyError as error:
        raise ExpectationError(f"{path}: {expected.capture}: link type {error}") from None
    make = maker(settings=expected.settings)
    yield Way("whole", 1, _problems(expected, make, packets))
    cuts = range(1, min(_longest(packets), _FURTHEST_CUT))
    yield _scattered("cut", partial(_problems, expected, make), packets, cuts, list)
    if make().strict:  # fast mode takes what comes first for the beginning
        yield _scattered("reordered", partial(_problems, expected, make), packets, cuts, _backwards)


def _table(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ExpectationError(f"{path}: {error}") from None


def _backwards(run: Run) -> Run:
    return run[::-1]


def _scattered(name: str, problems: Callable[[list[bytes]], list[str]], packets: list[bytes], cuts: range,
               order: Callable[[Run], Run]) -> Way:
    """Until something is wrong."""
    for at in cuts or range(1):
        if wrong := problems(list(scattered(packets, (at,), order))):
            return Way(f"{name} at byte {at}", at, wrong)
    return Way(f"{name} at every byte", len(cuts), [])


def _longest(packets: list[bytes]) -> int:
    """The most bytes that a client says over TCP before its server speaks."""
    sizes = [0]

    def measure(run: Run) -> Run:
        sizes.append(sum(len(one.payload) for packet in run if isinstance(one := parse(packet), Segment)))
        return run

    list(scattered(packets, (), measure))
    return max(sizes)


def _problems(expected: Expectation, make: Make, packets: list[bytes]) -> list[str]:
    try:
        seen = seen_by(make, packets)
    except AssertionError as error:
        return [str(error)]
    wrong = [f"{number} flows, not {flow.count}, with {flow}" for flow in expected.flow
             if (number := sum(map(flow.fits, seen))) != flow.count]
    return wrong + [f"not expected: {_written(one._asdict())}" for one in seen
                    if not any(flow.fits(one) for flow in expected.flow)]


def _written(fields: Mapping[str, object]) -> str:
    """As an expectation file has it; what is empty is left out."""
    return ", ".join(f"{key} = {value!r}" for key, value in fields.items() if key in _KEYS and value)
