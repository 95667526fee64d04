"""The netlink and ctnetlink codecs on bytes alone."""

from __future__ import annotations

import errno
import os
import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfqdpi.core.verdict import MarkField, Verdict
from nfqdpi.core.wire import Malformed
from nfqdpi.kernel import ctnetlink
from nfqdpi.kernel.ctnetlink import Change, Entry, Tuple
from nfqdpi.kernel.netlink import CREATE, Message, attribute, attributes, message, messages, nested, nfgenmsg

# The two tuples of a TCP flow as kernel 6.18 writes them.
ORIG = bytes.fromhex("14000180" "08000100c0000202" "08000200c6336402" "1c000280" "0500010006000000" "060002009c400000"
                     "0600030001bb0000")
REPLY = bytes.fromhex("14000180" "08000100c6336402" "08000200c0000202" "1c000280" "0500010006000000" "0600020001bb0000"
                      "060003009c400000")
STATE = nested(4, nested(1, attribute(1, b"\x03"), attribute(2, b"\x00")))


def u32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("!I", value))


def counters(kind: int, packets: int, volume: int) -> bytes:
    return nested(kind, attribute(1, struct.pack("!Q", packets)), attribute(2, struct.pack("!Q", volume)))


BODY = (attribute(1 | 0x8000, ORIG) + attribute(2 | 0x8000, REPLY) + u32(3, 0x0E) + u32(7, 600) + u32(8, 0xAB3)
        + u32(12, 77) + STATE + counters(9, 3, 300) + counters(10, 2, 5000) + attribute(18, struct.pack("!H", 5)))
ENTRY = Entry(2, Tuple(6, "192.0.2.2", 40000, "198.51.100.2", 443), Tuple(6, "198.51.100.2", 443, "192.0.2.2", 40000),
              0xAB3, 0x0E, 600, "established", 77, 5, 5, 5300, BODY)


def test_an_entry_is_read_whole() -> None:
    """Tuples, mark, state, counters of both directions, zone and id come out of the kernel's bytes."""
    assert ctnetlink.entry(Message(0x100, 0, 1, 2, BODY)) == ENTRY


def test_what_the_kernel_leaves_out_is_absent() -> None:
    """Without mark, counters and state an entry still reads."""
    short = attribute(1 | 0x8000, ORIG) + attribute(2 | 0x8000, REPLY)
    entry = ctnetlink.entry(Message(0x100, 0, 1, 2, short))
    assert (entry.mark, entry.packets, entry.volume, entry.tcp_state) == (0, None, None, None)


@pytest.mark.parametrize("proto", [
    nested(2, attribute(1, b"\x01"), attribute(4, b"\x12\x34")),
    nested(2, attribute(3, b"\x01\xbb"), attribute(2, b"\x9c\x40"), attribute(1, b"\x06")),
])
def test_unusual_tuples_are_read_attribute_by_attribute(proto: bytes) -> None:
    """ICMP has no ports, and another order of attributes is another way to say the same."""
    unusual = ORIG[:20] + proto
    entry = ctnetlink.entry(Message(0x100, 0, 1, 2, attribute(1, unusual) + attribute(2, REPLY)))
    assert entry.orig in (Tuple(1, "192.0.2.2", 0, "198.51.100.2", 0), ENTRY.orig)


@given(st.sampled_from(["10.0.0.1", "fd00::1"]), st.integers(0, 65535), st.integers(0, 65535), st.integers(0, 255))
def test_an_entry_is_named_by_its_tuple(address: str, sport: int, dport: int, proto: int) -> None:
    """What names an entry that no kernel told of reads back as its tuple, in both families."""
    wanted = Tuple(proto, address, sport, address, dport)
    family = 10 if ":" in address else 2
    body = ctnetlink.name(Entry(family, wanted, wanted, zone=3))
    assert body[0] == family
    found = attributes(body[4:])
    assert ctnetlink.entry(Message(0x100, 0, 1, family, attribute(1, found[1]) + attribute(2, found[1]))).orig == wanted
    assert found[18] == b"\0\3"


