"""AdGuard Home's schedules: the hours in which services are *not* blocked, a stretch a day."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

from nfqdpi.config.model import Schedule
from nfqdpi.config.values import Times, TimeZone
from nfqdpi.importers.draft import Draft

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY = 24 * 60  # minutes
_SYSTEM = "Local"  # the name of the zone that the machine has


class Pauses:
    """Turns pauses into schedules of the draft, which has one time zone for all."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._zone: str | None = None

    def blocked_times(self, schedule: dict[str, Any], place: str) -> str | None:
        """The name of the schedule for all other hours; "": there is no pause; None: there is nothing but pause, or it
        cannot be said. Raises ValueError on what AdGuard Home would not write."""
        windows: defaultdict[tuple[int, int], list[str]] = defaultdict(list)
        for day in _DAYS:
            pause = schedule.get(day) or {}
            start, end = _minutes(pause.get("start", "0s")), _minutes(pause.get("end", "0s"))
            for window in ((0, start), (end, _DAY)) if pause else ((0, _DAY),):
                if window[0] < window[1]:
                    windows[window].append(day)
        if not any(schedule.get(day) for day in _DAYS):
            return ""
        if not windows or not self._take_zone(str(schedule.get("time_zone") or _SYSTEM), place):
            return None
        self._draft.note(place, ", ".join(day for day in _DAYS if schedule.get(day)),
                         "on a day on which the clocks change it goes by the clock, there by the hours since midnight")
        times = tuple(Times(f"{','.join(days)} {_clock(start)}-{_clock(end)}")
                      for (start, end), days in windows.items())
        known = next((one.name for one in self._draft.schedules if one.windows == times), None)
        if known is None:
            known = self._draft.free_name("services are blocked")
            self._draft.schedules.append(Schedule(name=known, windows=times))
        return known

    def _take_zone(self, zone: str, place: str) -> bool:
        if self._zone not in (None, zone):
            self._draft.lost(place, zone, f"there is one time zone for all schedules, and another has {self._zone}")
            return False
        try:
            name = TimeZone.parse("" if zone == _SYSTEM else zone)
        except ValueError as error:
            self._draft.lost(place, zone, error)
            return False
        if name and not self._draft.time_zone:
            self._draft.note(place, zone, "[policy] time_zone, which is for all schedules of the configuration")
        self._zone, self._draft.time_zone = zone, name
        return True


def _minutes(duration: object) -> int:
    """As Go writes a duration: "8h30m0s"."""
    match = re.fullmatch(r"(?:(\d{1,2})h)?(?:(\d{1,4})m)?(?:0s)?", str(duration))
    if match is None or not str(duration):
        raise ValueError(f"{duration!r} is no time of a day in minutes")
    return int(match[1] or 0) * 60 + int(match[2] or 0)


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"
