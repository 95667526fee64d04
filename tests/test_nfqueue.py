"""The messages of a queue."""

from __future__ import annotations

import struct
from struct import pack

from hypothesis import given
from hypothesis import strategies as st

from nfqdpi.core.decision import Path
from nfqdpi.kernel.netlink import attribute, message, nfgenmsg
from nfqdpi.kernel.nfqueue import DROP, REPEAT, Packet, Packets, Verdicts

_SENDER = b"\x02\x00\x00\x00\x00\x01"


def queued(number: int, data: bytes = b"IP", *, mark: int = 15, entered: int = 2, sender: bytes = _SENDER,
           stamp: tuple[int, int] | None = None, joined: bool = False) -> bytes:
    """A message as nfqnl_build_packet_message() makes it."""
    parts = (
        attribute(1, pack("!IHB", number, 0x800, 2)), attribute(5, pack("!I", entered)), attribute(6, pack("!I", 3)),
        attribute(3, pack("!I", mark)) if mark else b"", attribute(9, pack("!H2x6s2x", 6, sender)) if sender else b"",
        attribute(4, pack("!QQ", *stamp)) if stamp else b"", attribute(14, pack("!I", 1 | joined << 1)),
        attribute(10, data))
    return message(0x300, 0, 0, nfgenmsg(2) + b"".join(parts))


MESSAGES = st.builds(
    queued, st.integers(0, 0xFFFFFFFF), st.binary(max_size=9), mark=st.sampled_from((0, 1, 15)),
    entered=st.sampled_from((2, 9)), sender=st.sampled_from((b"", _SENDER, b"\x02\x00\x00\x00\x00\x02")),
    stamp=st.sampled_from((None, (0, 0), (1_800_000_000, 250_000))), joined=st.booleans())


def test_a_message_says_all_that_a_packet_is() -> None:
    """The first of its way, and each that follows."""
    reads = Packets()
    for number, data in ((7, b"IP"), (8, b"longer"), (9, b"")):
        sent = queued(number, data, mark=0x10F, joined=True)
        assert reads.read(sent) == Packet(pack("!I", number), 0x10F, Path(2, 3, _SENDER, joined=True), data)


def test_when_the_kernel_got_a_packet() -> None:
    """Where the message has a timestamp it is read, to the microsecond; where it has none, the kernel does not say."""
    reads = Packets()
    for stamp, arrived in (((1_800_000_000, 250_000), 1_800_000_000.25), (None, 0.0), ((9, 0), 9.0)):
        assert reads.read(queued(7, stamp=stamp)) == Packet(pack("!I", 7), 15, Path(2, 3, _SENDER), b"IP", arrived)


def test_what_is_no_packet() -> None:
    """An error, among packets and before any, is none."""
    error = message(2, 0, 0, pack("=i", -2) + queued(7)[:16])
    reads = Packets()
    assert reads.read(error) is None
    assert reads.read(queued(7)) is not None
    assert reads.read(error) is None


@given(st.data(), st.lists(MESSAGES, min_size=1, max_size=8))
def test_what_was_read_before_changes_nothing(data: st.DataObject, sent: list[bytes]) -> None:
    """Every message, a damaged one as well, is read as by somebody who has read no other."""
    reads = Packets()
    for whole in sent:
        damaged = bytearray(whole)
        for at, byte in data.draw(st.dictionaries(st.integers(4, len(whole) - 1), st.integers(), max_size=2)).items():
            damaged[at] = byte & 0xFF
        for one in (whole, bytes(damaged), whole[: data.draw(st.integers(20, len(whole)))], whole):
            assert _read(reads, one) == _read(Packets(), one)


def test_more_neighbours_than_are_known_at_a_time() -> None:
    """Who comes by under as many addresses as it likes is read right, and takes no memory."""
    reads = Packets()
    for number in range(1000):
        found = reads.read(queued(number, sender=pack("!HI", 0x200, number)))
        assert found is not None
        assert found.path.sender == pack("!HI", 0x200, number)
    assert len(reads._ways) < 1000


def test_verdicts_are_as_the_kernel_reads_them() -> None:
    """Verdict, number and mark, whichever mark the one before has got; and a packet in the place of another."""
    verdicts = Verdicts(3)
    for verdict, mark in ((REPEAT, 2), (REPEAT, 2), (DROP, 0x12), (REPEAT, 0), (DROP, 0)):
        given = attribute(2, pack("!I4s", verdict, b"abcd")) + attribute(3, pack("!I", mark))
        assert verdicts.verdict(verdict, b"abcd", mark) == message(0x301, 1, 0, nfgenmsg(0, 3) + given)
    given = attribute(2, pack("!I4s", REPEAT, b"abcd")) + attribute(3, pack("!I", 2)) + attribute(10, b"another")
    assert verdicts.replacing(b"abcd", 2, b"another") == message(0x301, 1, 0, nfgenmsg(0, 3) + given)


def _read(reads: Packets, one: bytes) -> Packet | type[Exception] | None:
    try:
        return reads.read(one)
    except (IndexError, struct.error) as error:
        return type(error)
