"""AdGuard Home's configuration, beside a small AdGuard Home that reads the same file."""

from __future__ import annotations

import re
import tempfile
from datetime import datetime
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nfqdpi.importers import adguard
from nfqdpi.importers.draft import Draft, SourceError
from tests.importers.judge import client, config_of, lost, policy_of

SERVICES = {"tube": "https://l.example/tube", "chat": "https://l.example/chat"}


def convert(source: Any) -> Draft:
    with tempfile.TemporaryDirectory() as folder:
        (file := Path(folder, "AdGuardHome.yaml")).write_text(yaml.safe_dump(source))
        return adguard.convert(file, SERVICES)


class Home:
    """Its decision, from the file, without any cleverness; ``contents``: of filters and services, by URL."""

    def __init__(self, source: dict[str, Any], contents: dict[str, list[str]]) -> None:
        self.source, self.contents = source, contents

    def blocks(self, name: str, address: str, mac: str, now: float) -> bool:
        filtering, blocked = self.source["filtering"]["filtering_enabled"], self.source["filtering"]["blocked_services"]
        if mine := self.client(address, mac):
            if not mine["use_global_settings"]:
                filtering = mine["filtering_enabled"]
            if not mine["use_global_blocked_services"]:
                blocked = mine["blocked_services"]
        if filtering:
            if self.on(name, "whitelist_filters"):
                return False
            hits = {(rule.startswith("@@"), rule.endswith("$important"))
                    for rule in self.source["user_rules"] if self.hits(rule, name)}
            for important in (True, False):
                for exception in (True, False):
                    if (exception, important) in hits:
                        return not exception
            if self.on(name, "filters"):
                return True
        return not self.paused(blocked["schedule"], now) and any(
            name in self.contents[SERVICES[service]] for service in blocked["ids"])

    def on(self, name: str, key: str) -> bool:
        return any(name in self.contents[one["url"]] for one in self.source[key] if one["enabled"])

    def client(self, address: str, mac: str) -> dict[str, Any] | None:
        found = {}
        for one in self.source["clients"]["persistent"]:
            for text in one["ids"]:
                if text == mac:
                    found[-1] = one
                elif re.fullmatch("(..:){5}..", text) is None and ip_address(address) in ip_network(text):
                    found[ip_network(text).prefixlen] = one
        return found[max(found)] if found else None

    @staticmethod
    def hits(rule: str, name: str) -> bool:
        text = rule.removeprefix("@@").removesuffix("$important")
        if text.startswith("/"):
            return bool(re.search(text.strip("/"), name))
        if text.startswith("||*."):
            return name.endswith(text[3:-1])
        if text.startswith("||"):
            return f".{name}".endswith(f".{text[2:-1]}")
        if text.startswith("|"):
            return name == text[1:-1]
        if text.startswith("*") or rule.startswith("@@"):
            return text.strip("*") in name
        return name == text.split()[-1]

    @staticmethod
    def paused(schedule: dict[str, Any], now: float) -> bool:
        moment = datetime.fromtimestamp(now, ZoneInfo(schedule["time_zone"]))
        pause = schedule.get(moment.strftime("%a").lower())
        if pause is None:
            return False
        start, end = (int(pause[key].partition("h")[0]) for key in ("start", "end"))
        return start <= moment.hour < end


NAMES = [f"{sub}{domain}" for domain in ("a.example", "b.example", "casino.net") for sub in ("", "www.", "x.www.")]
RULES = ["||a.example^", "||*.a.example^", "|www.a.example^", "b.example", "0.0.0.0 www.b.example", "*casino*",
         r"/^(.+\.)?b\.example$/", "||casino.net^", "||x.www.casino.net^"]
