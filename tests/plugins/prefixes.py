"""How every classifier is fed: byte by byte, whole, and with a tail."""

from __future__ import annotations

from nfqdpi.core.classifier import NEED_MORE, Answer, Classification, Classify, Glimpse


def answer(classify: Classify, data: bytes) -> Answer:
    """The answer to ``data``, which every shorter prefix leaves open and no tail changes; glimpsed names are in it."""
    found = classify(data)
    for length in range(1, len(data)):
        before = classify(data[:length])
        if isinstance(before, Glimpse):
            assert isinstance(found, Classification)
            assert set(before.names) <= set(found.names)
        else:
            assert before is NEED_MORE, data[:length]
    for tail in (b"\0", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\0\x01\x01", bytes(5000)):
        assert classify(data + tail) == found
    return found


def settles(classify: Classify, data: bytes) -> Answer:
    """The answer to ``data``: once a prefix has one, longer ones may only lengthen a flawed unit."""
    said: Answer = NEED_MORE
    for length in range(1, len(data) + 1):
        now = classify(data[:length])
        if said is not NEED_MORE and not isinstance(said, Glimpse):
            assert type(now) is type(said)
            assert not isinstance(said, Classification) or (said.flaw and now.flaw) or now == said  # type: ignore[union-attr]
        said = now
    return said
