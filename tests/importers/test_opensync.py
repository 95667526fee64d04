"""Rows of FSM_Policy, beside a small FSM that asks them one after another."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nfqdpi.importers import opensync
from nfqdpi.importers.draft import Draft, SourceError
from tests.importers.judge import client, config_of, lost, policy_of

CATEGORIES = {1: "https://l.example/1", 20: "https://l.example/20"}
MACS = ["aa:bb:cc:dd:ee:01", "aa:bb:cc:dd:ee:02", "aa:bb:cc:dd:ee:03"]
NAMES = [f"{sub}{domain}" for domain in ("a.example", "b.example", "xa.example", "casino.net") for sub in ("", "www.")]
# From the scripts that come with OpenSync, src/lib/fsm_utils.
INSERT = """["Open_vSwitch", {"op": "insert", "table": "FSM_Policy", "row": {"policy": "dev_webpulse",
 "name": "dev_wp_adult", "idx": 0, "action": "drop", "log": "blocked", "fqdncat_op": "in", "fqdncats": ["set", [1,20]],
 "redirect": "A-18.204.152.241"}}]"""


def convert(text: str, table: str | None = None) -> Draft:
    with tempfile.TemporaryDirectory() as folder:
        (file := Path(folder, "rows.json")).write_text(text)
        return opensync.convert(file, CATEGORIES, table)


def fsm_blocks(rows: list[dict[str, Any]], contents: dict[str, list[str]], name: str, mac: str) -> bool:
    """As FSM is documented: the first row that matches and has an action."""
    def one_of(name: str, texts: list[str], how: str) -> bool:
        return any(name == text or (how == "sfr" and name.endswith("." + text.removeprefix("."))) for text in texts)

    for row in sorted(rows, key=lambda row: row["idx"]):
        conditions = []
        if "mac_op" in row:
            conditions.append((mac in row["macs"]) == (row["mac_op"] == "in"))
        if "fqdn_op" in row:
            how, _, op = row["fqdn_op"].rpartition("_")
            conditions.append(one_of(name, row["fqdns"], how) == (op == "in"))
        if "fqdncat_op" in row:
            listed = any(name in contents[CATEGORIES[number]] for number in row["fqdncats"])
            conditions.append(listed == (row["fqdncat_op"] == "in"))
        if all(conditions) and "action" in row:
            return bool(row["action"] == "drop")
    return False


def _set(items: st.SearchStrategy[Any], least: int = 0) -> st.SearchStrategy[list[Any]]:
    return st.lists(items, unique=True, min_size=least, max_size=3)


ops = st.sampled_from(["in", "in", "in", "out"])
devices = st.none() | st.fixed_dictionaries({"mac_op": ops, "macs": _set(st.sampled_from(MACS))})
name_ops = st.sampled_from(["in", "in", "sfr_in", "sfr_in", "wild_in", "out", "sfr_out"])
domains = st.fixed_dictionaries({
    "fqdn_op": name_ops, "fqdns": _set(st.sampled_from(["a.example", "b.example", "www.a.example", "net"]))})
listed = st.fixed_dictionaries({"fqdncat_op": ops, "fqdncats": _set(st.sampled_from(list(CATEGORIES)))})
actions = st.none() | st.sampled_from(["allow", "drop"]).map(lambda action: {"action": action})
rows_of_one_table = st.lists(st.tuples(devices, st.none() | domains | listed, actions), max_size=6).map(lambda found: [
    {"policy": "p", "idx": n, "name": f"row {n}"} | (who or {}) | (what or {}) | (action or {})
    for n, (who, what, action) in enumerate(found)])


@given(rows_of_one_table.filter(bool), st.fixed_dictionaries(
    {url: st.lists(st.sampled_from(NAMES), max_size=3) for url in CATEGORIES.values()}))
def test_it_judges_as_fsm_does(rows: list[dict[str, Any]], contents: dict[str, list[str]]) -> None:
    """Whatever rows there are, if nothing of them is lost: every device is let have the same names."""
    draft = convert(json.dumps(rows))
    assume(not lost(draft))
    policy = policy_of(draft, contents)
    for mac in (*MACS, "aa:bb:cc:dd:ee:99", ""):
        for name in NAMES:
            ours = policy.decide(name, client("10.0.0.1", mac)).verdict.blocks
            assert ours == fsm_blocks(rows, contents, name, mac), (name, mac)


@pytest.mark.parametrize("text", [
    INSERT,
    '{"policy": "t", "name": "dev_wp_adult", "action": "drop", "idx": 0, "log": "blocked",'
    ' "fqdncat_op": ["set", ["in"]], "fqdncats": [1, 20],'
    ' "redirect": ["set", ["A-18.204.152.241"]], "macs": ["set", []], "mac_op": ["set", []]}',
    '[{"rows": [{"_uuid": ["uuid", "1-2"], "name": "dev_wp_adult", "action": "drop", "idx": 0, "log": "blocked",'
    ' "fqdncat_op": "in", "fqdncats": ["set", [1, 20]], "redirect": "A-18.204.152.241",'
    ' "other_config": ["map", []]}]}]',
    '{"caption": "FSM_Policy table",'
    ' "headings": ["name", "action", "idx", "log", "fqdncat_op", "fqdncats", "redirect"],'
    ' "data": [["dev_wp_adult", "drop", 0, "blocked", "in", ["set", [1, 20]], "A-18.204.152.241"]]}\n'
    '{"caption": "AWLAN_Node table", "headings": ["id"], "data": [["x"]]}',
])
def test_every_form_of_rows_says_the_same(text: str) -> None:
    """Requests, rows, answers and dumps; a redirection is noted, which takes nothing away from the verdict."""
    draft = convert(text)
    rule, = config_of(draft).rule
    assert (rule.name, rule.action, rule.log) == ("dev_wp_adult", "block", True)
    assert rule.lists == ("category-1", "category-20")
    assert not lost(draft)
    assert "no redirection to A-18.204.152.241" in draft.remarks[0].why


def test_rows_that_speak_of_all_others() -> None:
    """Out of a set: its devices have a block of their own, its names a rule in front."""
    draft = convert(json.dumps([
        {"idx": 1, "name": "guests", "mac_op": "out", "macs": [MACS[0]], "fqdn_op": "sfr_out",
         "fqdns": ["school.example"], "action": "drop", "log": "all"}]))
    assert [(rule.name, rule.action, rule.domains, rule.groups) for rule in config_of(draft).rule] == [
        ("devices 1: all else", "accelerate", (), ("devices 1",)),
        ("guests: but not these", "accelerate", ("school.example",), ()), ("guests", "block", (), ())]


@pytest.mark.parametrize(("row", "why"), [
    ({"fqdn_op": "sfl_in", "fqdns": ["ads."]}, "beginnings of names"),
    ({"fqdn_op": "wild_in", "fqdns": ["*.a.example"]}, "wildcard"),
    ({"fqdn_op": "sfl_out", "fqdns": ["ads."]}, "beginnings of names"),
    ({"fqdn_op": "in", "fqdns": ["a.example"], "fqdncat_op": "in", "fqdncats": [1]}, "of which both must match"),
    ({"fqdncat_op": "in", "fqdncats": [7]}, "--category"), ({"fqdncat_op": "out", "fqdncats": [1, 7]}, "--category"),
    ({"risk_op": "gt", "risk_level": 7}, "risk level"), ({"app_op": "in", "apps": ["x"]}, "applications"),
    ({"ipaddr_op": "in", "ipaddrs": ["192.0.2.1"]}, "addresses of servers: 192.0.2.1"),
    ({"action": "flush"}, "'flush'"), ({"action": "gatekeeper"}, "'gatekeeper'"),
    ({"mac_op": "in", "macs": ["${kids}"]}, "tags"), ({"mac_op": "other"}, "unknown"),
])
def test_a_row_that_cannot_be_said_is_lost_whole(row: dict[str, Any], why: str) -> None:
    """Named with its table and index, never half carried over."""
    draft = convert(json.dumps([{"policy": "p", "idx": 3, "name": "it", "action": "drop"} | row]))
    assert not draft.rules
    assert any(line.startswith("p idx 3: ") and why in line for line in lost(draft))


@pytest.mark.parametrize(("row", "why"), [
    ({"fqdn_op": "in", "fqdns": ["a.example", "a..b"]}, "is not a domain pattern"),
    ({"next": ["map", [["other", 1]]]}, "goes on in other"), ({"action": "update_tag"}, "no tag is updated"),
    ({"mac_op": "in", "macs": ["${kids}", MACS[0]]}, "the tag ${kids}"),
    ({"fqdncat_op": "in", "fqdncats": [1, 7]}, "category 7"),
])
def test_what_a_row_loses_is_named(row: dict[str, Any], why: str) -> None:
    """The rest of it is carried over."""
    draft = convert(json.dumps([{"policy": "p", "idx": 3, "name": "it", "action": "drop"} | row]))
    assert len(draft.rules) == 1
    assert [why in line for line in lost(draft)] == [True]


def test_names_outside_of_a_set_before_a_row_for_some() -> None:
    """That would take an intersection of patterns; it is lost."""
    draft = convert(json.dumps([
        {"idx": 1, "name": "one", "fqdn_op": "out", "fqdns": ["a.example"], "action": "drop"},
        {"idx": 2, "name": "two", "fqdn_op": "in", "fqdns": ["b.example"], "action": "drop"}]))
    assert [rule.name for rule in draft.rules] == ["two"]
    assert len(lost(draft)) == 1


def test_one_policy_table_at_a_time() -> None:
    """FSM asks one table for each plugin: which is ours has to be said."""
    rows = json.dumps([{"policy": name, "idx": 0, "name": name, "action": "drop"} for name in ("dns", "http")])
    with pytest.raises(SourceError, match="--table says which: dns, http"):
        convert(rows)
    with pytest.raises(SourceError, match="no policy table 'x'"):
        convert(rows, "x")
    assert [rule.name for rule in convert(rows, "http").rules] == ["http"]


@pytest.mark.parametrize("text", ["", "[]", "{", '"x"', "7", '[{"rows": []}]', '{"idx": "x", "action": "drop"}',
                                  '{"fqdncat_op": "in", "fqdncats": ["x"], "action": "drop"}',
                                  "[" * 100_000, '{"headings": ["a"], "data": [[1, 2]]}'])
def test_what_is_no_row_is_refused(text: str) -> None:
    """With a reason, never with a traceback."""
    with pytest.raises(SourceError):
        convert(text)
