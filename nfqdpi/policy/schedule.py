"""Times of the week, in local time, as stretches between two instants.

A window is from one instant to another on each of its days, not a comparison of clock faces: so it neither stutters in
the hour that comes twice when daylight saving ends, nor misses its end in the hour that never comes when it begins.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from math import inf
from typing import NamedTuple

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY = 24 * 60  # minutes
_FORM = re.compile(r"(?:([a-z,-]+) +)?(\d\d):(\d\d) ?- ?(\d\d):(\d\d)")
_AHEAD = 9  # days in which the next edge is looked for: no week is without one, unless nothing ever changes


class Window(NamedTuple):
    """``start`` and ``end`` in minutes from the midnight that begins the day; an end beyond 24 hours is tomorrow's."""

    days: frozenset[int]  # 0 is Monday
    start: int
    end: int

    @classmethod
    def parse(cls, written: str) -> Window:
        """From "mon-fri 21:00-07:00", "sat,sun 00:00-24:00" or "08:00-12:00", which is every day's. Raises ValueError
        in words fit for the operator."""
        match = _FORM.fullmatch(written.strip().lower())
        if match is None:
            raise ValueError(f'{written!r} is not a window such as "mon-fri 21:00-07:00"')
        start, end = (int(match[n]) * 60 + int(match[n + 1]) for n in (2, 4))
        if start >= _DAY or end > _DAY or int(match[3]) > 59 or int(match[5]) > 59 or start == end:
            raise ValueError(f"{written!r} has no such times: from 00:00 to 24:00, and not the same twice")
        days = frozenset(_days(match[1], written)) if match[1] else frozenset(range(7))
        return cls(days, start, end if end > start else end + _DAY)


def _days(text: str, written: str) -> Iterator[int]:
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first not in _DAYS or (last or first) not in _DAYS:
            raise ValueError(f"{written!r} names no such days: {', '.join(_DAYS)}, mon-fri, sat,sun")
        a, b = _DAYS.index(first), _DAYS.index(last or first)
        yield from ((a + n) % 7 for n in range((b - a) % 7 + 1))


class Schedule:
    """Windows in a time zone."""

    def __init__(self, windows: Sequence[Window], zone: tzinfo) -> None:
        self._windows = tuple(windows)
        self._zone = zone

    def active(self, now: float) -> bool:
        """True inside a window; ``now`` in seconds since 1970."""
        today = datetime.fromtimestamp(now, self._zone).date()
        # Only today's and yesterday's windows can reach into now, but where a clock jumps back past midnight.
        return any(start <= now < end for start, end in self._stretches(today, range(-2, 2)))

    def next_edge(self, now: float) -> float:
        """When ``active`` may change next, in seconds since 1970; infinity where it never does."""
        today = datetime.fromtimestamp(now, self._zone).date()
        first, found = inf, _AHEAD
        for day in range(-2, _AHEAD):
            if day > found + 1:
                break  # what a day's windows do, they have done before the day after the next, whatever a clock does
            edges = [edge for stretch in self._stretches(today, (day,)) for edge in stretch if edge > now]
            if edges:
                first, found = min(first, *edges), min(found, day)
        return first

    def _stretches(self, today: date, days: Iterable[int]) -> Iterator[tuple[float, float]]:
        for day in (today + timedelta(days=n) for n in days):
            for window in self._windows:
                if day.weekday() in window.days:
                    yield _instant(day, window.start, self._zone, last=False), _instant(
                        day, window.end, self._zone, last=True)


def midnight(now: float, zone: tzinfo) -> float:
    """When the day of ``now`` began, both in seconds since 1970."""
    return _instant(datetime.fromtimestamp(now, zone).date(), 0, zone, last=False)


def _instant(day: date, minutes: int, zone: tzinfo, *, last: bool) -> float:
    """The moment when a clock on the wall shows this: of two the first or the ``last``, and where the clock jumps over
    it, the moment of the jump."""
    shown = datetime(day.year, day.month, day.day) + timedelta(minutes=minutes)
    first, second = (shown.replace(tzinfo=zone, fold=fold).timestamp() for fold in (0, 1))
    if first <= second:
        return second if last else first
    # RFC 5545, 3.3.5 would have 02:30 mean 03:30 here. The jump itself lies between the two readings (PEP 495).
    low, high = second, first
    while high - low > 0.5:
        middle = (low + high) / 2
        if datetime.fromtimestamp(middle, UTC).astimezone(zone).replace(tzinfo=None) < shown:
            low = middle
        else:
            high = middle
    return float(round(high))
