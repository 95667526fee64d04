"""What stands beside the metrics: the page that explains them, the alerts and the dashboard."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from nfqdpi.daemon.exposition import METRICS
from nfqdpi.daemon.reference import markdown

ROOT = Path(__file__).parents[1]
ALERTS = ROOT / "packaging" / "prometheus" / "nfqdpi.rules.yml"
DASHBOARD = ROOT / "packaging" / "grafana" / "nfqdpi.json"
THEIRS = {"instance", "job", "le"}  # labels that Prometheus itself gives
NAMES = {metric.name + suffix: set(metric.labels) | THEIRS for metric in METRICS
         for suffix in (("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",))}


def alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return found


def expressions() -> Iterator[tuple[str, str]]:
    """Every one, with the words that show its labels."""
    for alert in alerts():
        yield alert["expr"], " ".join(re.findall(r"\$labels\.(\w+)", str(alert["annotations"])))
    for panel in panels():
        for target in panel["targets"]:
            yield target["expr"], " ".join(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))


@pytest.mark.parametrize(("expression", "shown"), list(expressions()))
def test_what_is_asked_for_is_there(expression: str, shown: str) -> None:
    """Each expression names metrics that the daemon has, and labels that these have."""
    named = set(re.findall(r"nfqdpi_\w+", expression))
    assert named <= NAMES.keys()
    labels = set.intersection(*(NAMES[name] for name in named)) if named else THEIRS
    asked = {word for by in re.findall(r"by \(([^)]*)\)", expression) for word in re.split(r",\s*", by)}
    asked |= {word for inside in re.findall(r"\{([^}]*)\}", expression) for word in re.findall(r"(\w+)=", inside)}
    assert asked | set(shown.split()) <= labels
    assert named or expression.startswith("up{")
    assert expression.count("(") == expression.count(")")


def test_counters_are_asked_for_their_rate() -> None:
    """A total as such says nothing after a restart; but how many workers there have been is shown."""
    for expression, _ in expressions():
        for counter in re.findall(r"nfqdpi_\w+_total", expression):
            assert re.search(rf"(rate|increase)\({counter}", expression) or counter == "nfqdpi_worker_starts_total"


def test_alerts_say_what_to_do() -> None:
    """Each has a name of its own, a severity, and two sentences."""
    assert len({alert["alert"] for alert in alerts()}) == len(alerts())
    for alert in alerts():
        assert alert["labels"]["severity"] in ("warning", "critical")
        assert set(alert["annotations"]) == {"summary", "description"}


def test_panels_do_not_overlap() -> None:
    """Each has a place of its own within Grafana's 24 columns, and an id of its own."""
    places = [panel["gridPos"] for panel in panels()]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        assert (one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
                or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"])
    assert len({panel["id"] for panel in panels()}) == len(panels())


def test_the_page_is_true() -> None:
    """docs/metrics.md is what the module prints."""
    assert (ROOT / "docs" / "metrics.md").read_text() == markdown()


def test_prometheus_loads_the_alerts() -> None:
    """By its own program."""
    done = subprocess.run(["promtool", "check", "rules", ALERTS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
