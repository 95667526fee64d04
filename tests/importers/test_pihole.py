"""Pi-hole's exports, beside a small FTL that asks the tables themselves."""

from __future__ import annotations

import io
import json
import re
import sqlite3
import tarfile
import tempfile
import zipfile
from contextlib import closing
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfqdpi.importers import pihole
from nfqdpi.importers.draft import Draft, SourceError
from tests.importers.judge import LOOPBACK, client, config_of, lost, policy_of

Tables = dict[str, list[dict[str, Any]]]

# The columns that we read, as advanced/Templates/gravity.db.sql of pi-hole/pi-hole has them.
SCHEMA = """
CREATE TABLE "group" (id INTEGER PRIMARY KEY, enabled BOOLEAN, name TEXT, description TEXT);
CREATE TABLE domainlist (id INTEGER PRIMARY KEY, type INTEGER, domain TEXT, enabled BOOLEAN, comment TEXT);
CREATE TABLE adlist (id INTEGER PRIMARY KEY, address TEXT, enabled BOOLEAN, comment TEXT, type INTEGER);
CREATE TABLE adlist_by_group (adlist_id INTEGER, group_id INTEGER);
CREATE TABLE domainlist_by_group (domainlist_id INTEGER, group_id INTEGER);
CREATE TABLE client (id INTEGER PRIMARY KEY, ip TEXT, comment TEXT);
CREATE TABLE client_by_group (client_id INTEGER, group_id INTEGER);
"""
HOUSEHOLD: Tables = {
    "group": [{"id": 0, "enabled": 1, "name": "Default", "description": "The default group"},
              {"id": 1, "enabled": 1, "name": "Kids", "description": None},
              {"id": 2, "enabled": 0, "name": "Off", "description": None}],
    "adlist": [{"id": 1, "address": "https://lists.example/ads.txt", "enabled": 1, "comment": "ads & more", "type": 0},
               {"id": 2, "address": "https://lists.example/games.txt", "enabled": 1, "comment": None, "type": 0},
               {"id": 3, "address": "https://lists.example/old.txt", "enabled": 0, "comment": None, "type": 0}],
    "adlist_by_group": [{"adlist_id": 1, "group_id": 0}, {"adlist_id": 1, "group_id": 1},
                        {"adlist_id": 2, "group_id": 1}, {"adlist_id": 3, "group_id": 0}],
    "domainlist": [{"id": 1, "type": 0, "domain": "good.ads.example", "enabled": 1, "comment": "the shop\nneeds it"},
                   {"id": 2, "type": 1, "domain": "bad.example", "enabled": 1, "comment": ""},
                   {"id": 3, "type": 3, "domain": r"(\.|^)casino\.example$", "enabled": 1, "comment": None},
                   {"id": 4, "type": 3, "domain": r"^ad[0-9]+\.", "enabled": 1, "comment": None},
                   {"id": 5, "type": 3, "domain": r"track;querytype=A", "enabled": 1, "comment": None},
                   {"id": 6, "type": 3, "domain": r"spy;reply=NXDOMAIN", "enabled": 1, "comment": None}],
    "domainlist_by_group": [*({"domainlist_id": n, "group_id": 0} for n in range(1, 7)),
                            {"domainlist_id": 1, "group_id": 1}, {"domainlist_id": 6, "group_id": 2}],
    "client": [{"id": 1, "ip": "192.168.1.0/24", "comment": "the house"},
               {"id": 2, "ip": "192.168.1.7", "comment": "tablet"},
               {"id": 3, "ip": "AA:BB:CC:DD:EE:01", "comment": None}, {"id": 4, "ip": ":lo", "comment": None},
               {"id": 5, "ip": "laptop.lan", "comment": None}],
    "client_by_group": [{"client_id": 1, "group_id": 0}, {"client_id": 2, "group_id": 1},
                        {"client_id": 3, "group_id": 0}, {"client_id": 3, "group_id": 1},
                        {"client_id": 5, "group_id": 1}],
}


def database(tables: Tables, path: Path) -> None:
    with closing(sqlite3.connect(path)) as gravity:
        gravity.executescript(f"PRAGMA synchronous = OFF; {SCHEMA}")
        for table, rows in tables.items():
            for row in rows:
                marks = ", ".join("?" * len(row))
                gravity.execute(f'INSERT INTO "{table}" ({", ".join(row)}) VALUES ({marks})', list(row.values()))  # noqa: S608  a test's own
        gravity.commit()


def teleporter_6(tables: Tables, path: Path) -> None:
    """A zip with a reduced gravity.db and the settings."""
    database(tables, gravity := path.with_suffix(".db"))
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(gravity, "etc/pihole/gravity.db")
        archive.writestr("etc/pihole/pihole.toml", "[dns]\n")


