"""A draft, taken the whole way: TOML, our loader, our policy."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path

import msgspec

from nfqdpi import assemble
from nfqdpi.config import Config, load
from nfqdpi.config.values import Domain
from nfqdpi.core.decision import Client
from nfqdpi.importers.draft import Draft
from nfqdpi.importers.toml import render
from nfqdpi.policy.model import Policy

LOOPBACK = 1  # the index of "lo", the one interface that every machine has


def config_of(draft: Draft) -> Config:
    """What our loader makes of the file."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "nfqdpi.toml")
        file.write_text(render(draft, "by a test"), encoding="utf-8")
        return load(file)


def policy_of(draft: Draft, contents: Mapping[str, list[str]]) -> Policy:
    """The policy, with the names of each list (by URL) written into the rules: what lists are is others' affair."""
    config = config_of(draft)
    names = {one.name: [Domain(f"={name}") for name in contents[one.url]] for one in config.list}
    nothing = Domain("none.invalid")  # a rule without any name would be for every name
    rules = tuple(
        msgspec.structs.replace(rule, lists=(), domains=(
            *rule.domains, *(name for one in rule.lists for name in (nothing, *names[one]))))
        for rule in config.rule)
    return assemble.policy(msgspec.structs.replace(config, rule=rules))


def client(address: str, mac: str = "", interface: int = 0) -> Client:
    return Client(ip_address(address).packed, bytes.fromhex(mac.replace(":", "")), interface)


def lost(draft: Draft) -> list[str]:
    return [f"{remark.place}: {remark.text}: {remark.why}" for remark in draft.remarks if remark.lost]
