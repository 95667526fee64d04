"""Tunnels through DNS are found, and what looks like one is not."""

from __future__ import annotations

import random
import sys
from base64 import b32encode
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import publicsuffixlist
import pytest

from nfqdpi.core.observer import Remark, Seen
from nfqdpi.daemon import observation
from nfqdpi.plugins.dns_tunnels import _MOST, _MOST_NAMES, Settings, Tunnels, information, make
from nfqdpi.policy.suffixes import registrable

CLIENT = bytes((10, 0, 0, 7))
CHANCE = random.Random(11)  # noqa: S311  the same in every run


def asks(tunnels: Tunnels, names: Iterable[str], every: float = 0.2, client: bytes = CLIENT) -> list[Remark]:
    """What is remarked of a client's questions."""
    remarks: list[Remark] = []
    for number, name in enumerate(names):
        remarks += tunnels.seen(Seen(1000.0 + every * number, client, b"", (name,), registrable(name), "dns", False))
    return remarks


def labels(text: str, longest: int) -> str:
    return ".".join(text[at : at + longest] for at in range(0, len(text), longest))


def iodine(count: int) -> Iterator[str]:
    """A file goes up: base32 in labels of 57 characters, 200 in all, behind a user, a sequence and a checksum."""
    for number in range(count):
        data = b32encode(CHANCE.randbytes(120)).decode().lower().rstrip("=")
        yield f"0{number % 16:x}{CHANCE.choice('abcdefgh')}{labels(data, 57)}.t.example.org"


def dnscat(count: int, size: int) -> Iterator[str]:
    """Hexadecimal packets: an identifier, a kind, a flow and two counters, then what is said, if anything is."""
    for number in range(count):
        packet = CHANCE.randbytes(2) + b"\1\x5a\x17" + number.to_bytes(2, "big") + bytes(2) + CHANCE.randbytes(size)
        yield f"{labels(packet.hex(), 60)}.example.net"


@pytest.mark.parametrize(("names", "every", "domain"), [
    pytest.param(list(iodine(400)), 0.02, "example.org", id="iodine, a file"),
    pytest.param(list(dnscat(300, 100)), 0.1, "example.net", id="dnscat, a file"),
    pytest.param(list(dnscat(300, 0)), 1.0, "example.net", id="dnscat, silent"),
    pytest.param(list(dnscat(60, 12)), 4.0, "example.net", id="dnscat, now and then"),
])
def test_tunnels(names: list[str], every: float, domain: str) -> None:
    """Each is told of once in some minutes, by its domain, and the client gets no more names below it where that is
    wanted."""
    (remark,) = asks(Tunnels(Settings(block=600.0)), names, every)
    assert remark.kind == "dns_tunnel"
    assert remark.message.startswith(f"10.0.0.7 asks for ever new names below {domain}, ")
    assert remark.block == (domain, CLIENT, 600.0)
    assert not asks(Tunnels(Settings(ignore=(domain,))), names, every)
    assert [one.block for one in asks(Tunnels(Settings()), names, every)] == [None]


def browsing(sites: int) -> Iterator[str]:
    """An hour of a household in a minute: sites with their hosts, each asked for again and again; stores and streams
    that number theirs; sessions' names of clouds; mail servers' look-ups; names backwards."""
    hosts = ("www", "api", "static", "img", "cdn", "login", "m", "shop", "assets", "fonts", "ads", "track", "beacon")
    for number in range(sites):
        for host in CHANCE.sample(hosts, 5):
            yield f"{host}.site{number % (sites // 3)}.com"
        if number % 5 == 0:
            yield f"rr{number % 9}---sn-{CHANCE.choice('4h')}g5e{CHANCE.choice('dns')}ze7.googlevideo.com"
            yield f"d{CHANCE.getrandbits(52):x}.cloudfront.net"
            yield f"ec2-{CHANCE.randrange(256)}-{CHANCE.randrange(256)}-0-1.eu-west-1.compute.amazonaws.com"
            yield f"{CHANCE.getrandbits(32):08x}.s3.amazonaws.com"
            yield f"{number % 256}.{CHANCE.randrange(256)}.0.192.in-addr.arpa"
            yield f"{'.'.join(f'{CHANCE.getrandbits(128):032x}')}.ip6.arpa"
        if number % 50 == 0:
            yield f"scontent-fra{number % 7}-{number % 3}.xx.fbcdn.net"
            yield f"e{CHANCE.randrange(99999)}.dscb.akamaiedge.net"


