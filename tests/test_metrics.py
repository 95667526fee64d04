"""The metrics: their text, by an independent parser, and the port that serves it."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import pytest

from nfqdpi.config.values import Listen
from nfqdpi.daemon.counters import Counters
from nfqdpi.daemon.exposition import METRICS, Snapshot, exposition
from nfqdpi.daemon.metrics import Metrics
from nfqdpi.daemon.record import Record
from nfqdpi.daemon.tally import Tallies
from nfqdpi.daemon.volume import Volume
from nfqdpi.kernel.firewall import FirewallError
from tests.events.samples import decided
from tests.promtext import parse


def snapshot(*rules: str, latencies: tuple[float, ...] = ()) -> Snapshot:
    """Of a daemon with two queues."""
    pages = {}
    for number in ("0", "1"):
        counters = Counters()
        counters["packets"] = 3
        counters.add_latencies(latencies)
        pages[number] = counters.read()
    total = {name: sum(page[name] for page in pages.values()) for name in pages["0"]} | {"bypassed": 5}
    tallies = Tallies()
    tallies.add("block", [decided(rule=rule) for rule in rules])
    volume = Volume(Record(), 1, lambda *_: None, lambda *_: None, lambda: False)
    for domain in ("x.example", "y.example"):
        volume.labels.add(domain, Counter(packets=2, bytes=700), 700)
    workers = [{"queue": n, "pid": 7, "starts": 1, "silent_ms": 20, "owns_queue": n == 0} for n in (0, 1)]
    kernel = [{"number": 0, "portid": 7, "waiting": 2, "copy_mode": 2, "copy_range": 65535, "dropped": 4, "lost": 0,
               "packets": 3}]
    return Snapshot({"version": "1.2", "mode": "strict", "uptime_s": 4.5, "workers": workers, "degraded": ["a"],
                     "troubles": ["b", "c"]},
                    {"queues": pages, "total": total, "kernel": kernel, "plugin_faults": {"ssh": 2},
                     "advisers": {"names": ["slow"], "starts": 1},
                     "observers": {"names": ["tunnels"], "starts": 1, "lost": 4, "faults": {"tunnels": 3}}}, tallies,
                    volume)


def test_the_text_is_prometheus_own() -> None:
    """Every metric is told once, with its kind and labels, and a name that says what it counts."""
    families = parse(exposition(snapshot("ads")))
    assert list(families) == [metric.name for metric in METRICS]
    for metric in METRICS:
        family = families[metric.name]
        assert (family.kind, family.help) == (metric.kind, metric.help)
        assert (metric.kind == "counter") == metric.name.endswith("_total")
        for _, labels in family.samples:
            assert {label for label, _ in labels} - {"le"} == set(metric.labels)
    assert families["nfqdpi_packets_total"].samples == {
        ("nfqdpi_packets_total", frozenset({("queue", number)})): 3 for number in ("0", "1")}
    assert families["nfqdpi_troubles"].samples == {("nfqdpi_troubles", frozenset()): 3}


def test_a_latency_is_in_every_bucket_that_it_fits() -> None:
    """Buckets are cumulative, the sum is in seconds, over all workers."""
    samples = parse(exposition(snapshot(latencies=(0.0001, 0.5, 90.0))))["nfqdpi_verdict_latency_seconds"].samples
    by_bound = {dict(labels)["le"]: value for (_, labels), value in samples.items() if labels}
    assert (by_bound["0.000064"], by_bound["0.000128"], by_bound["0.524288"], by_bound["+Inf"]) == (0, 2, 4, 6)
    assert samples["nfqdpi_verdict_latency_seconds_sum", frozenset()] == pytest.approx(181.0002)


def test_labels_are_bounded_and_escaped() -> None:
    """However many rules there have been, 256 have a line, and whatever stands in a rule's name."""
    odd = 'a "rule",\\ of\ntwo lines\u2028 {x="y"}'
    samples = parse(exposition(snapshot(*(f"rule {n}" for n in range(2000)), odd, odd)))
    rules = {dict(labels)["rule"] for _, labels in samples["nfqdpi_rule_verdicts_total"].samples}
    assert (len(rules), odd in rules) == (256, True)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def ask(text: Callable[[], str], requests: list[bytes]) -> list[bytes]:
    """What the port answers to each, one after the other; nothing where it hangs up."""
    port = free_port()

    async def talk() -> list[bytes]:
        metrics = Metrics(Listen.parse(f"127.0.0.1:{port}"), text)
        second = Metrics(Listen.parse(f"127.0.0.1:{port}"), text)
        await metrics.start()
        await second.start()
        assert (metrics.troubles, second.troubles) == ([], [f"no metrics on 127.0.0.1:{port}: Address already in use"])
        answers = []
        for request in requests:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request)
            answers.append(b"")
            with suppress(ConnectionError):
                answers[-1] = await reader.read()
            writer.close()
        metrics.stop()
        return answers

    return asyncio.run(talk())


