"""Every section and key of the configuration, with its default. An empty file is valid."""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from nfqdpi.config.values import (
    Address,
    Domain,
    Duration,
    Exception_,
    FilePath,
    Interface,
    Listen,
    Member,
    Port,
    SocketPath,
    SyslogTarget,
    Times,
    TimeZone,
    UserName,
)
from nfqdpi.core.verdict import MarkField, Reason, Verdict


class Queue(Struct, frozen=True):
    """Which packets are queued, and to whom."""

    first: Annotated[int, Meta(ge=0, le=65535)] = 0
    workers: Annotated[int, Meta(ge=0, le=1024)] = 0
    length: Annotated[int, Meta(ge=1, le=1_000_000)] = 8192
    ports: Annotated[tuple[Port, ...], Meta(min_length=1, max_length=15)] = (80, 443)  # multiport takes 15
    quic: Literal["inspect", "reject", "ignore"] = "inspect"
    lan: tuple[Interface, ...] = ()
    wan: tuple[Interface, ...] = ()


class Marks(Struct, frozen=True):
    """Where our field lies in the conntrack mark."""

    mask: int = 0x0000000F


class Inspect(Struct, frozen=True):
    """How long and how much of a flow is looked at before it must be decided. ``on_start``: what happens to flows that
    are older than the daemon: let go, inspected like new ones as far as that goes, or cut."""

    mode: Literal["strict", "fast"] = "strict"
    max_bytes: Annotated[int, Meta(ge=1024, le=1 << 24)] = 65536
    max_segments: Annotated[int, Meta(ge=2, le=65536)] = 64
    timeout: Duration = Duration(30)
    max_flows: Annotated[int, Meta(ge=16, le=1 << 22)] = 65536
    on_start: Literal["accelerate", "inspect", "kill"] = "inspect"


# What `--simulate` can bring about; all but the first two are the engine's own.
Condition = Literal["no_listener", "queue_full", "plugin_error", "midstream", "unknown_protocol", "no_name", "ech",
                    "sni_mismatch", "malformed", "overlap", "too_big", "timeout", "truncated"]


class Fail(Struct, frozen=True):
    """What happens when a flow cannot be decided: one switch, and one key a condition. ``simulate``: treat every flow
    as if the condition were true of it."""

    default: Literal["open", "closed"] = "open"
    no_listener: Literal["pass", "drop"] | None = None
    queue_full: Literal["pass", "drop"] | None = None
    plugin_error: Exception_ | None = None
    midstream: Exception_ | None = None
    unknown_protocol: Exception_ | None = None
    no_name: Exception_ | None = None
    ech: Literal["block"] | None = None
    sni_mismatch: Literal["block"] | None = None
    malformed: Exception_ = "block"
    overlap: Exception_ = "block"
    too_big: Exception_ = "block"
    timeout: Exception_ = "block"
    truncated: Exception_ = "block"
    simulate: Condition | None = None


class State(Struct, frozen=True):
    """Where the daemon keeps what outlives it: lists as fetched and compiled, changes by hand, minutes used."""

    directory: FilePath = "/var/lib/nfqdpi"


class PolicySection(Struct, frozen=True):
    """``default``: what happens to a name that no rule matches. ``untracked``: what becomes of an accelerated flow when
    the policy has changed and nobody remembers what the flow is for. ``time_zone``: of schedules and days; "" is the
    system's."""

    default: Exception_ = "accelerate"
    untracked: Literal["keep", "cut"] = "keep"
    time_zone: TimeZone = TimeZone("")


class Clients(Struct, frozen=True):
    """Where clients get their names: a file of lines "ADDRESS-OR-MAC NAME", and dnsmasq's leases."""

    names: FilePath = ""
    leases: FilePath = ""


class DomainList(Struct, frozen=True):
    """Names from a file or a URL. ``least``: the smallest share of the old version's names that a new one must have, or
    it is refused; ``sha256``: what the source must add up to."""

    name: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}\Z")]  # it is a directory's name, too
    path: FilePath = ""
    url: Annotated[str, Meta(pattern=r"\A(https?://[!-~]+)?\Z")] = ""
    format: Literal["auto", "hosts", "domains", "adblock", "rpz", "dnsmasq", "wildcard"] = "auto"
    refresh: Duration = Duration(86400)
    max_bytes: Annotated[int, Meta(ge=1, le=1 << 32)] = 64 << 20
    max_lines: Annotated[int, Meta(ge=1, le=1 << 32)] = 5_000_000
    least: Annotated[float, Meta(ge=0, le=1)] = 0.5
    sha256: Annotated[str, Meta(pattern=r"\A([0-9a-f]{64})?\Z")] = ""


class Group(Struct, frozen=True):
    """Clients by address, CIDR, MAC address or name, and by the interface that they come in by."""

    name: Annotated[str, Meta(min_length=1)]
    clients: tuple[Member, ...] = ()
    interfaces: tuple[Interface, ...] = ()


class Schedule(Struct, frozen=True):
    """Times of the week, as "mon-fri 21:00-07:00": one that ends past midnight belongs to the day that it begins on."""

    name: Annotated[str, Meta(min_length=1)]
    windows: Annotated[tuple[Times, ...], Meta(min_length=1)]


