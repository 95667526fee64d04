"""A client's datagrams, read one after the other; and those that the fuzzer makes."""

from __future__ import annotations

from collections.abc import Iterable

from nfqdpi.core.classifier import Answer, Classification, Classify, Glimpse
from nfqdpi.plugins.quic import read
from nfqdpi.testing.quic import V1, V2, initial


def said(datagrams: Iterable[bytes]) -> list[Answer]:
    """What the reader answers to each, up to where nothing more is read."""
    answers: list[Answer] = []
    reader: Classify = read
    for datagram in datagrams:
        answers.append(answer := reader(datagram))
        if isinstance(answer, Classification | Glimpse):
            if answer.then is None:
                break
            reader = answer.then
    return answers


_IDS = (b"attempt1", b"attempt2", b"server's", b"")
_VERSIONS = (V1, V2)


def datagrams(data: bytes) -> list[bytes]:
    """What the bytes stand for: pieces behind three bytes, which are a datagram as it is, or frames to be sealed. The
    first says which, with which id and the keys of which, in what version, and whether it is coalesced with the last;
    the second is the packet number, the third the length in eights."""
    made: list[bytes] = []
    while len(data) >= 3:
        how, number, length = data[0], data[1], 8 * data[2]
        piece, data = data[3 : 3 + length], data[3 + length :]
        if how & 1:
            piece = initial(piece, number=number, size=1 + (how >> 7), dcid=_IDS[how >> 1 & 3],
                            under=_IDS[how >> 3 & 1], version=_VERSIONS[how >> 4 & 1], pad=0)
        if how & 0x20 and made:
            made[-1] += piece
        else:
            made.append(piece)
    return made
