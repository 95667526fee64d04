"""The bounded table of flows: what it holds, what goes first, and what it remembers of what went."""

from __future__ import annotations

from abc import abstractmethod
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterator
from itertools import islice
from typing import Final, Generic, TypeVar

from nfqdpi.core._native import mypyc_attr
from nfqdpi.core.lost import Lost
from nfqdpi.core.packet import FlowKey
from nfqdpi.core.verdict import Verdict

_AVERAGE_BYTES = 2048  # a flow may weigh on average when the table is full: so many times the limit is the memory bound
_LEAST_MEMORY = 4 << 20  # bytes, however few the flows: a single one may hold [inspect] max_bytes several times
_IPV4: Final = 4  # bytes of an address
_NETWORK: Final = 8  # bytes: the half of an IPv6 address that says where, not who (RFC 4291, 2.5.1)
_AGED: Final = 2  # flows of a kind that each insertion looks at


@mypyc_attr(acyclic=True)
class Held:
    """A flow, as far as the table is concerned. ``key`` is in the client's direction; ``seen``: when its last packet
    came. (A base class and no protocol: what is compiled finds fields by their place, not by their name.)"""

    __slots__ = ("key", "seen", "verdict", "weight")

    def __init__(self, key: FlowKey, now: float) -> None:
        self.key = key
        self.seen = now
        self.verdict = Verdict.INSPECT
        self.weight = 0  # bytes, as the table last put it on the scales; it has not met the flow before that

    @property
    @abstractmethod
    def memory(self) -> int:
        """Bytes that the flow costs, with its records; an estimate that is not below the truth."""

    @property
    @abstractmethod
    def unfinished(self) -> bool:
        """True where something of it has passed that is not judged yet."""

    @abstractmethod
    def release(self) -> None:
        """Give the bytes back: nothing more will be read."""


F = TypeVar("F", bound=Held)


class _Client(Generic[F]):
    """The flows of one client, least recently used first, and their weight in bytes. ``due``: none of them expires
    before."""

    __slots__ = ("due", "flows", "weight")

    def __init__(self) -> None:
        self.due = 0.0
        self.flows: OrderedDict[FlowKey, F] = OrderedDict()  # the first of a dict is behind all that have gone
        self.weight = 0


