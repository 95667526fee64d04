"""Servers' answers to requests that would leave HTTP/1."""

from __future__ import annotations

from functools import partial

import pytest

from nfqdpi.core.classifier import NEED_MORE, Reply
from nfqdpi.plugins.http import classifier
from nfqdpi.testing.http import request, response
from tests.plugins import prefixes

classify = classifier.classify
unit = partial(prefixes.unit, classify)


def test_replies_to_an_upgrade() -> None:
    """101 accepts, any other final status refuses, interim ones are passed over (RFC 9110, 15.2)."""
    confirm = unit(request("a.example", "Upgrade: websocket")).confirm
    assert confirm is not None
    early = response("103 Early Hints", "Link: x")
    for status, accepted in (("101 Switching Protocols", True), ("200 OK", False), ("500 Oops", False)):
        data = early + response(status)
        assert {confirm(data[:n]) for n in range(len(data))} == {NEED_MORE}
        assert confirm(data + b"body") == Reply(accepted, len(data), 0 if accepted else None)
    assert confirm(b"SSH-2.0-x\r\n\r\n") is NEED_MORE


def test_replies_to_connect() -> None:
    """A 2xx opens the tunnel, unless it has a body or can have none: the server then took CONNECT for a request like
    any other, and goes on speaking HTTP (RFC 9110, 9.3.6 and 15.3.5)."""
    confirm = unit(request(None, method="CONNECT", target="a.example:443")).confirm
    assert confirm is not None
    for status, accepted in (("200 OK", True), ("299 x", True), ("407 x", False), ("101 x", False), ("204 x", False),
                             ("205 x", False)):
        skip = 0 if accepted or status == "204 x" else None
        assert confirm(response(status)) == Reply(accepted, len(response(status)), skip)
    for field, skip in (("Content-Length: 0", 0), ("content-length : 7", 7), ("Transfer-Encoding: chunked", None),
                        ("X: y\r\nContent-Length: 0", 0)):
        assert confirm(response("200 OK", field)) == Reply(False, len(response("200 OK", field)), skip)
    early = response("103 x", "Content-Length: 0") + response()
    assert confirm(early) == Reply(True, len(early))


@pytest.mark.parametrize(("method", "status", "fields", "skip"), [
    ("GET", "200 OK", ("Content-Length: 5",), 5),
    ("GET", "200 OK", (), None),
    ("HEAD", "200 OK", ("Content-Length: 5",), 0),
    ("GET", "304 x", ("Content-Length: 5",), 0),
    ("GET", "204 x", (), 0),
    ("GET", "200 x", ("Content-Length: -1",), None),
    ("GET", "200 x", ("Content-Length: 5", "Content-Length: 6"), None),
    ("GET", "200 x", ("Content-Length: 2147483648",), None),
    ("GET", "200 x", ("Content-Length: 5", "Transfer-Encoding: chunked"), None),
])
def test_where_a_refusal_ends(method: str, status: str, fields: tuple[str, ...], skip: int | None) -> None:
    """By RFC 9112, 6.3; what is not certain is not guessed."""
    confirm = unit(request("a.example", "Upgrade: websocket", method=method)).confirm
    assert confirm is not None
    head = response(status, *fields)
    assert confirm(head + b"12345") == Reply(False, len(head), skip)


def test_upgrades() -> None:
    """A request to leave HTTP/1 holds what follows; HTTP/2 in the clear is never left to (RFC 9110, 7.8)."""
    assert unit(request("a.example", "upgrade: WebSocket")).hold
    for offer in ("h2c", "H2C", "websocket, h2c"):
        assert not unit(request("a.example", f"Upgrade: {offer}")).hold
