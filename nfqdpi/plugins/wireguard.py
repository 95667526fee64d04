"""WireGuard: the first message of a handshake (the white paper, 5.4.2), which begins every tunnel and follows every two
minutes.

There is no name in it, so rules go by protocol.
"""

from __future__ import annotations

import msgspec

from nfqdpi.core.classifier import NEED_MORE, NO_MATCH, Classification, DatagramClassifier, Pending
from nfqdpi.core.plugin import Plugin

# --- the protocol's constants (5.4.2 and 5.4.6): a byte of type, three of zero, all else looks like chance ---
_INITIATION, _TRANSPORT = b"\x01\0\0\0", b"\x04\0\0\0"
_INITIATION_BYTES = 148  # sender 4, ephemeral 32, static 32 + 16, timestamp 12 + 16, mac1 16, mac2 16
_LEAST_TRANSPORT_BYTES, _BLOCK = 32, 16  # receiver 4, counter 8, tag 16; what is sealed is padded to blocks


def read(payload: bytes) -> Classification | Pending:
    """A client's datagram. Data of a tunnel that is older than the gateway says nothing: the next handshake does."""
    if len(payload) == _INITIATION_BYTES and payload.startswith(_INITIATION):
        return Classification("wireguard", length=_INITIATION_BYTES)
    if payload.startswith(_TRANSPORT) and len(payload) >= _LEAST_TRANSPORT_BYTES and len(payload) % _BLOCK == 0:
        return NEED_MORE
    return NO_MATCH


class Settings(msgspec.Struct, frozen=True):
    """None."""


classifier = DatagramClassifier("wireguard", "wireguard", "1", read, ports=(51820,))
plugin = Plugin(lambda _: (classifier,), Settings, enabled=False)
