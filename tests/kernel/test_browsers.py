"""A real browser behind the gateway: Chromium, headless, in strict mode."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nfqdpi.lab.network import SERVER, Family, Lab
from nfqdpi.lab.web import WebServer
from tests.kernel import browser
from tests.kernel.browser import Page
from tests.kernel.daily import FAMILIES, Gateway, config
from tests.kernel.http3 import Http3Origin

SOON = 30  # seconds, a browser's start on a busy machine included; it gives a silent server minutes


@pytest.fixture
def http3(lab: Lab, web: WebServer) -> Iterator[Http3Origin]:
    with Http3Origin(lab.server, web.certificate, web.here / "server.key") as listening:
        yield listening


def load(lab: Lab, web: WebServer, family: Family, url: str, *options: str, remember: bool = False) -> Page:
    return browser.load(lab.client, url, SERVER[family], web.certificate, *options,
                        profile=lab.state / "profile" if remember else None)


@pytest.mark.parametrize("family", FAMILIES)
def test_pages(lab: Lab, web: WebServer, gateway: Gateway, family: Family) -> None:
    """An allowed page is there, over TLS and plain; a blocked one fails at once by a reset, and no server heard of it.
    """
    gateway(config(lab))
    for scheme in ("https", "http"):
        assert load(lab, web, family, f"{scheme}://allowed.example/").text == "hello from allowed.example"
        blocked = load(lab, web, family, f"{scheme}://www.blocked.example/")
        assert (blocked.text, blocked.error) == ("", "ERR_CONNECTION_RESET")
        assert blocked.seconds < SOON
    assert {request["host"] for request in web.requests()} == {"allowed.example"}
    assert "h2" in {request["http2"] for request in web.requests()}


@pytest.mark.parametrize("family", FAMILIES)
def test_no_way_round_by_http3(lab: Lab, web: WebServer, gateway: Gateway, http3: Http3Origin, family: Family) -> None:
    """A browser that has learnt before that both names speak HTTP/3 falls back to TCP at once with the blocked one, and
    is reset there. No server has a whole hello for it."""
    for name in ("allowed.example", "blocked.example"):
        assert load(lab, web, family, f"https://{name}/", remember=True).text == f"hello from {name}"
    before, hellos = len(web.requests()), http3.names.count("blocked.example")

    gateway(config(lab))
    # It takes a certificate of no known authority's over TCP only, unless it is told to use nothing but HTTP/3.
    assert load(lab, web, family, "https://allowed.example/", remember=True).text == "hello from allowed.example"
    blocked = load(lab, web, family, "https://blocked.example/", remember=True)
    assert (blocked.text, blocked.error) == ("", "ERR_CONNECTION_RESET")
    assert blocked.seconds < SOON
    assert {request["host"] for request in web.requests()[before:]} == {"allowed.example"}
    assert http3.names.count("blocked.example") == hellos


def test_forced_http3(lab: Lab, web: WebServer, gateway: Gateway, http3: Http3Origin) -> None:
    """A browser that is told to use nothing but HTTP/3 gets the allowed page, and of the blocked one nothing, at once.
    """
    gateway(config(lab))
    forced = [f"--origin-to-force-quic-on={name}:443" for name in ("allowed.example", "blocked.example")]
    assert load(lab, web, 4, "https://allowed.example/", forced[0]).text == "hello from allowed.example"
    page = load(lab, web, 4, "https://blocked.example/", forced[1])
    assert page.text == ""
    assert page.error.startswith("ERR_QUIC_")
    assert page.seconds < SOON
    assert set(http3.authorities) == set(http3.names) == {"allowed.example"}
    assert web.requests() == []
