"""A real browser behind the gateway: Chromium, headless, in strict mode."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest

from nfqdpi.lab.network import SERVER, Family, Lab
from nfqdpi.lab.web import WebServer
from tests.kernel import browser
from tests.kernel.browser import Page
from tests.kernel.daily import FAMILIES, Gateway, config

SOON = 30  # seconds, a browser's start on a busy machine included; it gives a silent server minutes


class Initials:
    """What reaches UDP port 443 of the server, where nobody answers."""

    def __init__(self, lab: Lab) -> None:
        self._sockets = []
        with lab.server.entered():
            for family, kind in ((4, socket.AF_INET), (6, socket.AF_INET6)):
                one = socket.socket(kind, socket.SOCK_DGRAM)
                one.bind((SERVER[family], 443))  # type: ignore[index]
                one.setblocking(False)
                self._sockets.append(one)

    def take(self) -> int:
        """Datagrams since the last call."""
        count = 0
        for one in self._sockets:
            with suppress(BlockingIOError):
                while one.recv(2000):
                    count += 1
        return count

    def close(self) -> None:
        for one in self._sockets:
            one.close()


@pytest.fixture
def initials(lab: Lab) -> Iterator[Initials]:
    listening = Initials(lab)
    yield listening
    listening.close()


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
def test_no_way_round_by_http3(lab: Lab, web: WebServer, gateway: Gateway, initials: Initials, family: Family) -> None:
    """A browser that has learnt before that both names speak HTTP/3 gets the allowed page by TCP, the blocked one by
    nothing, and no datagram of it reaches the server."""
    for name in ("allowed.example", "blocked.example"):
        for _ in range(2):  # learns it, tries it
            page = load(lab, web, family, f"https://{name}/", remember=True)
            assert page.text == f"hello from {name}"
    assert initials.take() > 0  # it would, if it could
    before = len(web.requests())

    gateway(config(lab))
    assert load(lab, web, family, "https://allowed.example/", remember=True).text == "hello from allowed.example"
    blocked = load(lab, web, family, "https://blocked.example/", remember=True)
    assert (blocked.text, blocked.error) == ("", "ERR_CONNECTION_RESET")
    assert blocked.seconds < SOON
    assert {request["host"] for request in web.requests()[before:]} == {"allowed.example"}
    assert initials.take() == 0


def test_forced_http3(lab: Lab, web: WebServer, gateway: Gateway, initials: Initials) -> None:
    """A browser that is told to use nothing but HTTP/3 gets nothing."""
    gateway(config(lab))
    page = load(lab, web, 4, "https://blocked.example/", "--origin-to-force-quic-on=blocked.example:443")
    assert page.text == ""
    assert page.error.startswith("ERR_QUIC_")
    assert initials.take() == 0
