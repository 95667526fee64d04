"""What authors of plugins are told of a flow."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nfqdpi.config import ConfigError
from nfqdpi.core.classifier import NEED_MORE, NO_MATCH, Answer, Classifier
from nfqdpi.core.plugin import Advice, Adviser, Slow
from nfqdpi.core.verdict import Verdict
from nfqdpi.plugins import http, quic, tls
from nfqdpi.testing import FromServer, assert_verdict, flow, hello, quic_initial, request, verdict_of, verdicts
from nfqdpi.testing.tls import server_hello

NO = {"name": "no", "action": "block", "domains": ["blocked.example"]}


@pytest.mark.parametrize("mode", ["strict", "fast"])
@pytest.mark.parametrize("six", [False, True])
def test_a_blocked_and_an_allowed_name(mode: str, six: bool) -> None:
    """Verdict, reason and rule, in both modes."""
    settings = {"inspect": {"mode": mode}, "rule": [NO]}
    blocked = verdict_of(flow(hello("www.blocked.example"), six=six), tls.classifier, settings=settings)
    assert blocked[:5] == ("tls", "www.blocked.example", "block", "rule", "no")
    allowed = verdict_of(flow(hello("a.example"), FromServer(server_hello()), six=six), tls.classifier,
                         settings=settings)
    assert allowed[:5] == ("tls", "a.example", "accelerate", "default", "")
    assert allowed.attributes["alpn"] == "h2,http/1.1"


def test_datagrams() -> None:
    """The same of a flow over UDP."""
    seen = assert_verdict(flow(quic_initial("blocked.example"), udp=True), "block", quic.classifier, rules=[NO])
    assert (seen.proto, seen.name, seen.rule) == ("quic", "blocked.example", "no")


def test_several_flows() -> None:
    """Each is told of, in the order in which they begin."""
    packets = flow(request("b.example"), sport=1) + flow(b"SSH-2.0-x\r\n", sport=2) + flow(hello("a.example"), sport=3)
    seen = verdicts(packets, tls.classifier, http.classifier)
    assert [(one.proto, one.name, one.reason) for one in seen] == [
        ("http", "b.example", "default"), ("", "", "unknown_protocol"), ("tls", "a.example", "default")]


def test_what_is_not_so_fails() -> None:
    """With what was seen instead."""
    packets = flow(hello("a.example"))
    with pytest.raises(AssertionError, match=r"^accelerate \(default\), not block: Seen"):
        assert_verdict(packets, "block", tls.classifier)
    with pytest.raises(AssertionError, match=r"^the name 'a\.example', not 'b\.example'"):
        assert_verdict(packets, "accelerate", tls.classifier, name="b.example")
    with pytest.raises(AssertionError, match=r"^2 flows, not one$"):
        verdict_of(packets + flow(hello("a.example"), sport=2), tls.classifier)


@pytest.mark.parametrize("waits", [True, False])
def test_slow_advice(waits: bool) -> None:
    """It is there at once."""
    slow = Adviser("slow", "1", lambda found, client, server: Advice(Verdict.BLOCK, "so"), slow=Slow(1.0, waits=waits))
    seen = assert_verdict(flow(hello("a.example")), "block", tls.classifier, slow)
    assert (seen.reason, seen.attributes["advice"]) == ("advice", "slow: so")


def test_a_classifier_that_raises_fails() -> None:
    """It is no verdict that a plugin's author would want to miss."""
    def classify(prefix: bytes) -> Answer:
        return NO_MATCH if prefix[100] else NEED_MORE

    with pytest.raises(AssertionError, match="IndexError"):
        verdicts(flow(b"short"), Classifier("bad", "bad", "1", 10, classify))


def test_rules_are_checked() -> None:
    """As the configuration is."""
    with pytest.raises(ConfigError, match=r"^rule\[1\]\.action: "):
        verdicts([], tls.classifier, rules=[{"action": "stop"}])


def test_the_fixtures(tmp_path: Path) -> None:
    """pytest has them where nfqdpi is installed."""
    (tmp_path / "test_it.py").write_text("""if True:
        from nfqdpi.plugins import tls
        from nfqdpi.testing import flow, hello

        def test_both(engine, verdict_of):
            assert engine(tls.classifier).strict
            assert verdict_of(flow(hello("a.example")), tls.classifier).name == "a.example"
    """)
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "nfqdpi.pytest_plugin", tmp_path], check=False,
                          capture_output=True, text=True, env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"})
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_a_gateway_needs_neither_pytest_nor_hypothesis() -> None:
    """All but ``cuts`` and the fixtures works without them, the command line too."""
    program = """if True:
        import sys
        sys.modules["hypothesis"] = sys.modules["pytest"] = None
        from nfqdpi.cli.plugins import command
        from nfqdpi.testing import flow, hello, verdict_of
        print(verdict_of(flow(hello("a.example"))).name)
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "a.example\n", done.stderr
