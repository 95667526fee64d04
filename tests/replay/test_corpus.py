"""Real captures with a truth table, scored; skipped where they are not at hand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_PLACE = Path(os.environ.get("NFQDPI_CAPTURES") or Path(__file__).parents[3] / "shared" / "pcaps")
_NEEDED = [_PLACE / name for name in ("captures", "truth.jsonl", "score.py")]


@pytest.fixture(scope="module", params=["strict", "fast"])
def score(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What score.py says of all captures, in either mode."""
    if missing := [str(path) for path in _NEEDED if not path.exists()]:
        pytest.skip("other people's captures, with licences of their own, are no part of this repository; "
                    f"NFQDPI_CAPTURES names a folder that has {', '.join(missing)}")
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "nfqdpi.toml").write_text(f"[inspect]\nmode = '{request.param}'\n")
    captures = sorted(path for path in (_PLACE / "captures").rglob("*.*cap*") if path.is_file())
    results = folder / "results.jsonl"
    with results.open("wb") as out:
        subprocess.run([sys.executable, "-m", "nfqdpi", "replay", "-c", folder / "nfqdpi.toml", *captures],
                       stdout=out, check=True)
    scored = subprocess.run([sys.executable, _PLACE / "score.py", _PLACE / "truth.jsonl", results, "--json"],
                            capture_output=True, check=True)
    return json.loads(scored.stdout)


@pytest.mark.parametrize("protocol", ["dns", "http", "quic", "tls"])
def test_names(score: Any, protocol: str) -> None:
    """No name is wrong, none is made up, and at least 99 of 100 are found."""
    table = score["table"][protocol]
    assert (table["wrong"], table["extra"]) == (0, 0), (score["wrong"], score["extra"])
    assert table["matched"] >= 0.99 * table["truth"], [miss for miss in score["misses"] if miss[0] == protocol]


def test_nothing_made_up(score: Any) -> None:
    """Captures and protocols that hold no name of ours give none."""
    assert score["extra"] == []