def test_get_metrics_and_nothing_else() -> None:
    """One text for many who ask within a second; the rest is refused by its own status."""
    texts = iter(["one 1\n", "two 2\n"])
    answers = ask(lambda: next(texts), [
        b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /metrics?x=1 HTTP/1.0\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n",
        b"POST /metrics HTTP/1.1\r\n\r\n", b"GET /metrics\r\n\r\n", b"\x16\x03\x01\r\n\r\n"])
    assert [answer.split(b"\r\n")[0] for answer in answers] == [
        b"HTTP/1.1 200 OK", b"HTTP/1.1 200 OK", b"HTTP/1.1 404 Not Found", b"HTTP/1.1 405 Method Not Allowed",
        b"HTTP/1.1 400 Bad Request", b"HTTP/1.1 400 Bad Request"]
    assert all(answer.endswith(b"\r\n\r\none 1\n") for answer in answers[:2])
    assert b"Content-Length: 6\r\n" in answers[0]
    assert b"Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n" in answers[0]


def test_counters_that_cannot_be_read() -> None:
    """Are a status of their own, not a scrape without them."""
    def text() -> str:
        raise FirewallError("no iptables")

    (answer,) = ask(text, [b"GET /metrics HTTP/1.1\r\n\r\n"])
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert answer.endswith(b"no iptables\n")


def test_what_is_too_long_is_cut_off() -> None:
    """Without an answer."""
    assert ask(str, [b"GET /metrics HTTP/1.1\r\nX: " + bytes(100_000) + b"\r\n\r\n"]) == [b""]


def test_no_more_clients_than_eight() -> None:
    """Who comes while eight are there is sent away; who is there gets an answer yet."""
    port = free_port()

    async def talk() -> tuple[bytes, bytes]:
        metrics = Metrics(Listen.parse(f"127.0.0.1:{port}"), lambda: "x 1\n")
        await metrics.start()
        there = [await asyncio.open_connection("127.0.0.1", port) for _ in range(8)]
        await asyncio.sleep(0.05)  # the server's side of them
        late, writer = await asyncio.open_connection("127.0.0.1", port)
        sent_away = await late.read()
        there[0][1].write(b"GET /metrics HTTP/1.1\r\n\r\n")
        answer = await there[0][0].read()
        for one in (writer, *(writer for _, writer in there)):
            one.close()
        metrics.stop()
        return sent_away, answer

    sent_away, answer = asyncio.run(talk())
    assert sent_away == b""
    assert answer.endswith(b"x 1\n")


@pytest.mark.parametrize("text", ["localhost:9477", "127.0.0.1", "::1:9477", "127.0.0.1:0", "[127.0.0.1]:1", "1.2.3:4",
                                  "127.0.0.1:65536", 9477])
def test_listen_is_an_address_and_a_port(text: object) -> None:
    """No name, which would have to be looked up before there is a network; a port that can be."""
    with pytest.raises(ValueError, match=r"expected|Expected|Octet|permitted"):
        Listen.parse(text)
    assert Listen.parse("[::1]:9477").place == ("::1", 9477)
