"""docs/metrics.md, out of the tables that the daemon serves: python -m nfqdpi.daemon.reference > docs/metrics.md."""

from __future__ import annotations

from nfqdpi.config import Config
from nfqdpi.daemon.counters import COUNTERS
from nfqdpi.daemon.exposition import METRICS

_HEAD = f"""\
# Metrics

<!-- Made by: python -m nfqdpi.daemon.reference > docs/metrics.md -->

    nfqdpi stats --watch 5                     # the counters, and what they do a second
    nfqdpi stats --names                       # packets and bytes by name; --clients, --domains
    nfqdpi top                                 # names, clients, rules and protocols by verdicts, names by bytes, live
    curl http://{Config().metrics.listen}/metrics        # the counters for Prometheus

`[metrics] listen` says where Prometheus finds them; "" switches that off. Whoever reaches the port can read them: names
of rules are among them, addresses of clients are not. Names that were visited are only where you ask for it: with
`[metrics] domains = 20`, packets and bytes of the twenty registrable domains that move most are told, and of all others
together; a domain that has moved twice as much as the least of them takes its place. Where the port is taken, the
daemon says so in its log and in `status`, and goes on without.

Labels are bounded: queues, verdicts and reasons are as many as there are, protocols at most 32, rules the 256 that
decided most. A worker's counter goes on where the worker before it left off; all begin at 0 when the daemon starts.

The package has alerts, `/usr/share/nfqdpi/prometheus/nfqdpi.rules.yml`, whose head shows how Prometheus reads them and
the metrics, and a dashboard for Grafana (Dashboards, New, Import), `/usr/share/nfqdpi/grafana/nfqdpi.json`.

## What Prometheus reads

| metric | kind | labels | |
|---|---|---|---|
"""
_LATENCY = """
## Latency

The histogram has every packet that was judged, from its arrival to its verdict. The kernel tells when a packet arrived
only while somebody on the machine wants timestamps, as tcpdump does: then the wait in the queue is in it. Else it
begins when the worker reads the packet, and `nfqdpi_queue_waiting` tells of the wait before. A worker that is killed
takes with it what it has measured since its last heartbeat.

## Counters of each worker, in `nfqdpi stats --json`

| counter | |
|---|---|
"""


def markdown() -> str:
    """The whole page."""
    metrics = (f"| `{metric.name}` | {metric.kind} | {', '.join(metric.labels)} | {metric.help} |\n"
               for metric in METRICS)
    counters = (f"| `{name}` | {what} |\n" for name, what in COUNTERS.items() if name != "heartbeat_ms")
    return "".join((_HEAD, *metrics, _LATENCY, *counters))


if __name__ == "__main__":
    print(markdown(), end="")
