"""The configuration to the parts that it describes: policy and engine."""

from __future__ import annotations

from ipaddress import ip_network

from nfqdpi import plugins
from nfqdpi.config import Config
from nfqdpi.core.decision import Limits
from nfqdpi.core.engine import Engine
from nfqdpi.core.verdict import Verdict
from nfqdpi.policy.model import Policy, Rule
from nfqdpi.policy.names import Pattern

_ACTIONS = {"accelerate": Verdict.ACCELERATE, "inspect": Verdict.INSPECT, "block": Verdict.BLOCK}


def policy(config: Config) -> Policy:
    """The rules in order; one without a name is called by its number."""
    clients = {group.name: tuple(ip_network(client) for client in group.clients) for group in config.group}
    rules = [
        Rule(
            name=rule.name or f"rule {number}",
            verdict=Verdict.BLOCK_SILENT if rule.action == "block" and rule.respond == "drop"
            else _ACTIONS[rule.action],
            patterns=tuple(Pattern.parse(domain) for domain in rule.domains),
            clients=tuple(net for group in rule.groups for net in clients[group]) if rule.groups else None,
        )
        for number, rule in enumerate(config.rule, 1)
    ]
    return Policy(rules, _ACTIONS[config.policy.default])


def engine(config: Config) -> Engine:
    """A new engine with every installed classifier. Raises plugins.PluginError."""
    inspect = config.inspect
    limits = Limits(inspect.max_bytes, inspect.max_segments, inspect.timeout, inspect.max_flows)
    return Engine(plugins.load(), policy(config), config.exceptions, limits=limits, strict=inspect.mode == "strict",
                  simulate=config.simulated)
