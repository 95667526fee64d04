"""The counters as Prometheus reads them: every metric, and the text format 0.0.4.

https://prometheus.io/docs/instrumenting/exposition_formats/. What prometheus_client would add to these lines is a
registry of its own, while our numbers are in the workers' pages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, NamedTuple

from nfqdpi.core.verdict import Reason, Verdict
from nfqdpi.daemon.counters import LATENCIES, LATENCY_BUCKETS
from nfqdpi.daemon.tally import ACTIONS, Tallies
from nfqdpi.daemon.volume import Volume


class Snapshot(NamedTuple):
    """``status`` and ``stats`` as the control socket tells them, what events were about, and what flows have moved."""

    status: dict[str, Any]
    stats: dict[str, Any]
    tallies: Tallies
    volume: Volume


class Sample(NamedTuple):
    """A line. ``values`` go with the metric's labels; ``suffix`` and ``bound`` are a histogram's."""

    value: float
    values: tuple[str, ...] = ()
    suffix: str = ""
    bound: str = ""


class Metric(NamedTuple):
    """What is told of it, and where its samples come from."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str
    samples: Callable[[Snapshot], Iterable[Sample]]


def _workers(value: Callable[[dict[str, Any]], float]) -> Callable[[Snapshot], Iterable[Sample]]:
    """Of each worker, as ``status`` knows it."""
    return lambda now: [Sample(value(worker), (str(worker["queue"]),)) for worker in now.status["workers"]]


def _pages(counter: str, unit: float = 1) -> Callable[[Snapshot], Iterable[Sample]]:
    """Of each worker's page."""
    return lambda now: [Sample(page[counter] * unit, (number,)) for number, page in now.stats["queues"].items()]


def _kernel(key: str) -> Callable[[Snapshot], Iterable[Sample]]:
    """Of each queue, as the kernel tells."""
    return lambda now: [Sample(queue[key], (str(queue["number"]),)) for queue in now.stats["kernel"]]


def _total(counter: str) -> Callable[[Snapshot], Iterable[Sample]]:
    return lambda now: [Sample(now.stats["total"][counter])]


def _each(prefix: str, words: Iterable[str]) -> Callable[[Snapshot], Iterable[Sample]]:
    """Of a counter for each of a closed set of words."""
    return lambda now: [Sample(now.stats["total"][f"{prefix}_{word}"], (word,)) for word in words]


def _tally(kind: str) -> Callable[[Snapshot], Iterable[Sample]]:
    return lambda now: [Sample(counts[action], (key, action))
                        for key, counts in now.tallies[kind].most() for action in ACTIONS if action in counts]


def _moved(what: str) -> Callable[[Snapshot], Iterable[Sample]]:
    return lambda now: [Sample(counts[what], (domain,)) for domain, counts in now.volume.labels]


def _latency(now: Snapshot) -> Iterator[Sample]:
    total = now.stats["total"]
    count = 0
    for bucket, bound in zip(LATENCY_BUCKETS, (*(f"{us / 1e6:.6f}" for us in LATENCIES), "+Inf"), strict=True):
        count += total[bucket]
        yield Sample(count, (), "_bucket", bound)
    yield Sample(total["latency_us"] / 1e6, (), "_sum")
    yield Sample(count, (), "_count")


