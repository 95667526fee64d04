"""From the configuration to the firewall's rule set."""

from __future__ import annotations

from nfqdpi.config.model import Config
from nfqdpi.kernel.ruleset import RuleSet


def ruleset(config: Config) -> RuleSet:
    """The rules that the configuration asks for. Raises ValueError where no rules can express it."""
    queue = config.queue
    return RuleSet(
        field=config.field,
        ports=queue.ports,
        first_queue=queue.first,
        queues=config.worker_count,
        strict=config.inspect.mode == "strict",
        bypass=config.bypass,
        reject_quic=queue.quic == "reject",
        lan=queue.lan,
        wan=queue.wan,
    )