IDS = ["10.0.0.1", "10.0.0.0/24", "10.0.0.0/8", "fd00::/64", "aa:bb:cc:dd:ee:01", "aa:bb:cc:dd:ee:02"]
WHO = [("10.0.0.1", "aa:bb:cc:dd:ee:01"), ("10.0.0.2", "aa:bb:cc:dd:ee:01"), ("10.9.9.9", ""),
       ("172.16.0.1", "aa:bb:cc:dd:ee:02"), ("172.16.0.1", ""), ("fd00::2", "aa:bb:cc:dd:ee:02")]
NOWS = [datetime(2026, 11, 23, hour, tzinfo=ZoneInfo("Europe/Berlin")).timestamp() + 60 for hour in (0, 8, 9, 16, 23)]

schedules = st.fixed_dictionaries({"time_zone": st.just("Europe/Berlin")}, optional={
    day: st.sampled_from([("0h0m0s", "24h"), ("8h", "17h0m0s"), ("9h0m0s", "24h0m0s")]).map(
        lambda pause: dict(zip(("start", "end"), pause, strict=True)))
    for day in ("mon", "tue", "sun")})
services = st.fixed_dictionaries({"ids": st.lists(st.sampled_from(list(SERVICES)), unique=True), "schedule": schedules})
rules = st.tuples(st.sampled_from(["", "@@"]), st.sampled_from(RULES), st.sampled_from(["", "$important"])).map(
    "".join).filter(lambda rule: not (" " in rule and rule.startswith("@@")))


@st.composite
def homes(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, list[str]]]:
    filters = [[{"enabled": draw(st.booleans()), "url": f"https://l.example/{key}{n}", "name": key, "id": n}
                for n in range(2)] for key in ("block", "allow")]
    ids = draw(st.lists(st.sampled_from(IDS), unique=True, max_size=5))
    persistent = [{"name": f"client {n}", "ids": [id_], "use_global_settings": draw(st.booleans()),
                   "filtering_enabled": draw(st.booleans()), "use_global_blocked_services": draw(st.booleans()),
                   "blocked_services": draw(services)} for n, id_ in enumerate(ids)]
    source: dict[str, Any] = {"filters": filters[0], "whitelist_filters": filters[1], "schema_version": 29,
                              "user_rules": draw(st.lists(rules, max_size=6)), "clients": {"persistent": persistent},
                              "filtering": {"filtering_enabled": draw(st.booleans()),
                                            "blocked_services": draw(services)}}
    urls = [f"https://l.example/{key}{n}" for key in ("block", "allow") for n in range(2)] + list(SERVICES.values())
    return source, {url: draw(st.lists(st.sampled_from(NAMES), max_size=3)) for url in urls}


@given(homes())
def test_it_judges_as_adguard_home_does(home: tuple[dict[str, Any], dict[str, list[str]]]) -> None:
    """Whatever rules, filters, services, pauses and clients there are: every client is let have the same names."""
    source, contents = home
    draft = convert(source)
    assert not lost(draft)
    policy, theirs = policy_of(draft, contents), Home(source, contents)
    for now in NOWS:
        policy.set_time(now, frozenset())
        for address, mac in WHO:
            for name in NAMES:
                ours = policy.decide(name, client(address, mac)).verdict.blocks
                assert ours == theirs.blocks(name, address, mac, now), (name, address, mac, now)


