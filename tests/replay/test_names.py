"""A name that breaks the rules is malformed, and is shown all the same: an operator wants to see what was tried."""

from __future__ import annotations

import pytest

from nfqdpi.core.classifier import Classification
from nfqdpi.plugins import http, tls
from nfqdpi.testing.http import request
from nfqdpi.testing.tls import alpn, extension, hello_message, record, server_name


def _http(host: str) -> Classification:
    found = http.classifier.classify(request(host))
    assert isinstance(found, Classification)
    return found


def _tls(*extensions: bytes) -> Classification:
    found = tls.classifier.classify(record(hello_message(*extensions)))
    assert isinstance(found, Classification)
    return found


@pytest.mark.parametrize(("host", "name"), [
    ("${jndi:ldap://x.example:1389/A}", "${jndi:ldap://x.example:1389/a}"),
    ("bad host.example", "bad host.example"),
    ("a,b.example:8080", "a,b.example"),
    ("\x1b[31mred.example", "\x1b[31mred.example"),
    ("caf\xe9.example.", "caf\\xe9.example"),
    ("x" * 300 + "!", "x" * 253),
])
def test_host_that_is_none(host: str, name: str) -> None:
    """A Host that cannot be a host name is a flaw, and the flow's name, bounded and without its port."""
    found = _http(host)
    assert found.flaw
    assert found.name == name


@pytest.mark.parametrize("host", ["a_b.example", "127.0.0.1", "[2001:db8::1]:80", "example"])
def test_host_that_is_one(host: str) -> None:
    """Underscores, addresses and single labels are no flaws."""
    assert not _http(host).flaw


def test_clean_name_behind_a_flawed_one() -> None:
    """All names of a request are there, the flawed ones in their places."""
    found = http.classifier.classify(request("a b", "Host: clean.example"))
    assert isinstance(found, Classification)
    assert found.names == ("a b", "clean.example")


@pytest.mark.parametrize(("extensions", "names"), [
    ((server_name(b"no good.example"),), ("no good.example",)),
    ((server_name(b"-\xff.example"),), ("-\\xff.example",)),
    ((server_name(b"one.example", b"two.example"),), ("one.example", "two.example")),
    ((server_name(b"one.example"), server_name(b"two.example")), ("one.example", "two.example")),
    ((server_name(b"one.example"), extension(16, b"\x00\x09\x01")), ("one.example",)),
    ((alpn(b"h2"), server_name(b"")), ()),
])
def test_server_name_of_a_flawed_hello(extensions: tuple[bytes, ...], names: tuple[str, ...]) -> None:
    """Whatever names a hello had before its flaw, it keeps."""
    found = _tls(*extensions)
    assert found.flaw
    assert found.names == names
