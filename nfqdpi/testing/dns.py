"""DNS messages, put together by hand (RFC 1035, 4), so that no reader checks itself."""

from __future__ import annotations

import struct
from ipaddress import ip_address

from nfqdpi.testing.tls import vector

A, NS, CNAME, SOA, MX, TXT, AAAA, OPT, RRSIG, HTTPS, ANY = 1, 2, 5, 6, 15, 16, 28, 41, 46, 65, 255
QUERY, ANSWER, TRUNCATED = 0x0100, 0x8180, 0x0200
MANDATORY, ALPN, IPV4_HINT, ECH, IPV6_HINT = 0, 1, 4, 5, 6
ASKED = b"\xc0\x0c"  # a pointer to the name that is asked for


def name(text: str) -> bytes:
    """A name's labels, as they stand."""
    return b"".join(vector(1, label.encode()) for label in text.split(".") if label) + b"\0"


def question(of: str | bytes, kind: int = A, group: int = 1) -> bytes:
    """A question (4.1.2)."""
    return (name(of) if isinstance(of, str) else of) + struct.pack("!HH", kind, group)


def resource(owner: str | bytes, kind: int, data: bytes, *, ttl: int = 300, group: int = 1) -> bytes:
    """A record (4.1.3)."""
    owner = name(owner) if isinstance(owner, str) else owner
    return owner + struct.pack("!HHI", kind, group, ttl) + vector(2, data)


def message(*questions: bytes, answers: tuple[bytes, ...] = (), authorities: tuple[bytes, ...] = (),
            additionals: tuple[bytes, ...] = (), flags: int = QUERY, number: int = 0x1234) -> bytes:
    """A message (4.1.1)."""
    sections = questions, answers, authorities, additionals
    return struct.pack("!6H", number, flags, *map(len, sections)) + b"".join(map(b"".join, sections))


def edns(*options: tuple[int, bytes], flags: int = 0) -> bytes:
    """An OPT record (RFC 6891, 6.1.2)."""
    inside = b"".join(struct.pack("!H", code) + vector(2, value) for code, value in options)
    return resource(b"\0", OPT, inside, ttl=flags, group=1232)


def service(*parameters: tuple[int, bytes], target: str = ".", priority: int = 1) -> bytes:
    """The RDATA of an HTTPS record (RFC 9460, 2.2)."""
    values = b"".join(struct.pack("!H", key) + vector(2, value) for key, value in parameters)
    return struct.pack("!H", priority) + name(target) + values


def query(of: str = "a.example", kind: int = A, *additionals: bytes) -> bytes:
    """What a resolver is asked."""
    return message(question(of, kind), additionals=additionals)


def answer(of: str, kind: int, *records: bytes, additionals: tuple[bytes, ...] = (), flags: int = ANSWER) -> bytes:
    """What it says."""
    return message(question(of, kind), answers=records, additionals=additionals, flags=flags)


def dns_query(of: str, *, six: bool = False) -> bytes:
    """The question for a name's addresses."""
    return query(of, AAAA if six else A)


def dns_answer(of: str, *addresses: str, ttl: int = 300) -> bytes:
    """The answer: addresses of one IP version; none: the name has none."""
    packed = [ip_address(address).packed for address in addresses]
    kind = AAAA if packed and len(packed[0]) == 16 else A
    return answer(of, kind, *(resource(ASKED, kind, address, ttl=ttl) for address in packed))
