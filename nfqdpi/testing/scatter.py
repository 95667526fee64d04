"""The same packets as a worse network, or a client that means to hide, would deliver them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final

from nfqdpi.core.packet import Flags, FlowKey, Segment, Unreadable, parse
from nfqdpi.testing.packets import ip, tcp

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

_MOST_CUTS: Final = 6  # in an example; an engine takes 64 segments of a unit
_FURTHEST_CUT: Final = 1 << 12  # bytes from the start of what a client says; names come early

Run = list[bytes]  # packets with payload, of one client, between two of its server's
Order = Callable[[Run], Iterable[bytes]]


def scattered(packets: Iterable[bytes], cuts: Iterable[int] = (), order: Order = list) -> Iterator[bytes]:
    """The flows of these packets, each run of a client's cut at ``cuts`` and put in an ``order``.

    A run is what a client says between two payloads of its server's; ``cuts`` count from its first byte. Datagrams
    stay whole. A flow's client is who sends the first packet.
    """
    at = frozenset(cuts)
    runs: dict[FlowKey, Run] = {}
    for packet in packets:
        parsed = parse(packet)
        if isinstance(parsed, Unreadable):
            yield packet
            continue
        key = parsed.key
        if key.reversed() in runs:
            if parsed.payload:
                yield from _flushed(runs[key.reversed()], at, order)
            yield packet
            continue
        run = runs.setdefault(key, [])
        if not parsed.payload:
            yield from _flushed(run, at, order)
            yield packet
        else:
            run.append(packet)
    for run in runs.values():
        yield from _flushed(run, at, order)


def _flushed(run: Run, cuts: frozenset[int], order: Order) -> Iterator[bytes]:
    pieces: Run = []
    start = 0
    for packet in run:
        parsed = parse(packet)
        assert not isinstance(parsed, Unreadable)  # or it would not be in a run
        end = start + len(parsed.payload)
        if isinstance(parsed, Segment):
            pieces += _cut(packet, parsed, sorted(cut - start for cut in cuts if start < cut < end))
        else:
            pieces.append(packet)
        start = end
    run.clear()
    yield from order(pieces)


def _cut(packet: bytes, segment: Segment, cuts: list[int]) -> Iterator[bytes]:
    """The segment in pieces; what ends a stream stands in the last, a SYN in the first."""
    if not cuts:
        yield packet
        return
    key, size = segment.key, len(segment.payload)
    for start, end in zip((0, *cuts), (*cuts, size), strict=True):
        flags, seq = segment.flags, segment.seq + start
        if start:
            flags, seq = flags & ~Flags.SYN, seq + bool(flags & Flags.SYN)
        if end < size:
            flags &= ~(Flags.FIN | Flags.RST)
        yield ip(key.proto, tcp(segment.payload[start:end], seq=seq, ack=segment.ack, flags=flags, sport=key.sport,
                                dport=key.dport, options=segment.options), key.src, key.dst)


def cuts(packets: Iterable[bytes]) -> SearchStrategy[list[bytes]]:
    """For hypothesis: the flows of these packets with each run cut anywhere, in any order."""
    from hypothesis import strategies as st

    whole = list(packets)
    size = max((len(parsed.payload) for packet in whole if not isinstance(parsed := parse(packet), Unreadable)),
               default=0)
    at = st.sets(st.integers(1, max(1, min(size - 1, _FURTHEST_CUT))), max_size=_MOST_CUTS)
    chance = st.randoms(use_true_random=False)
    return st.builds(lambda at, by: list(scattered(whole, at, lambda run: by.sample(run, len(run)))), at, chance)
