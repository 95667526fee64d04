"""Schedules against a clock on the wall that is watched minute by minute."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cache
from math import inf
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nfqdpi.policy.schedule import Schedule, Window, midnight

# Days around which a clock jumps: forth and back an hour, at midnight, past midnight, by half an hour; and none.
JUMPS = [("Europe/Berlin", date(2026, 3, 29)), ("Europe/Berlin", date(2026, 10, 25)),
         ("America/New_York", date(2026, 3, 8)), ("America/New_York", date(2026, 11, 1)),
         ("America/Havana", date(2026, 3, 8)), ("America/Havana", date(2026, 11, 1)),
         ("America/St_Johns", date(2010, 3, 14)), ("America/St_Johns", date(2010, 11, 7)),
         ("Australia/Lord_Howe", date(2026, 4, 5)), ("Australia/Lord_Howe", date(2026, 10, 4)),
         ("Asia/Kathmandu", date(2026, 6, 1)), ("UTC", date(2026, 6, 1))]
STEP = 60  # seconds
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

times = st.sampled_from(["00:00", "00:01", "00:30", "01:00", "01:30", "02:00", "02:15", "02:30", "03:00", "12:00",
                         "21:00", "23:01", "23:30", "23:59"])
spans = st.tuples(times, times | st.just("24:00")).filter(lambda two: two[0] != two[1]).map("-".join)
windows = st.builds("{} {}".format, st.sampled_from([*DAYS, "mon-fri", "sat,sun", "sat-mon", "mon-sun"]), spans) | spans


@cache
def wall(zone: str, day: date) -> list[tuple[float, datetime]]:
    """The minutes of five days around a day, and what a clock shows then."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() - 2.5 * 86400
    instants = [start + n * STEP for n in range(6 * 86400 // STEP)]
    return [(now, datetime.fromtimestamp(now, ZoneInfo(zone)).replace(tzinfo=None)) for now in instants]


def stretches(written: str, shown: list[tuple[float, datetime]]) -> Iterator[tuple[float, float]]:
    """From when to when: the first minute in which the clock shows the start or has jumped over it, and the last in
    which it shows the end; where it jumps over the end, the first after that."""
    days, _, span = written.rpartition(" ")
    start, _, end = span.partition("-")
    for day in sorted({when.date() for _, when in shown})[1:-2]:
        if DAYS[day.weekday()] in _named(days):
            begins, ends = _clock(day, start), _clock(day, end)
            ends += timedelta(days=ends <= begins)
            first = next(now for now, when in shown if when >= begins)
            exact = [now for now, when in shown if when == ends]
            yield first, exact[-1] if exact else next(now for now, when in shown if when > ends)


def _named(days: str) -> set[str]:
    named: set[str] = set()
    for part in filter(None, days.split(",")):
        first, _, last = part.partition("-")
        twice = DAYS + DAYS
        begin = twice.index(first)
        named.update(twice[begin : twice.index(last or first, begin) + 1])
    return named or set(DAYS)


def _clock(day: date, time: str) -> datetime:
    hours, _, minutes = time.partition(":")
    return datetime(day.year, day.month, day.day) + timedelta(hours=int(hours), minutes=int(minutes))


@settings(max_examples=60)
@given(st.sampled_from(JUMPS), st.lists(windows, min_size=1, max_size=3))
def test_active_as_a_clock_on_the_wall_says(place: tuple[str, date], written: list[str]) -> None:
    """In every minute of the days around a jump of the clock."""
    zone, day = place
    shown = wall(zone, day)
    schedule = Schedule([Window.parse(one) for one in written], ZoneInfo(zone))
    known = [stretch for one in written for stretch in stretches(one, shown)]
    for now, when in shown[:: 5]:
        if day - timedelta(days=1) <= when.date() <= day + timedelta(days=1):
            assert schedule.active(now) == any(start <= now < end for start, end in known), when


@settings(max_examples=60)
@given(st.sampled_from(JUMPS), st.lists(windows, min_size=1, max_size=3))
def test_an_edge_is_told_in_advance(place: tuple[str, date], written: list[str]) -> None:
    """Between now and the next edge nothing changes; and the edge is one of a window's."""
    zone, day = place
    shown = wall(zone, day)
    schedule = Schedule([Window.parse(one) for one in written], ZoneInfo(zone))
    known = {edge for one in written for stretch in stretches(one, shown) for edge in stretch}
    for now, when in shown[:: 7]:
        if when.date() == day:
            edge = schedule.next_edge(now)
            assert now < edge == min((one for one in known if one > now), default=edge)


def test_an_edge_may_be_days_away() -> None:
    """From one Wednesday to the next, and from one end of daylight saving to the other."""
    zone = ZoneInfo("Europe/Berlin")
    schedule = Schedule([Window.parse("wed 13:00-14:00")], zone)
    now = datetime(2026, 10, 21, 14, tzinfo=zone).timestamp()
    assert schedule.next_edge(now) == datetime(2026, 10, 28, 13, tzinfo=zone).timestamp()


def test_no_windows() -> None:
    """Never active, and no edge ever."""
    schedule = Schedule([], UTC)
    assert (schedule.active(0.0), schedule.next_edge(0.0)) == (False, inf)


@given(st.sampled_from(JUMPS), st.integers(0, 6 * 86400 // STEP - 1))
def test_a_day_begins_at_midnight(place: tuple[str, date], minute: int) -> None:
    """Or with the first moment that the clock shows of it."""
    shown = wall(*place)
    now, when = shown[minute]
    if when.date() > shown[0][1].date():
        assert midnight(now, ZoneInfo(place[0])) == next(n for n, w in shown if w.date() == when.date())


@pytest.mark.parametrize("written", ["", "mon", "21:00", "21:00-21:00", "24:00-07:00", "21:00-24:01", "21:60-22:00",
                                     "mon-xyz 21:00-22:00", "mon,, 21:00-22:00", "9:00-10:00", "mon 21:00-22:00 x"])
def test_what_is_no_window(written: str) -> None:
    """The operator is told which text."""
    with pytest.raises(ValueError, match=r"is not a window|has no such times|names no such days"):
        Window.parse(written)


@pytest.mark.parametrize(("written", "days", "span"), [
    ("mon-fri 21:00-07:00", range(5), (1260, 1860)), ("Sat,Sun 00:00-24:00", (5, 6), (0, 1440)),
    ("08:00 - 12:00", range(7), (480, 720)), ("fri-mon 22:00-24:00", (4, 5, 6, 0), (1320, 1440)),
    ("sun 23:59-00:00", (6,), (1439, 1440))])
def test_how_windows_are_written(written: str, days: tuple[int, ...], span: tuple[int, int]) -> None:
    """Days may be left out, ranges go over the end of the week, an end that is not after its start is tomorrow's."""
    assert Window.parse(written) == (frozenset(days), *span)
