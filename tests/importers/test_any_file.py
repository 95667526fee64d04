"""Whatever a file holds, an import of it is a draft that our loader takes, or a reason."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nfqdpi.importers import adguard, opensync, pihole
from nfqdpi.importers.draft import Draft, SourceError
from tests.importers.judge import config_of
from tests.importers.test_pihole import HOUSEHOLD, teleporter_5

Convert = Callable[[Path], Draft]

IMPORTERS: dict[str, Convert] = {
    "pihole": pihole.convert, "adguard": partial(adguard.convert, services={"tube": "https://x/tube"}),
    "opensync": partial(opensync.convert, categories={1: "https://x/1"}, table=None)}

words = st.sampled_from(["", "in", "out", "sfr_in", "drop", "allow", "a.example", "10.0.0.1", "aa:bb:cc:dd:ee:01",
                         "tube", "Local", "8h", "set", "map", "||x.example^", "https://x/1", "1",
                         "\x00", "\U0001f600", "*", "\ud800", "by hand 1"])
values = st.recursive(st.none() | st.booleans() | st.integers(-2, 300) | st.floats() | words,
                      lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
                      max_leaves=6)


def draft_or_reason(convert: Convert, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (file := Path(folder, "file")).write_bytes(content)
        try:
            draft = convert(file)
        except SourceError:
            return
    config_of(draft)


@pytest.mark.parametrize("source", IMPORTERS)
@given(content=st.binary(max_size=200))
def test_any_bytes(source: str, content: bytes) -> None:
    """No file makes an importer fail otherwise."""
    draft_or_reason(IMPORTERS[source], content)


def test_a_pi_hole_is_a_regular_file(tmp_path: Path) -> None:
    """A pipe is not waited for, and a device not read for ever."""
    os.mkfifo(tmp_path / "pipe")
    for file in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(SourceError, match="no regular file"):
            pihole.convert(file)


@given(st.lists(st.dictionaries(st.sampled_from(
    ["policy", "name", "idx", "action", "mac_op", "macs", "fqdn_op", "fqdns", "fqdncat_op", "fqdncats", "ipaddr_op",
     "ipaddrs", "risk_op", "redirect", "next", "log"]), values), min_size=1, max_size=4))
def test_any_rows_of_opensync(rows: Any) -> None:
    """Columns with values that the schema does not allow."""
    draft_or_reason(IMPORTERS["opensync"], json.dumps(rows).encode())


_SECTIONS = ["dns", "filtering", "filters", "whitelist_filters", "user_rules", "clients"]
_KEYS = ["enabled", "url", "name", "ids", "schedule", "persistent", "use_global_settings",
         "use_global_blocked_services", "blocked_services", "filtering_enabled", "filters_update_interval", "mon",
         "start", "end", "time_zone", "rewrites"]
_nodes = st.recursive(values, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
    st.sampled_from(_KEYS), inner, max_size=4), max_leaves=12)


@given(st.dictionaries(st.sampled_from(_SECTIONS), _nodes))
def test_any_settings_of_adguard_home(source: Any) -> None:
    """Keys with values of another kind."""
    draft_or_reason(IMPORTERS["adguard"], yaml.safe_dump(source).encode())


@given(st.sampled_from(list(HOUSEHOLD)), st.sampled_from(
    ["id", "type", "domain", "enabled", "address", "name", "ip", "comment", "group_id", "client_id"]), values)
def test_any_table_of_pi_hole(table: str, column: str, value: Any) -> None:
    """A column with a value that the schema does not allow."""
    rows = [{**row, column: value} if n == 0 else row for n, row in enumerate(HOUSEHOLD[table])]
    with tempfile.TemporaryDirectory() as folder:
        teleporter_5({**HOUSEHOLD, table: rows}, file := Path(folder, "export.tar.gz"))
        content = file.read_bytes()
    draft_or_reason(IMPORTERS["pihole"], content)
