"""How every classifier is fed: byte by byte, whole, and with a tail."""

from __future__ import annotations

from nfqdpi.core.classifier import NEED_MORE, Classification, Classify, Pending, Step


def answer(classify: Classify, data: bytes) -> Classification | Step | Pending:
    """The answer to ``data``, which every shorter prefix leaves open and no tail changes."""
    for length in range(1, len(data)):
        assert classify(data[:length]) is NEED_MORE, data[:length]
    found = classify(data)
    for tail in (b"\0", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\0\x01\x01", bytes(5000)):
        assert classify(data + tail) == found
    return found


def settles(classify: Classify, data: bytes) -> Classification | Step | Pending:
    """The answer to ``data``: once a prefix has one, longer ones may only lengthen a flawed unit."""
    said: Classification | Step | Pending = NEED_MORE
    for length in range(1, len(data) + 1):
        now = classify(data[:length])
        if said is not NEED_MORE:
            assert type(now) is type(said)
            assert not isinstance(said, Classification) or (said.flaw and now.flaw) or now == said  # type: ignore[union-attr]
        said = now
    return said
