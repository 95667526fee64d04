"""HTTP/1.x: WebSocket frames on a connection that may not have changed to WebSocket (RFC 6455)."""

from __future__ import annotations

from dataclasses import dataclass

from nfqdpi.core.classifier import NEED_MORE, Answer, Classify, Step
from nfqdpi.plugins.http_line import PART, VERSIONED, flawed

# First bytes of a client's WebSocket frames (RFC 6455, 5.2): text, binary and what goes on with one, compressed or not
# (RFC 7692, 6); close, ping and pong. Not the two that are letters (the first part of a compressed message): "A" may be
# a method.
FRAMES = frozenset(bytes((first,)) for first in (0x00, 0x01, 0x02, 0x80, 0x81, 0x82, 0xC1, 0xC2, 0x88, 0x89, 0x8A))
_CONTROL = range(0x88, 0x8B)  # those that have no longer length (5.5)
_MASKED, _FRAME_HEAD, _MASK = 0x80, 2, 4  # a bit of the second byte; bytes
_LONGER = {126: 2, 127: 8}  # bytes of a longer length, by the short one


@dataclass(frozen=True, slots=True)
class RequestOrFrame:
    """What follows the offer of a WebSocket whose answer cannot be told from an earlier one's: another request, or a
    masked frame, whose payload is opaque.

    To a server that has not changed to WebSocket the frames begin a line. Where that is no request line, it answers 400
    and closes (nginx, Node.js, Python's own); ``request`` reads requests; ``line`` is its end so far, None:
    it is over."""

    request: Classify
    line: bytes | None = b""

    def __call__(self, prefix: bytes) -> Answer:
        if prefix[:1] not in FRAMES:
            return self.request(prefix)
        if len(prefix) < _FRAME_HEAD:
            return NEED_MORE
        longer = _LONGER.get(prefix[1] & ~_MASKED, 0)
        if not prefix[1] & _MASKED or (longer and prefix[0] in _CONTROL):
            return flawed(prefix, "no frame of a client's")
        head = _FRAME_HEAD + longer + _MASK
        if len(prefix) < head:
            return NEED_MORE
        size = int.from_bytes(prefix[_FRAME_HEAD : _FRAME_HEAD + longer], "big") if longer else prefix[1] & ~_MASKED
        if self.line is None:
            return Step(head, size, self)
        return _LineOfFrames(self.request, head + size, self.line)(prefix)


@dataclass(frozen=True, slots=True)
class _LineOfFrames:
    """What is ``left`` of a frame, in a line, behind ``before``, that may not become a request's: a mask that is any
    good leaves a version in it to chance."""

    request: Classify
    left: int
    before: bytes

    def __call__(self, prefix: bytes) -> Answer:
        frame = prefix[: self.left]
        line, end, _ = (self.before + frame).partition(b"\n")
        if (version := VERSIONED.search(line)) is not None:
            line = line[: version.end() - 1]
        elif end:
            return Step(len(frame), self.left - len(frame), RequestOrFrame(self.request, None))
        size, before = len(line) - len(self.before), line[-PART:]
        if not size:
            return flawed(prefix, "a request for a frame")
        if size == self.left:
            return Step(size, 0, RequestOrFrame(self.request, before))
        return Step(size, 0, _LineOfFrames(self.request, self.left - size, before))
