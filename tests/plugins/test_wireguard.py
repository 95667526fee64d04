"""The datagrams of WireGuard."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfqdpi.core.classifier import NEED_MORE, NO_MATCH, Classification
from nfqdpi.plugins.wireguard import classifier
from nfqdpi.testing import flow, quic_initial, verdict_of

INITIATION = b"\x01\0\0\0" + bytes(range(144))
RESPONSE = b"\x02\0\0\0" + bytes(88)
DATA = b"\x04\0\0\0" + bytes(28)  # a keep-alive
NO_WIREGUARD = {"name": "no tunnels", "action": "block", "protocols": ["wireguard"]}


def test_an_initiation() -> None:
    """148 bytes of type 1, three of them zero."""
    assert classifier.read(INITIATION) == Classification("wireguard", length=148)


@pytest.mark.parametrize("data", [DATA, DATA + bytes(16), DATA + bytes(1408)])
def test_data(data: bytes) -> None:
    """Of an older tunnel is waited out."""
    assert classifier.read(data) is NEED_MORE


@pytest.mark.parametrize("data", [
    b"", INITIATION[:-1], INITIATION + b"\0", b"\x01\0\0\x01" + INITIATION[4:], b"\x05" + INITIATION[1:], RESPONSE,
    DATA[:-16], DATA + b"\0", quic_initial("a.example"),
])
def test_anything_else(data: bytes) -> None:
    """Is none of ours; a client answers no handshake."""
    assert classifier.read(data) is NO_MATCH


@given(st.binary(max_size=200) | st.binary(min_size=140, max_size=150).map(lambda rest: b"\x01\0\0\0" + rest))
def test_any_bytes(data: bytes) -> None:
    """Have an answer."""
    assert (classifier.read(data) == Classification("wireguard", length=148)) is (
        len(data) == 148 and data[:4] == b"\x01\0\0\0")


@pytest.mark.parametrize("mode", ["strict", "fast"])
@pytest.mark.parametrize("before", [(), (DATA, DATA)])
def test_a_rule_by_protocol(mode: str, before: tuple[bytes, ...]) -> None:
    """Blocks a handshake, also that of a tunnel that is older than the gateway."""
    packets, settings = flow(*before, INITIATION, DATA, port=51820, udp=True), {"inspect": {"mode": mode}}
    blocked = verdict_of(packets, classifier, rules=[NO_WIREGUARD], settings=settings)
    assert (blocked.proto, blocked.verdict, blocked.rule) == ("wireguard", "block", "no tunnels")
    assert verdict_of(packets, classifier, settings=settings).verdict == "accelerate"
