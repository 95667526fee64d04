"""Hostile clients, a strict gateway, honest servers: the blocked name does not get through, no good client is hurt."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nfqdpi.core.flow import Flow
from nfqdpi.core.segments import Segments
from nfqdpi.core.stream import StreamBuffer
from nfqdpi.plugins import tls
from nfqdpi.testing.tls import server_hello
from tests.fuzz import script
from tests.fuzz.seeds import scripts
from tests.fuzz.server import understand
from tests.fuzz.world import PORTS, TEXTS, WAYS, Answer, Forge, Move, Opens, Raw, Send, Wait, World

PORT = PORTS[0]
_places = st.sampled_from([0, 20, 40, 43, 60, 100, 150, 200]) | st.integers(0, 500)
_lengths = st.sampled_from([1, 20, 43, 60, 100, 4096])
_ports = st.sampled_from([PORT] * 3 + list(PORTS))
moves: st.SearchStrategy[Move] = st.one_of(
    *[st.builds(Send, _ports, _places, _lengths, st.sampled_from([0] * 6 + [-1, 1, -40, 40]), st.booleans(),
                st.booleans(), st.sampled_from([0] * 6 + list(range(len(WAYS)))))] * 4,
    st.builds(Answer, _ports, st.sampled_from([20, 4096]), st.sampled_from([0, 0, 20, 4096])),
    st.builds(Forge, _ports, st.booleans()),
    st.builds(Opens, _ports, st.booleans()),
    st.builds(Wait, st.sampled_from([0.5, 8.0, 31.0, 4000.0])),
    st.builds(Raw, st.binary(max_size=60)),
)


@given(st.tuples(*[st.integers(0, 63)] * 4), st.lists(moves, max_size=25), st.sampled_from([3, 4]))
@settings(max_examples=400)
def test_no_server_is_asked_for_the_blocked_name(kinds: tuple[int, ...], played: list[Move], most_flows: int) -> None:
    """Any cuts, orders, copies, decoys that never arrive, forged answers, waits and floods: one decision each, memory
    within its limits, no two values of a byte, no blocked name (E1 to E7, E13)."""
    World(kinds, max_flows=most_flows).play(played)


# Those texts whose parts a client may send without waiting for an answer.
_AT_ONCE = (0, 1, 2, 3, 4, 5, 11)


@given(st.sampled_from(_AT_ONCE), st.lists(st.integers(1, 600), max_size=8), st.randoms(use_true_random=False),
       st.lists(st.tuples(st.integers(0, 600), st.integers(1, 200)), max_size=4), st.booleans())
@settings(max_examples=300)
def test_no_good_client_is_hurt(kind: int, cuts: list[int], random: Random, copies: list[tuple[int, int]], loses: bool,
                                ) -> None:
    """What an honest client says arrives, however the network cuts, shuffles, repeats and loses it."""
    world, text = World((kind | 16,), max_bytes=1 << 16), TEXTS[kind][1]
    edges = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    segments = [Send(PORT, low, high - low, decoy=True) for low, high in pairwise(edges)]
    sent = segments + [Send(PORT, at, length, decoy=True) for at, length in copies]
    random.shuffle(sent)
    for number, segment in enumerate(sent):
        lost = Send(PORT, segment.start, segment.length, decoy=True, arrives=False)
        world.play([lost if loses and number % 3 == 0 else segment, Answer(PORT, 4096)])
    for _ in range(4):  # what was lost, or dropped on the way, is sent again
        world.play([*segments, Answer(PORT, 4096)])
    assert not world.talks[PORT].mark.blocks
    assert world.heard(PORT) == understand(text, willing=True).names


@pytest.mark.parametrize(("owner", "name", "broken"), [
    pytest.param(StreamBuffer, "_contradicts", lambda *_: False, id="copies are not compared"),
    pytest.param(Flow, "forged", lambda *_: False, id="anybody speaks for the server"),
    pytest.param(Flow, "ahead_of_reply", lambda *_: False, id="a second hello goes before the first is answered"),
    pytest.param(Segments, "_forgotten", lambda *_: False, id="a lost record makes a flow midstream"),
    pytest.param(tls, "_HELLO_RETRY_RANDOM", server_hello()[11:43], id="HelloRetryRequest is an acceptance"),
])
def test_the_world_notices(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, broken: object) -> None:
    """The assertions above mean something: an engine with one hole does not pass the seeds."""
    monkeypatch.setattr(owner, name, broken)
    with pytest.raises(AssertionError, match=r"the server was asked for|two values passed"):
        _play_seeds()


def _play_seeds() -> None:
    for seed in scripts():
        script.play(seed)
        script.play(bytes((seed[0] | 64,)) + seed[1:])  # with too small a table
