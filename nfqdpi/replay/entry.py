"""What is known of one captured flow, and the row that it becomes."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Any

from nfqdpi.core.classifier import Classification
from nfqdpi.core.decision import Judgement, Outcome
from nfqdpi.core.packet import FlowKey
from nfqdpi.core.verdict import Reason, Verdict


@dataclass(slots=True)
class Entry:
    """What conntrack would hold of a flow, and what the engine said of it.

    ``number``: how many began before it. ``key`` is in the original direction; while ``sided`` is False, in the
    first packet's. ``base`` and ``server_base`` are the sequence numbers by the SYN and the SYN+ACK, None if not
    captured; ``early``: payload bytes in the SYN; ``again``: it came once more, behind payload. ``ready``: the
    engine knows what it would on the gateway; ``over``: nothing more of the flow is looked at. ``told``: the first
    judgement that knows a protocol, or else the first; ``blocked``: the outcome that ended the flow, maybe later.
    """

    number: int
    key: FlowKey
    base: int | None
    sided: bool
    ready: bool = False
    over: bool = False
    early: int = 0
    server_base: int | None = None
    again: bool = False
    closed: bool = False
    mark: Verdict = Verdict.UNSEEN
    told: Judgement | None = None
    blocked: Outcome | None = None

    def tell(self, judgement: Judgement) -> None:
        """Take note of a judgement."""
        if self.told is None or (self.told.classification is None and judgement.classification is not None):
            self.told = judgement
        if judgement.outcome.verdict.blocks and self.blocked is None:
            self.blocked = judgement.outcome

    @property
    def recognised(self) -> bool:
        """True where a protocol was."""
        found = self.told.classification if self.told is not None else None
        return found is not None and found.protocol != ""

    def row(self, pcap: str) -> dict[str, Any]:
        """The flow's line of output: name and protocol as first judged, the verdict that it came to."""
        told = self.told
        key = told.key if told is not None and self.recognised else self.key
        outcome = self.blocked or (Outcome(self.mark, Reason.NEED_MORE) if told is None else told.outcome)
        found = None if told is None else told.classification
        return {
            "pcap": pcap,
            "proto": None if found is None else found.protocol,
            "src": _address(key.src), "sport": key.sport, "dst": _address(key.dst), "dport": key.dport,
            "name": None if found is None else _said(found),
            "verdict": outcome.verdict.name.lower(),
            "reason": str(outcome.reason),
            "rule": outcome.rule,
        }


def _said(found: Classification) -> str | None:
    """The first name that the flow itself says; one that only DNS knows of it is none of these."""
    joined = found.attributes.get("dns")
    return next((name for name in found.names if name != joined), None)


def _address(packed: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)