class FlowTable(Generic[F]):
    """At most ``limit`` flows and ``limit`` times 2 KiB, but never less than 4 MiB.

    Who goes first: accelerated flows, which only linger, beyond a quarter of the table; then flows that their clients
    have ended; then, of a client that holds more than half of what any other does, the least recently used. So a client
    that floods the table evicts itself, and finding it costs the same however many there are. A client is an IPv4
    address or an IPv6 network of 64 bits, in which a host has as many addresses as it likes. A blocked flow stays as
    long as an undecided one: should its mark get lost, it is still known here.

    What goes, evicted or expired, may keep its mark in conntrack and go on at any time (E7): a client's FIN may never
    have reached the server. Without its record it looks like a flow that is older than we are, so it is remembered for
    some hours: an expired flow by its key, which casts no doubt on any other, and an evicted one by its client, who may
    evict more of its own than anybody could remember.

    No sweep: each insertion looks at two flows of two clients, so that expiry keeps up with opening and the loop never
    stalls.
    """

    LINGER: Final = 10.0  # s: packets that queued up behind the deciding one, and early retransmissions
    ENDED: Final = 120.0  # s after the client's end; conntrack forgets them by then (nf_conntrack_tcp_timeout_fin_wait)
    IDLE: Final = 3600.0  # s: a kept-alive or preconnected flow without a byte; longer than any browser holds one open

    def __init__(self, limit: int, idle: float = IDLE) -> None:
        self.limit = limit
        self._idle = idle
        self.memory_limit = max(limit * _AVERAGE_BYTES, _LEAST_MEMORY)
        self.memory = 0
        self.evicted = 0
        self._clients: OrderedDict[bytes, _Client[F]] = OrderedDict()
        self._heavy: defaultdict[int, OrderedDict[bytes, _Client[F]]] = defaultdict(OrderedDict)  # by bits of weight
        self._count = 0  # flows of all clients
        self._passed: dict[FlowKey, F] = {}  # accelerated ones
        self._passing: deque[F] = deque()  # the same in the order in which they were, some of them forgotten by now
        self._ended: OrderedDict[FlowKey, F] = OrderedDict()  # of the undecided, those that their clients have ended
        self._ended_due = 0.0  # none of them expires before
        self._lost = Lost()

    def __len__(self) -> int:
        return self._count + len(self._passed)

    def __iter__(self) -> Iterator[F]:
        """The flows that are not accelerated, by client."""
        for client in self._clients.values():
            yield from client.flows.values()

    def get(self, key: FlowKey) -> F | None:
        """The flow with this key in the client's direction, decided or not."""
        client = self._clients.get(_network(key))
        found = client.flows.get(key) if client is not None else None
        return self._passed.get(key) if found is None else found

    def open(self, flow: F) -> None:
        """Add a flow in place of any with its key; make room first."""
        self._make_room(flow)
        self._add(flow)

    def touch(self, flow: F, now: float, *, ended: bool = False) -> None:
        """A packet of an undecided flow, which may be new: it is the last of its client's to go now. ``ended``: the
        client has ended it, and its record is kept only while what it has sent may come again."""
        if not flow.weight:
            self.open(flow)
        flow.seen = now
        if ended:
            self._ended[flow.key] = flow
            self._ended.move_to_end(flow.key)
        self._clients[_network(flow.key)].flows.move_to_end(flow.key)

    def weigh(self, flow: F) -> None:
        """Something of an undecided flow is on record, or no more: make room for it."""
        grown = flow.memory - flow.weight
        flow.weight += grown
        self._put_on(_network(flow.key), grown)
        while self.memory > self.memory_limit and self._count > 1:
            self._evict()

    def decide(self, flow: F, now: float) -> None:
        """The flow is decided, maybe by its first packet: it stays without its bytes."""
        flow.seen = now
        flow.release()
        if flow.weight:
            self.forget(flow.key)
        else:
            self._make_room(flow)
        if flow.verdict is Verdict.ACCELERATE:
            self._passed[flow.key] = flow
            self._passing.append(flow)
        else:
            self._add(flow)

    def forget(self, key: FlowKey) -> None:
        """Drop the flow, if there."""
        if key in self._passed:
            del self._passed[key]
        if key in self._ended:
            del self._ended[key]
        network = _network(key)
        client = self._clients.get(network)
        if client is not None and (flow := client.flows.pop(key, None)) is not None:
            self._count -= 1
            self._put_on(network, -flow.weight)
            if not client.flows:
                del self._clients[network]

    def has_lost(self, key: FlowKey) -> bool:
        """True where the flow with this key, seen from either end, may be one that the table has forgotten (E7)."""
        back = key.reversed()
        return key in self._lost or back in self._lost or _network(key) in self._lost or _network(back) in self._lost

    def _make_room(self, flow: F) -> None:
        self.forget(flow.key)
        self._age(_network(flow.key), flow.seen)
        while self._count + len(self._passing) >= self.limit or (
                self._count and self.memory + flow.memory > self.memory_limit):
            self._evict()

    def _add(self, flow: F) -> None:
        network = _network(flow.key)
        client = self._clients.get(network)
        if client is None:
            client = self._clients[network] = _Client()
        client.flows[flow.key] = flow
        flow.weight = flow.memory
        self._put_on(network, flow.weight)
        self._count += 1

    def _put_on(self, network: bytes, weight: int) -> None:
        """The client has become so much heavier."""
        client = self._clients[network]
        before, client.weight = client.weight.bit_length(), client.weight + weight
        self.memory += weight
        if client.weight.bit_length() != before:
            self._heavy[before].pop(network, None)
            if client.weight:
                self._heavy[client.weight.bit_length()][network] = client

    def _evict(self) -> None:
        if len(self._passing) > self.limit // 4:
            self._forget_passed()
            return
        if self._ended:
            self._lose(next(iter(self._ended.values())), expired=False)
            return
        heaviest = self._heavy[max(bits for bits, clients in self._heavy.items() if clients)]
        client = next(iter(heaviest.values()))
        self._lose(next(iter(client.flows.values())), expired=False)
        self.evicted += 1

    def _lose(self, flow: F, *, expired: bool) -> None:
        self.forget(flow.key)
        if flow.unfinished:
            self._lost.add(flow.key if expired else _network(flow.key))

    def _age(self, network: bytes, now: float) -> None:
        """Forget what has expired: among the accelerated and the ended, of this client, and of the one whose turn it
        is."""
        self._lost.age(now)
        for _ in range(_AGED):
            if self._passing and self._passing[0].seen < now - self.LINGER:
                self._forget_passed()
        if now > self._ended_due:
            self._ended_due = self._lose_older(self._ended, now, self.ENDED)
        if network in self._clients:
            self._expire(self._clients[network], now)
        turn = next(iter(self._clients), None)
        if turn is not None:
            self._clients.move_to_end(turn)
            self._expire(self._clients[turn], now)

    def _forget_passed(self) -> None:
        """The accelerated flow that was decided first."""
        flow = self._passing.popleft()
        if self._passed.get(flow.key) is flow:
            del self._passed[flow.key]

    def _expire(self, client: _Client[F], now: float) -> None:
        if now > client.due:
            client.due = self._lose_older(client.flows, now, self._idle)

    def _lose_older(self, flows: dict[FlowKey, F], now: float, kept: float) -> float:
        """Lose those of the first few that had their last packet longer ago than they are ``kept``, in seconds; they
        are in the order of it. When the next may have to go."""
        for flow in list(islice(flows.values(), _AGED)):
            if flow.seen >= now - kept:
                return flow.seen + kept
            self._lose(flow, expired=True)
        return 0.0 if flows else now + kept  # there may be more of them


def _network(key: FlowKey) -> bytes:
    """Whose flow it is."""
    return key.src if len(key.src) == _IPV4 else key.src[:_NETWORK]
