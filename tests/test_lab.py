"""The lab's arithmetic: what counts as agreement, and how a row is told. No namespaces here."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from nfqdpi.cli import lab as cli
from nfqdpi.lab import claim
from nfqdpi.lab.cases import CASES, Case, Outcome
from nfqdpi.lab.clients import Answer
from nfqdpi.lab.scenario import Row


def case(what: str, client: str = "curl") -> Case:
    return next(c for c in CASES if (c.what, c.client) == (what, client))


def row(of: Case, seen: Outcome, *, ms: float = 3.0, detail: str = "") -> Row:
    return Row("strict", "nft", 4, of, of.expected("strict"), seen, Answer(seen.client, detail, ms), None)


BLOCKED = row(case("tls blocked"), Outcome("block", "reset", 2, 3, 0))


@pytest.mark.parametrize(("change", "wrong"), [
    ({}, ()),
    ({"queued": 1}, ()),
    ({"queued": 3}, ("queued",)),
    ({"mark": 1}, ("mark",)),
    ({"mark": None}, ("mark",)),
    ({"server": 1}, ("server",)),
    ({"verdict": None}, ("verdict",)),
    ({"client": "timeout", "verdict": "accelerate"}, ("verdict", "client")),
])
def test_a_row_names_what_disagrees(change: dict[str, object], wrong: tuple[str, ...]) -> None:
    """Fewer queued packets than the most expected agree; every other difference is named."""
    assert replace(BLOCKED, seen=replace(BLOCKED.seen, **change)).wrong == wrong  # type: ignore[arg-type]  # by the row


def test_a_slow_reset_disagrees() -> None:
    """A blocked curl learns of it within 500 ms; openssl's time has the start of the program in it."""
    assert replace(BLOCKED, answer=Answer("reset", ms=501)).wrong == ("client",)
    assert replace(BLOCKED, answer=Answer("reset", ms=501), case=case("tls blocked", "openssl")).wrong == ()


def test_a_part_of_the_file_disagrees() -> None:
    """The download is all of its 100 MB."""
    seen = Outcome("accelerate", "ok", 3, 2, 800)
    assert row(case("tls 100 MB allowed"), seen, detail="200, 100000000 B").wrong == ()
    assert row(case("tls 100 MB allowed"), seen, detail="200, 99999999 B").wrong == ("client",)


def test_plain_http_is_never_released_in_strict_mode() -> None:
    """Every request on it is read; a TLS flow is released in both modes."""
    marks = {mode: [case(f"{proto} allowed").expected(mode).mark for proto in ("http", "tls")]
             for mode in ("strict", "fast")}
    assert marks == {"strict": [1, 2], "fast": [2, 2]}


def test_the_table_shows_both_sides_of_a_difference(capsys: pytest.CaptureFixture[str]) -> None:
    """A cell that disagrees reads `seen != expected`; the number of such rows comes back."""
    assert cli._show_table([BLOCKED, replace(BLOCKED, seen=replace(BLOCKED.seen, mark=None, queued=4))]) == 1
    shown = capsys.readouterr().out
    assert "- != 3" in shown
    assert "4 > 2" in shown
    assert "1 of 2 rows are as expected." in shown


def test_json_is_an_object_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    """With what was expected and what was seen, by the same names."""
    assert cli._show_json([BLOCKED]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is True
    assert told["expected"] == {"verdict": "block", "client": "reset", "queued": 2, "mark": 3, "server": 0}
    assert told["seen"] == told["expected"] | {"detail": "", "ms": 3.0, "rule": None}


def test_only_names_of_ours_are_claimed() -> None:
    """Nothing whose name is not the lab's can be taken down by it."""
    with pytest.raises(ValueError, match="nfqdpi-lab-"):
        claim.claim("production")
