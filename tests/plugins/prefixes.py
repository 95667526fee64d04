"""How every classifier is fed: byte by byte, whole, and with a tail."""

from __future__ import annotations

from nfqdpi.core.classifier import NEED_MORE, Answer, Classification, Classify, Glimpse


def waits(answer: Answer) -> bool:
    """True of the answers that leave all open."""
    return answer is NEED_MORE or isinstance(answer, Glimpse)


def answer(classify: Classify, data: bytes) -> Answer:
    """The answer to ``data``, which every shorter prefix leaves open and no tail changes. What reads on from where the
    last one got answers the same, and the glimpsed names are in it."""
    found, read_on = classify(data), classify
    told: set[str] = set()
    for length in range(1, len(data)):
        before, further = classify(data[:length]), read_on(data[:length])
        assert waits(before), data[:length]
        assert waits(further), data[:length]
        if isinstance(further, Glimpse):
            told |= set(further.names)
            read_on = further.then or read_on
        assert told == (set(before.names) if isinstance(before, Glimpse) else set())
    assert read_on(data) == found
    assert not told or (isinstance(found, Classification) and told <= set(found.names))
    for tail in (b"\0", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\0\x01\x01", bytes(5000)):
        assert classify(data + tail) == found
    return found


def unit(classify: Classify, data: bytes) -> Classification:
    """The one unit that ``data`` is, fed in every way."""
    found = answer(classify, data)
    assert isinstance(found, Classification)
    assert found.length == len(data)
    return found


def settles(classify: Classify, data: bytes) -> Answer:
    """The answer to ``data``: once a prefix has one, longer ones may only lengthen a flawed unit."""
    said: Answer = NEED_MORE
    for length in range(1, len(data) + 1):
        now = classify(data[:length])
        if not waits(said):
            assert type(now) is type(said)
            assert not isinstance(said, Classification) or (said.flaw and now.flaw) or now == said  # type: ignore[union-attr]
        said = now
    return said
