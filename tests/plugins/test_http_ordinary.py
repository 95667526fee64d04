"""Heads of the usual kind, which are read in one go."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfqdpi.plugins.http import _any, _next_request
from nfqdpi.plugins.http_ordinary import ordinary
from nfqdpi.testing.http import request

_PIECES = [
    b"GET /a?b HTTP/1.1\r\n", b"POST / HTTP/1.0\r\n", b"CONNECT /a HTTP/1.1\r\n", b"Host: a.example\r\n",
    b"hOST:\tB.example:80 \r\n", b"Host: " + b"a" * 254 + b"\r\n", b"Host:\r\n", b"Host: c d\r\n",
    b"Host : c.example\r\n", b"Host\r\n", b" Host: d.example\r\n",
    b"\x0bHost: d.example\r\n", b"Host: e..\r\n", b"Accept: */*\r\n", b"X:y", b"\r\n", b"\r", b"\n", b"\0", b" ", b"\t",
    b"\x0b", b"\xe4", b":", b"Upgrade: h2c\r\n", b"upgrade", b"Content-Length: 4\r\n",
    b"Transfer-Encoding: chunked\r\n", b"X-Transfer-Encoding: y\r\n", b"Upgrade-Insecure-Requests: 1\r\n",
]


@given(st.sampled_from([b"", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: a.example\r\n"]),
       st.lists(st.sampled_from(_PIECES), max_size=9).map(b"".join))
def test_what_is_read_in_one_go_is_read_the_same(start: bytes, rest: bytes) -> None:
    """The reader of ordinary heads and that of all heads agree wherever both read one."""
    head = start + rest + b"\r\n\r\n"
    found = ordinary(head, _next_request)
    assert found is None or found == _any(head)


@pytest.mark.parametrize("data", [
    request("a.example"), request("A.example:80", "Accept: */*", method="HEAD"),
    request("10.0.0.1", target="/" + "x" * 5000),
    request("a.example", "Upgrade-Insecure-Requests: 1", "Connection: keep-alive", "Cookie: a=b", "User-Agent: c"),
])
def test_ordinary_heads(data: bytes) -> None:
    """They are known as such, whatever follows."""
    assert ordinary(data + b"what follows", _next_request) is not None
