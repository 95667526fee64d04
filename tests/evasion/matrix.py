"""The whole matrix, and the longer part of it."""

from __future__ import annotations

from tests.evasion import fakes, tcp
from tests.evasion.case import Case, cases

CASES: list[Case] = cases([*tcp.TRICKS, *fakes.TRICKS])
