"""The matrix, TCP: how a stream is opened, by whom it is answered, and what was there before it."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial

from nfqdpi.testing.http import request
from nfqdpi.testing.packets import ACK, FIN, RST, SYN
from tests.evasion.case import BLOCKED, DECOY, both
from tests.evasion.hellos import small
from tests.evasion.packets import DIES, HONEST, How
from tests.evasion.stream import RawStream

_SETTLES = 0.3  # seconds, for a packet to have been taken by everybody

# --- SYNs ---


def syn_with(what: str, s: RawStream, text: bytes, decoy: bytes) -> None:
    s.open(data=text if what == "text" else decoy)
    s.send(text)


def second_syn(how: How, s: RawStream, text: bytes, _: bytes) -> None:
    s.open()
    s.send(at=-1, how=replace(how, flags=SYN))
    s.send(text)


def second_syn_with_decoy(s: RawStream, text: bytes, decoy: bytes) -> None:
    s.open()
    s.send(decoy, at=-1, how=How(flags=SYN, ttl=DIES))
    s.send(text)


def syn_inside(s: RawStream, text: bytes, decoy: bytes) -> None:
    """A SYN that carries a decoy, in the middle of the text."""
    half = len(text) // 2
    s.open()
    s.send(text[:half], at=0)
    s.send(decoy[half:], at=half, how=How(flags=SYN, ttl=DIES))
    s.send(text[half:], at=half)


def syn_ack(how: How, s: RawStream, text: bytes, _: bytes) -> None:
    """A SYN+ACK from the client's side, before its text."""
    s.open()
    s.send(at=-1, how=replace(how, flags=SYN | ACK))
    s.send(text)


def two_syns(seq: int, s: RawStream, text: bytes, _: bytes) -> None:
    """A first SYN with another number dies on the way; the server answers the second."""
    s.send(at=-1, how=How(flags=SYN, ttl=DIES, seq=seq))
    s.open().send(text)


# --- in the server's name ---


def forged_answer(flags_only: bool, s: RawStream, text: bytes, decoy: bytes) -> None:
    """A decoy that dies, then the server's acceptance of it in the server's name, then the text."""
    s.open()
    s.send(decoy, at=0, how=How(ttl=DIES))
    time.sleep(0.1)
    s.deaf = True  # an IPv6 router hands our forgery back to us
    tls = text[:1] == b"\x16"
    reply = b"" if flags_only else _SERVER_HELLO if tls else b"HTTP/1.1 204 No Content\r\n\r\n"
    s.forge(reply, acks=len(decoy))
    time.sleep(_SETTLES)
    s.deaf = False
    s.send(text)


def forged_handshake(s: RawStream, text: bytes, decoy: bytes) -> None:
    """A handshake with nobody: the SYN dies, its answer is forged, so is that of a decoy; then the real ones."""
    s.send(at=-1, how=How(flags=SYN, ttl=DIES))
    s.deaf = True
    s.forge(b"", 0, flags=SYN | ACK)
    time.sleep(0.05)
    s.send(decoy, at=0, how=How(ttl=DIES, ack=1))
    s.forge(_SERVER_HELLO if text[:1] == b"\x16" else b"HTTP/1.1 204 No Content\r\n\r\n", len(decoy), ahead=1)
    time.sleep(_SETTLES)
    s.deaf = False
    s.base += 30_000
    s.open().send(text)


