"""When something was, as EVE writes it."""

from __future__ import annotations

from datetime import datetime
from typing import Final

_THREE: Final = [f"{number:03}" for number in range(1000)]  # digits of a fraction


class Stamps:
    """Times as text, for somebody who asks for one after the other. Strftime takes longer than all the rest of an
    event, and packets that were answered together were so at the same time."""

    def __init__(self) -> None:
        self._moment, self._second = -1.0, -1
        self._date = self._zone = self._text = ""

    def text(self, moment: float) -> str:
        """Seconds since 1970 in local time: 2026-11-22T08:15:00.123456+0100."""
        if moment != self._moment:
            second = int(moment)
            if second != self._second:
                local = datetime.fromtimestamp(second).astimezone()
                self._date, self._zone = local.strftime("%Y-%m-%dT%H:%M:%S."), local.strftime("%z")
                self._second = second
            micros = int((moment - second) * 1e6)
            self._text = f"{self._date}{_THREE[micros // 1000]}{_THREE[micros % 1000]}{self._zone}"
            self._moment = moment
        return self._text