@given(st.sampled_from([0xF, 0x70, 0xF0000000]), st.sampled_from(Verdict), st.integers(0, 0xFFFFFFFF))
def test_a_mark_changes_under_its_mask(mask: int, verdict: Verdict, mark: int) -> None:
    """By the kernel's formula the attributes write the field, and no other bit."""
    field = MarkField(mask)
    found = attributes(ctnetlink.mark_attributes(field, verdict))
    value, masked = (int.from_bytes(found[kind], "big") for kind in (8, 21))
    assert mark & ~masked ^ value == field.write(mark, verdict)


def test_events() -> None:
    """NEW is told from UPDATE by the flag that created it."""
    assert ctnetlink.event(Message(0x100, CREATE, 0, 2, BODY)).change is Change.NEW
    assert ctnetlink.event(Message(0x100, 0, 0, 2, BODY)).change is Change.UPDATE
    assert ctnetlink.event(Message(0x102, 0, 0, 2, BODY)) == ctnetlink.Event(Change.DESTROY, ENTRY)


def test_messages_come_apart() -> None:
    """Several messages of one datagram are read in order, padding between them."""
    first, second = message(0x100, 0, 1, nfgenmsg(2) + b"abcde"), message(0x102, 4, 2, nfgenmsg(10, 7) + BODY)
    read = list(messages(first + bytes(-len(first) % 4) + second))
    assert read == [Message(0x100, 0, 1, 2, b"abcde"), Message(0x102, 4, 2, 10, BODY)]


def test_an_error_message_is_an_oserror() -> None:
    """NLMSG_ERROR carries the negative errno; 0 acknowledges."""
    body = struct.pack("=i", -errno.ENOENT) + bytes(16)
    with pytest.raises(FileNotFoundError, match=os.strerror(errno.ENOENT)):
        list(messages(message(2, 0, 1, body)))
    assert [one.seq for one in messages(message(2, 0, 9, bytes(20)))] == [9]


@given(st.binary(max_size=200))
def test_messages_are_total(data: bytes) -> None:
    """Any bytes are messages, an error of the kernel's, or Malformed."""
    with suppress(Malformed, OSError):
        assert all(isinstance(one, Message) for one in messages(data))


@given(st.one_of(st.binary(max_size=200), st.tuples(st.integers(0, len(BODY) - 1), st.binary(min_size=1, max_size=4))))
def test_entries_are_total(change: bytes | tuple[int, bytes]) -> None:
    """Any bytes, and any few bytes changed in a real entry, are an entry or Malformed."""
    body = change if isinstance(change, bytes) else BODY[: change[0]] + change[1] + BODY[change[0] + len(change[1]) :]
    with suppress(Malformed):
        assert isinstance(ctnetlink.entry(Message(0x100, 0, 1, 2, body)), Entry)


def test_the_shape_of_a_message_is_no_secret_of_the_first() -> None:
    """Messages of one length are read right, whatever came before: values, other attributes, another order."""
    same_length = (
        BODY,
        BODY.replace(u32(8, 0xAB3), u32(8, 0x15)),
        BODY.replace(u32(8, 0xAB3), u32(99, 0xAB3)),
        BODY.replace(u32(8, 0xAB3) + u32(12, 77), u32(12, 78) + u32(8, 0xAB3)),
    )
    for body in (*same_length, *same_length[::-1]):
        found = attributes(body)
        entry = ctnetlink.entry(Message(0x100, 0, 1, 2, body))
        assert entry.mark == int.from_bytes(found.get(8, b""), "big")
        assert entry.id == int.from_bytes(found[12], "big")
        assert (entry.orig, entry.zone, entry.packets) == (ENTRY.orig, 5, 5)


def test_when_a_flow_began() -> None:
    """In seconds since 1970, of the kernel's nanoseconds."""
    body = BODY + nested(20, attribute(1, struct.pack("!Q", 1_795_000_000_500_000_000)))
    assert ctnetlink.entry(Message(0x100, 0, 1, 2, body)).started == 1_795_000_000.5
