"""The packets of whole flows, as a gateway between both ends sees them."""

from __future__ import annotations

from itertools import pairwise

from nfqdpi.testing.packets import ACK, CLIENT, CLIENT6, FIN, SERVER, SERVER6, SYN, ip, tcp
from nfqdpi.testing.packets import udp as datagram

_TCP, _UDP = 6, 17


class FromServer(bytes):
    """In a flow's payloads: what the server says."""


class Talk:
    """The packets of one TCP flow, as both sides send them."""

    def __init__(self, client: str = CLIENT, server: str = SERVER, *, sport: int = 40000, dport: int = 8123,
                 isn: int = 1000) -> None:
        self.client, self.server, self.sport, self.dport = client, server, sport, dport
        self.isn, self.seq, self.ack = isn, isn + 1, 5001

    def says(self, payload: bytes = b"", *, at: int | None = None, flags: int = ACK) -> bytes:
        """The client's next segment, or one at the stream offset ``at``."""
        seq = self.seq if at is None else self.isn + 1 + at
        if at is None:
            self.seq += len(payload)
        return self._packet(payload, seq, self.ack, flags, forth=True)

    def hears(self, payload: bytes = b"", *, flags: int = ACK) -> bytes:
        """The server's next segment."""
        packet = self._packet(payload, self.ack, self.seq, flags, forth=False)
        self.ack += len(payload)
        return packet

    def opening(self) -> list[bytes]:
        """SYN, SYN+ACK, ACK."""
        return [self._packet(b"", self.isn, 0, SYN, forth=True),
                self._packet(b"", 5000, self.isn + 1, SYN | ACK, forth=False), self.says()]

    def closing(self) -> list[bytes]:
        """Each end's FIN, and the last ACK."""
        client = self.says(flags=FIN | ACK)
        self.seq += 1
        server = self.hears(flags=FIN | ACK)
        self.ack += 1
        return [client, server, self.says()]

    def _packet(self, payload: bytes, seq: int, ack: int, flags: int, *, forth: bool) -> bytes:
        ports = (self.sport, self.dport) if forth else (self.dport, self.sport)
        ends = (self.client, self.server) if forth else (self.server, self.client)
        return ip(_TCP, tcp(payload, seq=seq, ack=ack, flags=flags, sport=ports[0], dport=ports[1]), *ends)


def segments(payload: bytes, *cuts: int) -> list[bytes]:
    """The payload in pieces: one begins at each offset of ``cuts``. Offsets outside the payload cut nothing."""
    bounds = [0, *sorted({cut for cut in cuts if 0 < cut < len(payload)}), len(payload)]
    return [payload[start:end] for start, end in pairwise(bounds)]


def flow(*payloads: bytes, port: int = 443, sport: int = 40000, six: bool = False, udp: bool = False) -> list[bytes]:
    """The packets of a flow to a server's port: one for each payload, the client's but for those that are
    ``FromServer``. Over TCP with its opening and its end."""
    ends = (CLIENT6, SERVER6) if six else (CLIENT, SERVER)
    if udp:
        return [
            ip(_UDP, datagram(payload, sport=port, dport=sport), *ends[::-1]) if isinstance(payload, FromServer)
            else ip(_UDP, datagram(payload, sport=sport, dport=port), *ends)
            for payload in payloads
        ]
    talk = Talk(*ends, sport=sport, dport=port)
    packets = talk.opening()
    for payload in payloads:
        packets += [talk.hears(payload), talk.says()] if isinstance(payload, FromServer) else [talk.says(payload)]
    return [*packets, *talk.closing()]
