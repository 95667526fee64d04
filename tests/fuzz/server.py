"""A simple, honest server: TCP as a receiver sees it, and what its application reads of TLS and HTTP.

It shares no code with the engine, and is kept stupid so that it can be seen to be right.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

from nfqdpi.testing.http import response
from nfqdpi.testing.tls import RETRY, server_hello

_ROOM = 8192  # bytes of a stream that are modelled
_ONES = b"\1" * _ROOM
_HEAD = re.compile(rb"[A-Z]+ (\S+) HTTP/1\.[01]\r\n((?:[!-9;-~]+:[^\r\n]*\r\n)*)\r\n")
_HEAD_BEGUN = re.compile(rb"[A-Z]+ \S+ HTTP/1\.[01]\r\n((?:[!-9;-~]+:[^\r\n]*\r\n)*)")
_HOST = re.compile(rb"(?im)^host: *([^:\r\n]*)")
_CHUNK = re.compile(rb"([0-9a-f]+)(?:;[^\r\n]*)?\r\n")


class Image:
    """A stream's first bytes as they came. ``last_wins``: a second copy of a byte that was not read yet replaces the
    first (receivers differ)."""

    def __init__(self, *, last_wins: bool = False) -> None:
        self.last_wins = last_wins
        self.bytes = bytearray(_ROOM)
        self.there = bytearray(_ROOM)
        self.read = 0  # the application has everything below

    def put(self, offset: int, payload: bytes) -> None:
        """Take a segment's bytes."""
        start, end = max(offset, self.read), min(offset + len(payload), _ROOM)
        if start >= end:
            return
        if self.last_wins or 1 not in self.there[start:end]:
            self.bytes[start:end], self.there[start:end] = payload[start - offset : end - offset], _ONES[: end - start]
        else:
            for at in range(start, end):
                if not self.there[at]:
                    self.bytes[at], self.there[at] = payload[at - offset], 1
        self.read = max(self.there.find(0, self.read), self.read)

    def conflicts(self, offset: int, payload: bytes) -> list[int]:
        """The offsets at which another value came before."""
        start, end = max(offset, 0), min(offset + len(payload), _ROOM)
        if self.bytes[start:end] == payload[start - offset : end - offset]:
            return []
        return [at for at in range(start, end) if self.there[at] and self.bytes[at] != payload[at - offset]]

    def text(self) -> bytes:
        """What the application has read."""
        return bytes(self.bytes[: self.read])


@dataclass
class Heard:
    """What an application understood of a stream: ``names`` asked for, ``bodies`` that it did not look into as (start,
    end), ``answers`` in order; ``over``: it takes nothing more for a request."""

    names: list[bytes] = field(default_factory=list)
    bodies: list[tuple[int, int]] = field(default_factory=list)
    answers: list[bytes] = field(default_factory=list)
    over: bool = False


@lru_cache(maxsize=1024)
def understand(text: bytes, *, willing: bool) -> Heard:
    """Read a stream from its start. A ``willing`` server agrees to upgrades and tunnels, and takes the first
    ClientHello; another one stays with HTTP, and asks for a second hello."""
    heard = Heard()
    if text[:1] == b"\x16":
        _tls(text, heard, willing)
    else:
        _http(text, heard, willing)
    return heard


def _tls(text: bytes, heard: Heard, willing: bool) -> None:
    at, message = 0, b""
    while len(text) >= at + 5 and not heard.over:
        kind, length = text[at], int.from_bytes(text[at + 3 : at + 5], "big")
        end = at + 5 + length
        if len(text) < end:
            return
        if kind == 22:
            message += text[at + 5 : end]
        at = end
        if len(message) >= 4 and len(message) == 4 + int.from_bytes(message[1:4], "big"):
            heard.names += re.findall(rb"\0\0.\0.\0\0.([a-z.]+)", message, re.DOTALL)[:1]
            heard.over = willing or bool(heard.answers)
            heard.answers.append(server_hello() if heard.over else server_hello(RETRY))
            message = b""


def _http(text: bytes, heard: Heard, willing: bool) -> None:
    at = 0
    while at < len(text) and not heard.over:
        head = _HEAD.match(text, at)
        if head is None:
            # It waits for the end of a head, answers nothing else, and logs what it has of it.
            heard.over = b"\r\n\r\n" in text[at:]
            if (begun := _HEAD_BEGUN.match(text, at)) is not None and not heard.over:
                heard.names += _HOST.findall(begun[1])
            return
        heard.names += _HOST.findall(head[2])
        at = head.end()
        tunnel = head[0].startswith(b"CONNECT")
        if tunnel:
            heard.names.append(head[1].partition(b":")[0])
        heard.over = willing and (tunnel or re.search(rb"(?im)^upgrade:", head[2]) is not None)
        if heard.over:
            heard.answers.append(response("200 OK" if tunnel else "101 Switching Protocols"))
            return
        heard.answers.append(response("200 OK", "Content-Length: 0"))
        if re.search(rb"(?im)^transfer-encoding: *chunked\r$", head[2]):
            at = _chunks(text, at, heard)
        elif length := re.search(rb"(?im)^content-length: *(\d+)\r$", head[2]):
            heard.bodies.append((at, at + int(length[1])))
            at += int(length[1])


def _chunks(text: bytes, at: int, heard: Heard) -> int:
    """Where the request behind a chunked body starts; past the text where it is not there yet."""
    while (size := _CHUNK.match(text, at)) is not None:
        end = size.end() + int(size[1], 16)
        if end == size.end():
            trailer = text.find(b"\r\n", end)
            return trailer + 2 if trailer >= 0 else len(text)
        heard.bodies.append((size.end(), end))
        at = end + 2
    return len(text)