def forged_syn_ack(ahead: int, s: RawStream, text: bytes, _: bytes) -> None:
    """A second SYN+ACK in the server's name, which would have the stream begin in the middle of the text."""
    s.open()
    s.deaf = True
    s.forge(b"", len(text) // 2, flags=SYN | ACK, ahead=ahead)
    time.sleep(_SETTLES)
    s.deaf = False
    s.send(text)


def forged_opening(s: RawStream, text: bytes, decoy: bytes) -> None:
    """The first SYN+ACK is forged, the server's own comes second; then a decoy that dies, and its forged acceptance."""
    tls = text[:1] == b"\x16"
    if not tls:
        decoy = request(DECOY, "Connection: Upgrade", "Upgrade: websocket")
    s.deaf = True
    s.send(at=-1, how=How(flags=SYN, ttl=DIES))
    time.sleep(0.05)
    s.forge(b"", 0, flags=SYN | ACK, ahead=1 << 28)
    time.sleep(_SETTLES)
    s.deaf = False
    s.open()
    s.send(decoy, at=0, how=How(ttl=DIES))
    time.sleep(0.1)
    s.deaf = True
    switch = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
    s.forge(_SERVER_HELLO if tls else switch, acks=len(decoy))
    time.sleep(_SETTLES)
    s.deaf = False
    s.send(text, at=0)


_SERVER_HELLO = bytes.fromhex("160303002a0200002603031111111111111111111111111111111111111111111111111111111111111111"
                              "00130100")


# --- reuse ---


def after(first: str, ending: int, s: RawStream, text: bytes, _: bytes) -> None:
    """The addresses and ports of a flow just before, which asked for the name ``first`` and ended by ``ending``."""
    before = s.owner.stream(s.place.family, s.place.dst, s.place.dport, port=s.place.sport)
    tls = text[:1] == b"\x16"
    before.open().send(small(first) if tls else request(first))
    before.await_answer(seconds=1)
    if ending:
        before.send(how=How(flags=ending))
    if ending & FIN:
        before.wait(lambda: before.fate != "open", 3)  # for the server's own
    time.sleep(_SETTLES)
    s.owner.listen(s)
    s.base = before.base + 1_000_000
    s.open().send(text)


TRICKS = [
    *both("SYN with the text", partial(syn_with, "text"), "works"),
    *both("SYN with a decoy", partial(syn_with, "decoy"), "works"),
    *both("second SYN, same number", partial(second_syn, HONEST), "works"),
    *both("second SYN, another number", partial(second_syn, How(seq=50_000)), "works"),
    *both("second SYN, another number, dies on the way", partial(second_syn, How(seq=50_000, ttl=DIES)), "works"),
    *both("second SYN with a decoy, dies on the way", second_syn_with_decoy, "works"),
    *both("SYN with half a decoy in the middle", syn_inside, "works"),
    *both("SYN+ACK from the client", partial(syn_ack, HONEST), "works"),
    *both("SYN+ACK from the client, dies on the way", partial(syn_ack, How(ttl=DIES)), "works"),
    *both("SYN+ACK from the client, another number, dies", partial(syn_ack, How(ttl=DIES, seq=50_000)), "works"),
    *both("first SYN of a higher number dies on the way", partial(two_syns, 77_777), "closed"),  # conntrack: invalid
    *both("first SYN of a lower number dies on the way", partial(two_syns, -77_777), "works"),
    *both("decoy dies, its acknowledgement is forged", partial(forged_answer, True), "closed"),
    *both("decoy dies, its answer is forged", partial(forged_answer, False), "closed"),
    *both("a SYN+ACK is forged", partial(forged_syn_ack, -1), "works"),
    *both("a SYN+ACK of a lower number is forged", partial(forged_syn_ack, -2000), "works"),
    *both("a SYN+ACK of a higher number is forged", partial(forged_syn_ack, 5000), "works"),
    *both("the first SYN+ACK and an answer are forged", forged_opening, "closed"),
    *both("a handshake and an answer are forged", forged_handshake, "works"),
    *(trick for ending, how in (("FIN", FIN | ACK), ("RST", RST), ("nothing", 0)) for trick in (
        *both(f"tuple used again after BLOCK, which ended by {ending}", partial(after, BLOCKED, how), "works"),
        # A server that still has the old connection does not answer a SYN of the new one.
        *both(f"tuple used again after ACCELERATE, which ended by {ending}", partial(after, DECOY, how),
              "works" if ending != "nothing" else "closed"))),
]
