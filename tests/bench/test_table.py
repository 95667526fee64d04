"""What the benchmark makes of its rounds: ratios, tables, plots, the page, the guard's comparison."""

from __future__ import annotations

import json
from dataclasses import asdict
from xml.etree import ElementTree

import pytest

from bench import check, page, plot, table
from bench.measure import Half, Round

MACHINE = {"cpu": "A", "cpus": 2, "hypervisor": True, "kernel": "6", "python": "3.11", "load": 0.1}


def one(rate: float, gateway_us: float, *, queued: float = 0.0, through: int = 0) -> Round:
    wanted = round(rate / 2)
    half = Half(wanted, wanted, 100.0 + gateway_us, 200.0 + gateway_us, gateway_us, gateway_us / 2, gateway_us / 4)
    plain = Half(wanted, wanted, 150.0, 250.0, 50.0, 0.0, 0.0)
    return Round(dict.fromkeys(table.WORKLOADS, rate), dict.fromkeys(table.WORKLOADS, queued),
                 {"http": half, "tls": half}, {"http": plain, "tls": plain}, [20.0, 10.0], through)


GROWN = [{"at": 10, "rates": [4.0, 8.0, 4.0], "own_us": [9.0], "memory_mb": [22.0, 14.0]},
         {"at": 1000, "rates": [2.0, 4.0, 4.0], "own_us": [9.0], "memory_mb": [23.0, 14.0]}]
ROUNDS = {
    "none": [one(1000, 50), one(2000, 50), one(1000, 60)],
    "rules": [one(900, 55), one(1800, 60), one(900, 65)],
    "fast": [one(500, 95, queued=2), one(1600, 100, queued=2), one(700, 105, queued=2)],
    "strict": [one(400, 150, queued=4), one(800, 150, queued=4), one(400, 150, queued=4, through=3)],
}


def test_a_ratio_is_taken_within_a_round() -> None:
    """Not of medians: the machine may have been busy in one round."""
    assert table.ratio(ROUNDS, "fast", "http") == 0.7
    assert table.added(ROUNDS, "fast", "http", lambda half: half.gateway_us) == 50


def test_who_lets_a_blocked_flow_through_is_disqualified() -> None:
    """In whichever round; and it is said in its row. Who is not to block is not."""
    assert table.disqualified(ROUNDS["strict"], decides=True) == "lets 3 blocked flows through"
    assert table.disqualified(ROUNDS["strict"], decides=False) == ""
    row = table.rates(ROUNDS, {"strict": "lets 3 blocked flows through"}).splitlines()[-1]
    assert row.startswith("strict")
    assert row.endswith("lets 3 blocked flows through")


def test_who_cannot_carry_the_load_is_named() -> None:
    """The time to first byte is then that of flows that wait."""
    late = one(1000, 50)
    late.half["tls"] = Half(500, 400, 1e5, 1e6, 50, 20, 15)
    rows = table.costs({**ROUNDS, "late": [late] * 3}, "tls").splitlines()
    assert [row.endswith("(more than it could carry)") for row in rows] == [False] * 5 + [True]


def test_the_model_gives_back_what_was_measured() -> None:
    """forward + fixed + packets x packet is the CPU time that the gateway took."""
    of = page.constants(ROUNDS, "fast", "tls")
    assert of == {"forward": 50, "fixed": 10, "packets": 2, "packet": 20}
    assert page.carries(4, of, load=0.5) == pytest.approx(4 * 0.5 * 1e6 / 100)


def test_the_page_keeps_what_is_written_by_hand() -> None:
    """Only the marked part changes, however often."""
    text = f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n"
    once = page.fill(text, "new")
    assert once == f"before\n{page.BEGIN}\nnew\n{page.END}\nafter\n"
    assert page.fill(once, "new") == once
    with pytest.raises(ValueError, match="no marked part"):
        page.fill("nothing", "new")


def test_plots_are_svg() -> None:
    """One bar for each contender that is not disqualified; a line for each mode; names cannot break out."""
    result = {"machine": MACHINE, "rounds": 3, "names": 10, "workers": 2, "left out": {"squid": ["squid"]},
              "disqualified": {"strict": "lets 3 blocked flows through"},
              "growth": {"names": {"fast": GROWN}}}
    drawn = page.plots(result, ROUNDS)
    assert set(drawn) == {"bench-http.svg", "bench-tls.svg", "bench-download.svg", "bench-cpu.svg", "bench-names.svg"}
    assert ElementTree.fromstring(drawn["bench-http.svg"]).findall(".//*[@height='18']").__len__() == 3  # noqa: S314
    ElementTree.fromstring(plot.bars("<&>", "", {"<b>": 1.0}))  # noqa: S314  our own
    said = page.measured(result, ROUNDS)
    assert "Left out, for want of squid: squid." in said
    assert "1,000               4     0.50     0.50       9  23 + 14" in said
    assert "Disqualified: strict: lets 3 blocked flows through." in said


def test_rounds_go_into_json() -> None:
    """With every figure."""
    read = json.loads(json.dumps(asdict(ROUNDS["fast"][0])))
    assert read["half"]["tls"]["gateway_us"] == 95
    assert read["rates"]["http"] == 500


@pytest.mark.parametrize(("count", "change"), [(103.0, 0.03), (90.0, -0.1)])
def test_the_guard_compares_shares(count: float, change: float) -> None:
    """Of the baseline's count."""
    [(mode, *counts, grown)] = check.compare({"fast": count}, {"fast": 100.0})
    assert (mode, counts) == ("fast", [count, 100.0])
    assert grown == pytest.approx(change)
