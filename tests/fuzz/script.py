"""The byte language in which a fuzzer writes moves: one byte says what and to whom, the next ones how."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.fuzz.world import PORTS, WAYS, Answer, Forge, Move, Opens, Raw, Send, Wait, World

_MOST_MOVES = 60
_WAITS = (0.5, 8.0, 31.0, 4000.0)
_SHIFTS = (0, 0, 0, 0, -1, 1, -40, 40)


def play(data: bytes) -> None:
    """The first four bytes are what the clients and servers are like, the rest is moves. A bit of the first makes the
    table too small for all the flows."""
    kinds = data[:4].ljust(4, b"\0")
    World(kinds, max_flows=3 if kinds[0] & 64 else 4).play(moves(data[4:]))


def moves(data: bytes) -> Iterator[Move]:
    """At most 60 moves. A byte is, from its lowest bit: two of the port, three of the kind of move, three for it."""
    source = iter(data)
    for _, first in zip(range(_MOST_MOVES), source, strict=False):
        port, kind, more = PORTS[first & 3], first >> 2 & 7, first >> 5
        a, b, c = next(source, 0), 0, 0
        if kind < 5:
            b, c = next(source, 0), next(source, 0)
        match kind:
            case 0 | 1 | 2 | 3:
                # The top value of a length is "all of the text".
                start, length = a | (b & 0x07) << 8, c if c < 0xFF else 1 << 12
                yield Send(port, start, length, _SHIFTS[more] if kind == 3 else 0, bool(kind & 1), kind < 2,
                           b >> 3 if b >> 3 < len(WAYS) else 0)
            case 4:
                yield Answer(port, b or 1 << 12, c)
            case 5:
                yield Opens(port, again=a > 250)
            case 6:
                yield Wait(_WAITS[a & 3]) if more < 6 else Forge(port, bool(a & 1))
            case _:
                yield Raw(bytes(byte for _, byte in zip(range(a), source, strict=False)))


def written(script: bytes, steps: Sequence[Send | Answer | Forge]) -> bytes:
    """A script of plain moves, for seeds: segments at their places, answers and forged ones."""
    for step in steps:
        port = step.port - PORTS[0]
        match step:
            case Send(_, start, length, _, decoy, arrives):
                kind = (0 if arrives else 2) + decoy
                script += bytes((port | kind << 2, start & 0xFF, start >> 8, min(length, 0xFF)))
            case Answer(_, length, back):
                script += bytes((port | 4 << 2, 0, length & 0xFF, back))
            case Forge(_, willing):
                script += bytes((port | 6 << 2 | 7 << 5, willing))
    return script