METRICS = (
    Metric("nfqdpi_build_info", "gauge", ("version", "mode"), "1; what runs.",
           lambda now: [Sample(1, (now.status["version"], now.status["mode"]))]),
    Metric("nfqdpi_uptime_seconds", "gauge", (), "Since the daemon started.",
           lambda now: [Sample(now.status["uptime_s"])]),
    Metric("nfqdpi_troubles", "gauge", (), "What is wrong now with workers, rules, policy or events; status names it.",
           lambda now: [Sample(len(now.status["degraded"]) + len(now.status["troubles"]))]),
    Metric("nfqdpi_worker_ready", "gauge", ("queue",), "1 while a worker owns the queue, else 0.",
           _workers(lambda worker: worker["owns_queue"])),
    Metric("nfqdpi_worker_silent_seconds", "gauge", ("queue",),
           "Since the worker's last heartbeat; above 2 it is replaced.",
           _workers(lambda worker: worker["silent_ms"] / 1000)),
    Metric("nfqdpi_worker_starts_total", "counter", ("queue",), "Workers that were started for the queue.",
           _workers(lambda worker: worker["starts"])),
    Metric("nfqdpi_packets_total", "counter", ("queue",), "Packets judged.", _pages("packets")),
    Metric("nfqdpi_bytes_total", "counter", ("queue",), "Bytes of the packets judged, IP header included.",
           _pages("bytes")),
    Metric("nfqdpi_packets_dropped_total", "counter", ("queue",), "Packets that went nowhere by decision.",
           _pages("dropped")),
    Metric("nfqdpi_resets_total", "counter", ("queue",), "Resets sent to the far side of a blocked flow.",
           _pages("resets")),
    Metric("nfqdpi_faults_total", "counter", ("queue",), "Exceptions in judging that became a verdict.",
           _pages("faults")),
    Metric("nfqdpi_plugin_faults_total", "counter", ("plugin",),
           "Those that were a plugin's: it raised, took too long, or did not advise.",
           lambda now: [Sample(count, (name,)) for name, count in now.stats["plugin_faults"].items()]),
    Metric("nfqdpi_flows", "gauge", ("queue",), "Flows that the worker holds, decided ones that linger included.",
           _pages("flows")),
    Metric("nfqdpi_flows_evicted_total", "counter", ("queue",), "Undecided flows that had to go for newer ones.",
           _pages("evicted")),
    Metric("nfqdpi_dns_names_learned_total", "counter", ("queue",),
           "Names for addresses that answers of DNS have told clients.", _pages("names_learned")),
    Metric("nfqdpi_dns_names_evicted_total", "counter", ("queue",),
           "Of these, those that had to go for newer ones before their time.", _pages("names_evicted")),
    Metric("nfqdpi_dns_names_found_total", "counter", ("queue",),
           "Flows and requests to an address that the client was told by DNS.", _pages("names_found")),
    Metric("nfqdpi_dns_names_missed_total", "counter", ("queue",), "Others, while DNS is read.",
           _pages("names_missed")),
    Metric("nfqdpi_policy_swap_max_seconds", "gauge", ("queue",),
           "The longest that packets have waited for another policy.", _pages("swap_us", 1e-6)),
    Metric("nfqdpi_verdicts_total", "counter", ("verdict",), "Verdicts on flows and requests.",
           _each("verdict", [verdict.name.lower() for verdict in Verdict])),
    Metric("nfqdpi_reasons_total", "counter", ("reason",), "The same verdicts by their reason.",
           _each("reason", Reason)),
    Metric("nfqdpi_rule_verdicts_total", "counter", ("rule", "action"),
           "Verdicts by rule: the 256 rules that decided most.", _tally("rule")),
    Metric("nfqdpi_protocol_verdicts_total", "counter", ("protocol", "action"),
           "Verdicts by protocol, that is by classifier; unknown where none read a name.", _tally("protocol")),
    Metric("nfqdpi_domain_bytes_total", "counter", ("domain",),
           "Bytes of flows by registrable domain, as conntrack counts them: [metrics] domains of them, and all others.",
           _moved("bytes")),
    Metric("nfqdpi_domain_packets_total", "counter", ("domain",), "Their packets.", _moved("packets")),
    Metric("nfqdpi_volume_losses_total", "counter", (),
           "Times that more flows ended at once than the kernel could tell of; what they moved last is not counted.",
           lambda now: [Sample(now.volume.losses)]),
    Metric("nfqdpi_observers_starts_total", "counter", (), "Times that the observers' process began.",
           lambda now: [Sample(now.stats["observers"]["starts"])]),
    Metric("nfqdpi_observers_lost_total", "counter", (), "Verdicts and ended flows that observers were not told.",
           lambda now: [Sample(now.stats["observers"]["lost"])]),
    Metric("nfqdpi_observer_faults_total", "counter", ("observer",), "Exceptions that observers have raised.",
           lambda now: [Sample(count, (name,)) for name, count in now.stats["observers"]["faults"].items()]),
    Metric("nfqdpi_advisers_starts_total", "counter", (), "Times that the slow advisers' process began.",
           lambda now: [Sample(now.stats["advisers"]["starts"])]),
    Metric("nfqdpi_verdict_latency_seconds", "histogram", (),
           "From a packet's arrival, in the kernel where it tells the time, else in the worker, to its verdict.",
           _latency),
    Metric("nfqdpi_queue_waiting", "gauge", ("queue",), "Packets in the kernel's queue without a verdict.",
           _kernel("waiting")),
    Metric("nfqdpi_queue_entered_total", "counter", ("queue",),
           "Packets that entered the queue since its worker bound it.", _kernel("packets")),
    Metric("nfqdpi_queue_dropped_total", "counter", ("queue",), "Packets that found the queue full, and were dropped.",
           _kernel("dropped")),
    Metric("nfqdpi_queue_lost_total", "counter", ("queue",), "Packets that the kernel could not hand to the worker.",
           _kernel("lost")),
    Metric("nfqdpi_bypassed_packets_total", "counter", (),
           "Packets that went by the queues unjudged: full, or nobody listened.", _total("bypassed")),
    Metric("nfqdpi_events_lost_total", "counter", (), "Events that did not reach the supervisor or a target.",
           _total("events_lost")),
)


def exposition(now: Snapshot) -> str:
    """All metrics, a line each sample."""
    return "".join(line + "\n" for metric in METRICS for line in _lines(metric, now))


def _lines(metric: Metric, now: Snapshot) -> Iterator[str]:
    yield f"# HELP {metric.name} {metric.help}"
    yield f"# TYPE {metric.name} {metric.kind}"
    for sample in metric.samples(now):
        pairs = [*zip(metric.labels, sample.values, strict=False), *([("le", sample.bound)] if sample.bound else ())]
        labels = ",".join(f'{label}="{_escaped(value)}"' for label, value in pairs)
        yield f"{metric.name}{sample.suffix}{f'{{{labels}}}' if labels else ''} {float(sample.value):.15g}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