def teleporter_5(tables: Tables, path: Path) -> None:
    """A tar with a JSON array for each table, the domains by their type; PHP writes numbers as numbers or as text."""
    files: dict[str, Any] = {f"{table}.json": rows for table, rows in tables.items() if table != "domainlist"}
    for kind, name in enumerate(("whitelist.exact", "blacklist.exact", "whitelist.regex", "blacklist.regex")):
        files[f"{name}.json"] = [{**row, "enabled": str(row["enabled"])} for row in tables["domainlist"]
                                 if row["type"] == kind]
    with tarfile.open(path, "w:gz") as archive:
        for name, rows in {**files, "setupVars.conf": []}.items():
            content = json.dumps(rows).encode()
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def convert(tables: Tables) -> Draft:
    with tempfile.TemporaryDirectory() as folder:
        database(tables, path := Path(folder, "gravity.db"))
        return pihole.convert(path)


class Ftl:
    """FTL's decision, from the tables, without any cleverness; ``contents``: of lists, by address."""

    def __init__(self, tables: Tables, contents: dict[str, list[str]]) -> None:
        self.tables, self.contents = tables, contents

    def blocks(self, name: str, address: str, mac: str, interface: str) -> bool:
        groups = self.groups(address, mac, interface)
        domains = [row for row in self.tables["domainlist"] if self.applies("domainlist", row, groups)]
        lists = [row for row in self.tables["adlist"] if self.applies("adlist", row, groups)]
        for kind, expression in ((0, False), (2, True)):
            if any(self.matches(row["domain"], name, expression) for row in domains if row["type"] == kind):
                return False
        if any(row["domain"] == name for row in domains if row["type"] == 1):
            return True
        for kind in (1, 0):
            if any(name in self.contents[row["address"]] for row in lists if row["type"] == kind):
                return kind == 0
        return any(self.matches(row["domain"], name, True) for row in domains if row["type"] == 3)

    def groups(self, address: str, mac: str, interface: str) -> set[int]:
        best: tuple[int, int] | None = None
        for row in self.tables["client"]:
            if row["ip"][0].isdigit() or "::" in row["ip"]:
                network = ip_network(row["ip"], strict=False)
                if ip_address(address) in network:
                    best = max(best or (0, 0), (network.prefixlen, row["id"]))
        chosen = best[1] if best else next(
            (row["id"] for how in (mac, f":{interface}") for row in self.tables["client"]
             if how and row["ip"].lower() == how), None)
        enabled = {row["id"] for row in self.tables["group"] if row["enabled"]}
        mine = {link["group_id"] for link in self.tables["client_by_group"] if link["client_id"] == chosen}
        return enabled & ({0} if chosen is None else mine)

    def applies(self, table: str, row: dict[str, Any], groups: set[int]) -> bool:
        return row["enabled"] and any(link[f"{table}_id"] == row["id"] and link["group_id"] in groups
                                      for link in self.tables[f"{table}_by_group"])

    @staticmethod
    def matches(text: str, name: str, expression: bool) -> bool:
        return bool(re.search(text.partition(";")[0], name)) if expression else text == name


NAMES = [f"{sub}{domain}" for domain in ("a.example", "b.example", "casino.net") for sub in ("", "www.", "x.www.")]
URLS = ["https://l.example/1", "https://l.example/2", "https://l.example/3"]
EXPRESSIONS = [r"(\.|^)a\.example$", r"^b\.example$", "casino", r"\.example$", r"^(.+\.)?(b|www)\.example$"]
CLIENTS = ["10.0.0.1", "10.0.0.0/24", "10.0.0.0/8", "fd00::/64", "fd00::1", "aa:bb:cc:dd:ee:01",
           "aa:bb:cc:dd:ee:02", ":lo"]
WHO = [("10.0.0.1", "aa:bb:cc:dd:ee:01", 0), ("10.0.0.2", "aa:bb:cc:dd:ee:01", 1), ("10.9.9.9", "", 1),
       ("172.16.0.1", "aa:bb:cc:dd:ee:02", 0), ("172.16.0.1", "", 1), ("172.16.0.1", "", 0), ("fd00::1", "", 0),
       ("fd00::2", "aa:bb:cc:dd:ee:02", 1)]


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Tables, dict[str, list[str]]]:
    ids, flags = range(3), st.booleans().map(int)
    tables: Tables = {"group": [{"id": n, "enabled": n == 0 or draw(flags), "name": f"g{n}"} for n in ids]}
    tables["client"] = [{"id": n, "ip": text} for n, text in
                        enumerate(draw(st.lists(st.sampled_from(CLIENTS), unique=True, max_size=5)))]
    tables["domainlist"] = [
        {"id": n, "type": kind, "enabled": int(draw(st.integers(0, 4)) > 0),
         "domain": draw(st.sampled_from(EXPRESSIONS if kind > 1 else NAMES))}
        for n, kind in enumerate(draw(st.lists(st.integers(0, 3), max_size=6)))]
    tables["adlist"] = [{"id": n, "address": url, "enabled": draw(flags), "type": draw(flags)}
                        for n, url in enumerate(URLS)]
    for table in ("client", "domainlist", "adlist"):
        tables[f"{table}_by_group"] = [{f"{table}_id": row["id"], "group_id": group} for row in tables[table]
                                       for group in draw(st.sets(st.sampled_from(ids)))]
    return tables, {url: draw(st.lists(st.sampled_from(NAMES), max_size=3)) for url in URLS}