def test_what_is_not_carried_over_is_named_with_its_place() -> None:
    """Each item by itself: rules that our patterns cannot say, services, searches, rewrites, clients known by DNS."""
    draft = convert({
        "dns": {"blocked_hosts": ["version.bind", "secret.example"], "disallowed_clients": ["10.0.0.9"]},
        "filters": [{"enabled": True, "url": "ftp://x", "name": "x", "id": 1},
                    {"enabled": False, "url": "https://x", "name": "y", "id": 2}],
        "user_rules": ["! comment", "# comment", "", "||x.example^$dnstype=A", "||x.example", "/ads[0-9]+/",
                       "example.org##.ad", "1.2.3.4 x.example", "||ok.example^", "@@||x.example/path"],
        "filtering": {"safe_search": {"enabled": True}, "parental_enabled": True, "protection_enabled": False,
                      "rewrites": [{"domain": "a.example", "answer": "10.0.0.1"}],
                      "blocked_services": {"ids": ["tube", "unknown"], "schedule": {"time_zone": "Local"}}},
        "clients": {"persistent": [{"name": "phone", "ids": ["my-phone", "10.0.0.5"]}]},
    })
    assert [line.split(": ")[:2] for line in lost(draft)] == [
        ["filters[0]", "ftp://x"], ["user_rules[3]", "||x.example^$dnstype=A"], ["user_rules[4]", "||x.example"],
        ["user_rules[5]", "/ads[0-9]+/"], ["user_rules[6]", "example.org##.ad"],
        ["user_rules[7]", "1.2.3.4 x.example"], ["user_rules[9]", "@@||x.example/path"],
        ["filtering.safe_search", "true"], ["filtering.parental_enabled", "true"],
        ["filtering.protection_enabled", "false"], ["filtering.rewrites[0]", "a.example -> 10.0.0.1"],
        ["dns.disallowed_clients", "10.0.0.9"], ["dns.blocked_hosts", "secret.example"],
        ["filtering.blocked_services", "unknown"], ["clients.persistent[0].ids", "my-phone"]]
    assert [(rule.name, rule.domains, rule.lists) for rule in config_of(draft).rule] == [
        ("everybody: blocked", ("ok.example",), ()), ("everybody: services", (), ("service-tube",))]


def test_old_files_say_the_same() -> None:
    """Before schema 28 the settings stood under dns, services and clients were plain lists."""
    draft = convert({"dns": {"filtering_enabled": True, "blocked_services": ["tube"]}, "user_rules": ["||a.example^"],
                     "filters": [], "clients": [{"name": "tv", "ids": ["10.0.0.7"], "use_global_settings": False,
                                                 "filtering_enabled": False, "use_global_blocked_services": False,
                                                 "blocked_services": ["chat"]}]})
    assert [(rule.name, rule.action, rule.groups) for rule in config_of(draft).rule] == [
        ("tv: services", "block", ("tv",)), ("tv: all else", "accelerate", ("tv",)),
        ("everybody: blocked", "block", ()), ("everybody: services", "block", ())]


def test_pauses_become_the_other_hours() -> None:
    """Services are blocked when they are not paused; a day without a pause is blocked whole; one zone for all."""
    pause = {"time_zone": "Europe/Berlin", "mon": {"start": "8h30m0s", "end": "17h0m0s"},
             "sat": {"start": "0s", "end": "24h0m0s"}}
    other = {"time_zone": "Asia/Tokyo", "mon": {"start": "1h", "end": "2h"}}
    draft = convert({"user_rules": [], "filtering": {"blocked_services": {"ids": ["tube"], "schedule": pause}},
                     "clients": {"persistent": [{
                         "name": "tv", "ids": ["10.0.0.7"], "use_global_blocked_services": False,
                         "blocked_services": {"ids": ["chat"], "schedule": other}}]}})
    config = config_of(draft)
    assert config.schedule[0].windows == ("mon 00:00-08:30", "mon 17:00-24:00", "tue,wed,thu,fri,sun 00:00-24:00")
    assert config.policy.time_zone == "Europe/Berlin"
    assert [line.split(": ")[0] for line in lost(draft)] == ["clients.persistent[0].blocked_services.schedule"]


@pytest.mark.parametrize("text", ["", "- a", "{", "a: b", "user_rules: 5", "filters: [1]", "clients: 7\nfilters: []",
                                  "!!python/object/apply:os.system ['true']", "\x00"])
def test_what_is_no_configuration_of_it_is_refused(text: str, tmp_path: Path) -> None:
    """With a reason, never with a traceback; and YAML makes no objects."""
    (tmp_path / "file").write_text(text)
    with pytest.raises(SourceError):
        adguard.convert(tmp_path / "file", {})