class Rule(Struct, frozen=True):
    """One line of the policy; read in order, the first match decides. ``protocols``: only flows that a classifier says
    speak one of them. ``redirect``: with that action, what DNS answers for the names; flows for them pass. ``limit``:
    the rule begins to match when its groups' clients have used what it names for so long today. ``log``: false keeps
    its verdicts out of the events; ``level``: their severity in journald and syslog."""

    action: Literal["block", "accelerate", "inspect", "redirect"]
    name: str = ""
    domains: tuple[Domain, ...] = ()
    lists: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    protocols: tuple[Annotated[str, Meta(pattern=r"\A[a-z0-9_.-]{1,32}\Z")], ...] = ()
    redirect: tuple[Address, ...] = ()
    schedule: str = ""
    limit: Duration | None = None
    respond: Literal["reset", "drop"] = "reset"
    log: bool = True
    level: Literal["debug", "info", "notice", "warning", "err", "crit", "alert"] = "info"
    enabled: bool = True

    def called(self, number: int) -> str:
        """Its name, or else its number; the first rule's is 1."""
        return self.name or f"rule {number}"


class Events(Struct, frozen=True):
    """Where verdict events go. ``file``, "" for none, is renamed to file.1 when it would be longer than ``max_bytes``
    (0: never), and ``keep`` older files are kept; ``syslog``: a unix socket or "udp://HOST[:PORT]"."""

    file: FilePath = "/var/log/nfqdpi/eve.json"
    verdicts: Literal["all", "blocked", "none"] = "all"
    max_bytes: Annotated[int, Meta(ge=0, le=1 << 40)] = 64 << 20
    keep: Annotated[int, Meta(ge=0, le=500)] = 4  # whoever reads them opens all at once, and may have 1024
    journald: bool = False
    syslog: SyslogTarget = SyslogTarget("")


class Control(Struct, frozen=True):
    """Where the command line reaches the daemon; an empty name switches it off. ``group`` may read, ``owner`` (beside
    root and the daemon's user) change things, too; the socket has the group and the mode, which let others connect."""

    socket: SocketPath = "/run/nfqdpi/control.sock"
    owner: UserName = ""
    group: UserName = ""
    mode: Annotated[int, Meta(ge=0, le=0o777)] = 0o660


class Metrics(Struct, frozen=True):
    """Where Prometheus reads the counters: without a password, so not where clients can reach it. ``domains``: how many
    registrable domains it is told of, those that move most; so whoever reads may know where clients go."""

    listen: Listen = Listen("127.0.0.1:9477")
    domains: Annotated[int, Meta(ge=0, le=1000)] = 0


class Service(Struct, frozen=True):
    """Who the daemon is, when root has started it: "" stays root, without root's capabilities. ``worker_memory``: bytes
    that a worker may have for itself before another takes its place; 0: as many as it likes."""

    user: UserName = ""
    worker_memory: Annotated[int, Meta(ge=0, le=1 << 40)] = 0


class Config(Struct, frozen=True):
    """A whole, validated configuration."""

    queue: Queue = Queue()
    marks: Marks = Marks()
    inspect: Inspect = Inspect()
    fail: Fail = Fail()
    state: State = State()
    policy: PolicySection = PolicySection()
    clients: Clients = Clients()
    list: tuple[DomainList, ...] = ()
    group: tuple[Group, ...] = ()
    schedule: tuple[Schedule, ...] = ()
    rule: tuple[Rule, ...] = ()
    events: Events = Events()
    control: Control = Control()
    metrics: Metrics = Metrics()
    service: Service = Service()
    plugin: dict[str, dict[str, Any]] = {}  # by the plugins' names; checked against what they want when it is loaded

    @property
    def field(self) -> MarkField:
        """The mark field; valid once the file has been loaded."""
        return MarkField(self.marks.mask)

    @property
    def worker_count(self) -> int:
        """Workers to run: as configured, or one for each processor that this process may use."""
        return self.queue.workers or len(os.sched_getaffinity(0))

    @property
    def bypass(self) -> bool:
        """True where packets pass while nobody listens on their queue."""
        return (self.fail.no_listener or ("pass" if self.fail.default == "open" else "drop")) == "pass"

    @property
    def pass_when_full(self) -> bool:
        """True where the kernel passes what a full queue cannot hold."""
        return (self.fail.queue_full or ("pass" if self.fail.default == "open" else "drop")) == "pass"

    @property
    def simulated(self) -> Reason | None:
        """The condition that the engine is to simulate."""
        condition = self.fail.simulate
        return Reason(condition) if condition not in (None, "no_listener", "queue_full") else None

    @property
    def exceptions(self) -> dict[Reason, Verdict]:
        """The verdict for each condition in which the engine itself cannot decide by policy."""
        verdicts = {"accelerate": Verdict.ACCELERATE, "block": Verdict.BLOCK}
        by_switch = "accelerate" if self.fail.default == "open" else "block"
        return {
            Reason.PLUGIN_ERROR: verdicts[self.fail.plugin_error or by_switch],
            Reason.MIDSTREAM: verdicts[self.fail.midstream or by_switch],
            Reason.UNKNOWN_PROTOCOL: verdicts[self.fail.unknown_protocol or self.policy.default],
            Reason.NO_NAME: verdicts[self.fail.no_name or self.policy.default],
            Reason.MALFORMED: verdicts[self.fail.malformed],
            Reason.OVERLAP: verdicts[self.fail.overlap],
            Reason.TOO_BIG: verdicts[self.fail.too_big],
            Reason.TIMEOUT: verdicts[self.fail.timeout],
            Reason.TRUNCATED: verdicts[self.fail.truncated],
            # Absent: a hello that carries an encrypted one is judged by its outer name, as browsers' GREASE demands.
            **({Reason.ECH: verdicts[self.fail.ech]} if self.fail.ech else {}),
            # Absent: a name that the client was not told this address for is noted in its event.
            **({Reason.SNI_MISMATCH: verdicts[self.fail.sni_mismatch]} if self.fail.sni_mismatch else {}),
        }
