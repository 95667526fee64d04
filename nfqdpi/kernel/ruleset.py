"""What the firewall rules depend on, and their text: the templates in ``iptables/`` filled in."""

from __future__ import annotations

import importlib.resources
import re
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from itertools import product
from pathlib import Path
from string import Template
from typing import Literal

from nfqdpi.core.verdict import MarkField, Verdict

Family = Literal[4, 6]

# --- iptables' limits ---
_MOST_PORTS = 15  # xt_multiport.h: XT_MULTI_PORTS
_INTERFACE = re.compile(r"[A-Za-z0-9_.@+-]{1,15}", re.ASCII)  # IFNAMSIZ less the NUL; a last + matches any ending


@dataclass(frozen=True, slots=True)
class RuleSet:
    """What the rules depend on. ``ports`` are TCP ports, the queues are ``first_queue`` and the following ones.
    ``udp``: ports of which clients' datagrams are queued, ``udp_both``: of which servers' are, too.

    ``lan`` or ``wan`` alone: flows that enter or leave by one of these interfaces; both: flows between the two.
    Raises ValueError on what iptables could not take.
    """

    field: MarkField = MarkField()  # noqa: RUF009  frozen
    ports: tuple[int, ...] = (80, 443)
    first_queue: int = 0
    queues: int = 1
    strict: bool = True
    bypass: bool = True
    quic: Literal["inspect", "reject", "ignore"] = "reject"
    udp: tuple[int, ...] = ()
    udp_both: tuple[int, ...] = ()
    lan: tuple[str, ...] = ()
    wan: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for kind, ports in (("TCP", self.ports), ("UDP", (*self.udp, *self.udp_both))):
            if len(ports) > _MOST_PORTS or not all(0 < port <= 0xFFFF for port in ports):
                raise ValueError(f"at most {_MOST_PORTS} {kind} ports between 1 and 65535, not {ports}")
        if not self.ports:
            raise ValueError("no TCP ports")
        if self.first_queue < 0 or self.queues < 1 or self.first_queue + self.queues > 0x10000:
            raise ValueError(f"{self.queues} queues from {self.first_queue} do not lie within 0 and 65535")
        for name in (*self.lan, *self.wan):
            if not _INTERFACE.fullmatch(name) or name.startswith("-"):
                raise ValueError(f"{name!r} is not an interface's name")

    @property
    def queue_options(self) -> str:
        """NFQUEUE's options. With --queue-balance the kernel hashes the address pair, the same in both directions."""
        last = self.first_queue + self.queues - 1
        queue = f"--queue-num {last}" if self.queues == 1 else f"--queue-balance {self.first_queue}:{last}"
        return queue + " --queue-bypass" * self.bypass

    @property
    def interfaces(self) -> tuple[str, ...]:
        """The matches on interfaces, one a rule; none where every flow is meant."""
        if self.lan and self.wan:
            pairs = product(self.lan, self.wan)
            return tuple(f"-i {a} -o {b}" for lan, wan in pairs for a, b in ((lan, wan), (wan, lan)))
        return self.beside

    @property
    def beside(self) -> tuple[str, ...]:
        """The same, of what the router's own servers are asked, by the LAN's clients where that is named."""
        return tuple(f"{way} {name}" for name in self.lan or self.wan for way in ("-i", "-o"))


def render(ruleset: RuleSet, family: Family) -> str:
    """The rules as text for ``iptables-restore --noflush`` (family 4) or ``ip6tables-restore --noflush`` (6)."""
    field = ruleset.field
    values = {verdict.name.lower(): f"{field.value(verdict):#x}" for verdict in Verdict}
    values |= {"mask": f"{field.mask:#x}", "ports": ",".join(map(str, ruleset.ports)), "queue": ruleset.queue_options}
    values["no_payload"] = _template("no_payload")
    values["queueing"] = _fill("queue", values)
    values["forward"] = _fill("scope" if ruleset.interfaces else "forward", values, ruleset.interfaces)
    values["quic"] = _fill("quic", values, ruleset.interfaces or ("",)) if ruleset.quic == "reject" else ""
    values["udp"] = _udp(ruleset, values)
    values["local"] = ",".join(str(port) for port in ruleset.udp_both if port in ruleset.ports)
    for part in ("local_streams", "local_verdicts"):
        values[part] = _fill(part, values, ruleset.beside or ("",)) if values["local"] else ""
    text = _fill("filter", values) + "\n" + _fill("strict" if ruleset.strict else "fast", values)
    other_family = {4: "-6 ", 6: "-4 "}[family]
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith(other_family))


def _udp(ruleset: RuleSet, values: dict[str, str]) -> str:
    """The rules for datagrams, as far as any are queued."""
    kinds = {"udp_quic": (443,) if ruleset.quic == "inspect" else (), "udp_client": ruleset.udp,
             "udp_both": ruleset.udp_both}
    queued = {kind: ",".join(map(str, ports)) for kind, ports in kinds.items() if ports}
    if not queued:
        return ""
    values = {**values, "udp_all": ",".join(queued.values())}
    values["udp_mode"] = _fill("udp_strict" if ruleset.strict else "udp_fast", values)
    values["udp_queued"] = "".join(_fill(kind, {**values, "udp_ports": ports}, ruleset.beside or ("",))
                                   for kind, ports in queued.items())
    values["udp_hooks"] = _fill("udp_scope" if ruleset.interfaces else "udp_hooks", values, ruleset.interfaces)
    return _fill("udp", values)


def _templates() -> Traversable:
    """Package data of a wheel; in a checkout the folder beside the package."""
    installed = importlib.resources.files("nfqdpi") / "iptables"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "iptables"


def _template(name: str) -> str:
    return (_templates() / f"{name}.rules").read_text(encoding="utf-8").rstrip("\n")


def _fill(name: str, values: dict[str, str], interfaces: tuple[str, ...] = ()) -> str:
    """A template filled in; a line with ``$interfaces`` stands once for each of them."""
    lines = (
        line.replace("$interfaces ", f"{match} " if match else "")
        for line in _template(name).splitlines()
        for match in (interfaces if "$interfaces" in line else ("",))
    )
    return Template("\n".join(lines)).substitute(values) + "\n"