@given(worlds())
def test_it_judges_as_pi_hole_does(world: tuple[Tables, dict[str, list[str]]]) -> None:
    """Whatever groups, clients, domains and lists there are: every client is let have the same names."""
    tables, contents = world
    draft, ftl = convert(tables), Ftl(tables, contents)
    assert not lost(draft)
    policy = policy_of(draft, contents)
    for address, mac, interface in WHO:
        for name in NAMES:
            theirs = ftl.blocks(name, address, mac, "lo" if interface else "")
            ours = policy.decide(name, client(address, mac, LOOPBACK if interface else 0)).verdict.blocks
            assert ours == theirs, (name, address, mac, interface)


@pytest.mark.parametrize(("write", "file", "others"), [
    (database, "gravity.db", []), (teleporter_6, "export.zip", ["etc/pihole/pihole.toml"]),
    (teleporter_5, "export.tar.gz", ["setupVars.conf"]),
])
def test_every_form_of_export_says_the_same(write: Any, file: str, others: list[str], tmp_path: Path) -> None:
    """The database, Teleporter of version 6, Teleporter of version 5; what else an archive has is named."""
    write(HOUSEHOLD, tmp_path / file)
    draft = pihole.convert(tmp_path / file)
    assert config_of(draft) == config_of(convert(HOUSEHOLD))
    assert [remark.place for remark in draft.remarks if "settings of Pi-hole" in remark.why] == others


def test_a_zip_of_a_database_in_wal_mode(tmp_path: Path) -> None:
    """Somebody else's zip of a gravity.db as it lay there."""
    database(HOUSEHOLD, gravity := tmp_path / "gravity.db")
    with closing(sqlite3.connect(gravity)) as file:
        file.execute("PRAGMA journal_mode = WAL")
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        archive.write(gravity, "etc/pihole/gravity.db")
    assert config_of(pihole.convert(tmp_path / "export.zip")) == config_of(convert(HOUSEHOLD))


def test_an_interface_that_our_rules_cannot_name_is_lost_alone() -> None:
    """One that begins with a hyphen: all else is carried over."""
    tables = HOUSEHOLD | {"client": [*HOUSEHOLD["client"], {"id": 77, "ip": ":-x", "comment": ""}]}
    draft = convert(tables)
    assert config_of(draft) == config_of(convert(HOUSEHOLD))
    assert any(remark.place == "client id 77" and remark.lost for remark in draft.remarks)


def test_a_household() -> None:
    """Groups of clients in the order of exactness, comments beside what they are about, and each loss named."""
    draft = convert(HOUSEHOLD)
    config = config_of(draft)
    assert [(group.name, group.clients, group.interfaces) for group in config.group] == [
        ("Kids", ("192.168.1.7/32",), ()), ("Default", ("192.168.1.0/24",), ()),
        ("Default + Kids", ("aa:bb:cc:dd:ee:01",), ()), ("Kids 2", ("laptop.lan",), ()), ("in no group", (), ("lo",))]
    assert [one.url for one in config.list] == ["https://lists.example/ads.txt", "https://lists.example/games.txt"]
    assert (draft.comments["pihole-1"], draft.comments["=good.ads.example"]) == ("ads & more", "the shop\nneeds it")
    assert lost(draft) == [
        "domainlist id 4: ^ad[0-9]+\\.: it matches the beginning of a name",
        "domainlist id 5: track;querytype=A: our patterns have no 'querytype=A'"]
    told = [remark.place for remark in draft.remarks if not remark.lost]
    assert told == ["group id 2", "client id 5", "domainlist id 6", "adlist id 3"]


@pytest.mark.parametrize(("content", "why"), [
    (b"", "neither an archive"), (b"PK\x03\x04 no zip", "neither an archive"), (b"text", "neither an archive"),
    (b"SQLite format 3\x00" + b"x" * 100, "neither an archive"),
])
def test_what_is_no_export_is_refused(content: bytes, why: str, tmp_path: Path) -> None:
    """With a reason, never with a traceback."""
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(SourceError, match=why):
        pihole.convert(tmp_path / "file")


def test_tables_of_another_program_are_refused(tmp_path: Path) -> None:
    """A database that is not Pi-hole's, and one with other columns."""
    with closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE t (x)")
    with pytest.raises(SourceError, match="no such table"):
        pihole.convert(tmp_path / "other.db")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme", "")
    with pytest.raises(SourceError, match=r"without etc/pihole/gravity\.db"):
        pihole.convert(tmp_path / "other.zip")