def test_ordinary_names() -> None:
    """Of a household's 20,000 questions at once, none is taken for a tunnel."""
    tunnels = Tunnels(Settings())
    names = list(browsing(3500))
    assert len(names) > 20_000
    assert asks(tunnels, names, 0.01) == []


def test_names_of_the_whole_world() -> None:
    """Every public suffix, and hosts below it, asked for by one client within three minutes: no tunnel."""
    text = Path(publicsuffixlist.__file__).with_name("public_suffix_list.dat").read_text(encoding="utf-8")
    rules = [line.strip().lstrip("*!.") for line in text.splitlines() if line.strip() and not line.startswith("//")]
    suffixes = [rule.encode("idna").decode() for rule in rules]
    assert len(suffixes) > 9000
    names = [f"{host}{suffix}" for suffix in suffixes for host in ("", "www.", "mail.example.")]
    assert asks(Tunnels(Settings()), names, 0.005) == []


def test_the_same_names_again_carry_nothing() -> None:
    """Nor do short ones, ones that are blocked already, or other protocols' names."""
    tunnels, names = Tunnels(Settings()), list(dnscat(300, 40))
    assert asks(tunnels, names[:30] * 100) == []
    assert asks(Tunnels(Settings()), (f"{number}.example.net" for number in range(2000))) == []
    for seen in (Seen(1000.0, CLIENT, b"", (names[0],), "example.net", "tls", False),
                 Seen(1000.0, CLIENT, b"", (names[0],), "example.net", "dns", True),
                 Seen(1000.0, CLIENT, b"", (), "", "dns", False),
                 Seen(1000.0, CLIENT, b"", ("example.net",), "example.net", "dns", False)):
        assert [remark for _ in range(300) for remark in tunnels.seen(seen)] == []


def test_memory_is_bounded() -> None:
    """Whatever is asked for: so many pairs, and so many names of each."""
    tunnels = Tunnels(Settings())
    asks(tunnels, dnscat(5000, 10), 0.01)
    for number in range(_MOST + 10):
        asks(tunnels, [f"{'a' * 12}.site{number}.com"])
    assert len(tunnels._pairs) == _MOST
    assert max(len(pair.names) for pair in tunnels._pairs.values()) <= 1024


def test_short_names_between_hide_nothing() -> None:
    """However many are asked for, first or in between."""
    short = (f"{number:x}.example.net" for number in range(5000))
    names = [*islice(short, 1100), *(one for long in dnscat(60, 40) for one in (long, *islice(short, 20)))]
    assert [remark.kind for remark in asks(Tunnels(Settings()), names, 0.05)] == ["dns_tunnel"]


def test_so_is_what_all_pairs_cost_when_they_are_full() -> None:
    """Others are in the same process, whose memory ends somewhere."""
    tunnels = Tunnels(Settings())
    for number in range(_MOST_NAMES + 1):
        asks(tunnels, [f"a-long-name-{number:x}.example.com"])
    (pair,) = tunnels._pairs.values()
    assert len(pair.names) == _MOST_NAMES
    assert (sys.getsizeof(pair.names) + sum(map(sys.getsizeof, pair.names))) * _MOST < 0.75 * observation._MEMORY


def test_information_is_entropy() -> None:
    """One letter says nothing, two in equal parts one bit each, sixteen four."""
    assert [information(text) for text in ("aaaaaaaa", "abababab", "0123456789abcdef")] == [0, 1, 8]


def test_it_is_offered() -> None:
    """As an observer that begins without a memory."""
    (observer,) = make(Settings())
    assert observer.begin(b"").memory() == b""
