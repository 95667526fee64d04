"""The whole matrix."""

from __future__ import annotations

from tests.evasion import fakes, http, ip, opening, tcp, tls
from tests.evasion.case import Case, cases

CASES: list[Case] = cases([*tcp.TRICKS, *opening.TRICKS, *fakes.TRICKS, *ip.TRICKS, *tls.TRICKS, *http.TRICKS])
