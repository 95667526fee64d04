"""UDP before an engine: units over datagrams, messages that stand for themselves, and what becomes of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from ipaddress import ip_address
from mmap import mmap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfqdpi.core.classifier import (
    NEED_MORE,
    NO_MATCH,
    Advised,
    Answer,
    Back,
    Classification,
    DatagramClassifier,
    Glimpse,
    Known,
    Message,
    Onward,
)
from nfqdpi.core.decision import Action, Decision, Limits, Path
from nfqdpi.core.engine import Engine
from nfqdpi.core.packet import Datagram, parse
from nfqdpi.core.table import FlowTable
from nfqdpi.core.units import LIFE, SIZE, UnitTable
from nfqdpi.core.verdict import Reason, Verdict
from nfqdpi.policy.model import Policy, Rule
from nfqdpi.policy.names import Pattern
from nfqdpi.testing.packets import CLIENT, CLIENT6, SERVER, SERVER6, ip, udp
from tests.core.transcript import ALLOWED, BLOCKED, CLOSED, OPEN, RULES, SILENT, line

OTHER, ELSEWHERE = "other.example", "elsewhere.example"
YES, NO, MORE = "accelerate default", "block rule", "inspect need_more"
ON, ANOTHERS = "accelerate need_more", "block malformed"


def spell(payload: bytes, held: bytes = b"") -> Answer:
    """A protocol made for these tests: "+x" is a part of a name, "." ends it; "~" says nothing, "!" is broken."""
    if payload[:1] == b"~":
        return NEED_MORE
    if payload[:1] == b"!":
        return Classification("spell", (held.decode(),) * bool(held), flaw="broken", length=len(payload), then=spell)
    if payload[:1] not in (b"+", b"?"):
        return NO_MATCH
    name = held + payload[1:]
    if not name.endswith(b"."):
        return Glimpse("spell", (BLOCKED,) * (payload[:1] == b"?"), then=partial(spell, held=name))
    names = (name[:-1].decode(),) if name != b"." else ()
    return Classification("spell", names, {}, length=len(payload), then=spell, veiled=name.startswith(b"ech"))


def ask(payload: bytes) -> Message | object:
    """Another: "?name" asks, "=name" answers, "#" is broken."""
    name = payload[1:].decode("latin-1")
    if payload[:1] == b"?":
        return Message("ask", (name,) if name else (), edit=_refuse)
    if payload[:1] == b"=":
        known = (Known(name, ip_address(SERVER).packed, 60),)
        return Message("ask", (name,), asks=False, edit=_replace, answers=known)
    return Message("ask", (name,) if name else (), flaw="broken") if payload[:1] == b"#" else NO_MATCH


def _refuse(ruling: Advised) -> Back | None:
    if ruling.redirect:
        return Back(b"go to " + ruling.redirect[0])
    return Back(b"no such name") if ruling.verdict is Verdict.BLOCK else None


def _replace(ruling: Advised) -> Onward | None:
    return Onward(b"nothing") if ruling.verdict is Verdict.BLOCK else None


class Names(dict[tuple[bytes, bytes], str]):
    """What clients were told, without end."""

    def learn(self, client: bytes, known: Known, now: float) -> None:
        self[client, known.address] = known.name

    def names(self, client: bytes, server: bytes, now: float) -> tuple[str, ...]:
        return tuple(filter(None, (self.get((client, server)),)))


REDIRECT = Rule("elsewhere", Verdict.ACCELERATE, (Pattern.parse(ELSEWHERE),), redirect=(bytes(4),))
ONLY_SPELL = Rule("no spell", Verdict.BLOCK, (Pattern.parse(OTHER),), protocols=frozenset({"spell"}))
CLASSIFIERS = (DatagramClassifier("spell", "spell", "1", spell, (443,)),
               DatagramClassifier("ask", "ask", "1", ask, (53,), both=True))  # type: ignore[arg-type]


def made(*, strict: bool = True, exceptions: Mapping[Reason, Verdict] = OPEN, known: Names | None = None,
         **limits: float) -> Engine:
    return Engine(CLASSIFIERS, Policy((*RULES, REDIRECT, ONLY_SPELL)), exceptions, strict=strict, known=known,
                  limits=replace(Limits(), **limits))  # type: ignore[arg-type]  # whole numbers stay whole


class Talk:
    """One UDP flow's two ends; the mark is kept as conntrack would."""

    def __init__(self, engine: Engine, dport: int = 443, *, six: bool = False, sport: int = 40000) -> None:
        self.engine, self.dport, self.sport, self.now = engine, dport, sport, 1000.0
        self.ends = (CLIENT6, SERVER6) if six else (CLIENT, SERVER)
        self.mark = Verdict.UNSEEN
        self.last = Decision(Verdict.UNSEEN, Action.MARK, Reason.NEED_MORE)
        self.packet = b""

    def client(self, payload: bytes) -> str:
        return self._line(ip(17, udp(payload, sport=self.sport, dport=self.dport), *self.ends))

    def server(self, payload: bytes) -> str:
        return self._line(ip(17, udp(payload, sport=self.dport, dport=self.sport), *self.ends[::-1]))

    def _line(self, packet: bytes) -> str:
        self.packet = packet
        self.last = self.engine.process(packet, self.now, Path(3, 4, b"client\0\0"), self.mark)
        if self.last.action is Action.MARK:
            self.mark = self.last.verdict
        return line(self.last)


@pytest.mark.parametrize("six", [False, True])
def test_a_unit_over_datagrams(six: bool) -> None:
    """What completes the name is withheld; what says nothing passes."""
    flow = Talk(made(), six=six)
    assert [flow.client(b"~"), flow.client(b"+allowed"), flow.client(b"~"), flow.client(b"+.example.")] == [
        MORE, MORE, MORE, YES]
    (told,) = flow.last.judgements
    assert (told.classification and told.classification.name, told.packets, told.client.mac) == (ALLOWED, 4, b"client")
    blocked = Talk(made(), six=six)
    assert [blocked.client(b"+blocked"), blocked.client(b"+.example."), blocked.client(b"+allowed.example.")] == [
        MORE, NO, NO]
    assert Talk(made()).client(b"+silent.example.") == "block_silent rule"


def test_names_for_certain_count_at_once() -> None:
    """A blocked name in a part of a unit blocks."""
    assert Talk(made()).client(b"?more") == NO


def test_a_flow_is_read_for_its_life() -> None:
    """Another unit on the same five-tuple is judged, in strict mode; in fast mode the first one decides."""
    for strict, second in ((True, NO), (False, YES)):
        flow = Talk(made(strict=strict))
        assert [flow.client(b"+allowed.example."), flow.client(b"~"), flow.client(b"+blocked.example.")][::2] == [
            YES, second]


def test_what_no_reader_knows() -> None:
    """It is of an unknown protocol; in strict mode the next datagram may be of a known one."""
    flow = Talk(made())
    assert [flow.client(b"\0"), flow.client(b"+blocked.example.")] == ["accelerate unknown_protocol", NO]
    assert Talk(made(exceptions=CLOSED)).client(b"\0") == "block unknown_protocol"
    assert Talk(made(), dport=1).client(b"\0") == "accelerate unknown_protocol"


def test_flaws_and_veils() -> None:
    """A broken unit is malformed, unless its name is blocked anyway; one without a name is so by its own exception."""
    flow = Talk(made())
    assert flow.client(b"!") == "block malformed"
    named = Talk(made())
    assert [named.client(b"+blocked.example"), named.client(b"!")] == [MORE, NO]
    assert Talk(made()).client(b"+.") == "accelerate no_name"
    assert Talk(made()).client(b"+ech.") == YES
    assert Talk(made(exceptions={**OPEN, Reason.ECH: Verdict.BLOCK})).client(b"+ech.") == "block ech"


def test_a_unit_is_bounded() -> None:
    """In bytes, in datagrams and in time."""
    long = Talk(made(max_bytes=1024))
    assert [long.client(b"+" + bytes(600)), long.client(b"+" + bytes(600))] == [MORE, "block too_big"]
    many = Talk(made(max_segments=3))
    assert [many.client(b"+x") for _ in range(4)] == [MORE, MORE, MORE, "block too_big"]
    slow = Talk(made())
    assert slow.client(b"+x") == MORE
    slow.now += 31
    assert slow.client(b"+x") == "block timeout"
    fresh = Talk(made(max_segments=3))
    assert [fresh.client(b"+x."), *(fresh.client(b"+x") for _ in range(3))] == [YES, "accelerate need_more"] + [
        "accelerate need_more"] * 2


def test_a_unit_that_was_crowded_out() -> None:
    """E7: its rest is not taken for a new flow's beginning; a flow between units has nothing to lose."""
    judge = made(max_flows=16)
    half, between = Talk(judge, sport=1), Talk(judge, sport=2)
    assert [between.client(b"+x."), half.client(b"+blocked")] == [YES, MORE]
    for port in range(100, 130):
        Talk(judge, sport=port).client(b"~")
    assert half.client(b"+.example.") == "block timeout"
    other = made(max_flows=16)
    idle = Talk(other)
    idle.client(b"+x.")
    for port in range(100, 130):
        Talk(other, sport=port).client(b"~")
    assert idle.client(b"+allowed.example.") == YES


def test_conntrack_has_forgotten_a_blocked_flow() -> None:
    """A client may ask again from the same port once its flow has gone."""
    flow = Talk(made())
    assert flow.client(b"+blocked.example.") == NO
    flow.mark = Verdict.UNSEEN
    assert flow.client(b"+allowed.example.") == YES


def test_a_blocked_flow_whose_server_has_a_part_of_the_unit() -> None:
    """Each datagram that comes before the first has left is a flow of its own to conntrack, and none of them has a
    mark: the rest of a unit does not pass because it was sent twice. It does not after a minute, either."""
    flow = Talk(made())
    assert flow.client(b"+blocked") == MORE
    flow.mark = Verdict.UNSEEN
    assert flow.client(b"+.example.") == NO
    for seconds in (0, 60):
        flow.now += seconds
        flow.mark = Verdict.UNSEEN
        assert flow.client(b"+.example.") == NO


def tagged(payload: bytes, held: Mapping[bytes, bytes] | None = None) -> Answer:
    """Another: "12+x" is a part of the name of unit 12, "." ends it; "~" says nothing."""
    if payload == b"~":
        return NEED_MORE
    unit, part = payload[:2], payload[3:]
    parts = {**(held or {}), unit: (held or {}).get(unit, b"") + part}
    then = partial(tagged, held=parts)
    if not part.endswith(b"."):
        return Glimpse("tagged", then=then, ids=tuple(parts))
    more = not all(name.endswith(b".") for name in parts.values())
    return Classification("tagged", (parts[unit][:-1].decode(),), length=len(payload), ids=tuple(parts), then=then,
                          more=more)


def tagging(units: UnitTable | None = None, *, strict: bool = True, **limits: float) -> Engine:
    return Engine((DatagramClassifier("tagged", "tagged", "1", tagged, (443,)),), Policy(RULES), OPEN, strict=strict,
                  units=units, limits=replace(Limits(), **limits))  # type: ignore[arg-type]


def test_a_unit_over_flows() -> None:
    """A server knows a unit by its id, whichever way its parts come: one flow only may bring them, whole or not."""
    judge = tagging()
    assert [Talk(judge).client(b"12+blocked"), Talk(judge, sport=2).client(b"12+.example.")] == [MORE, ANOTHERS]
    whole, again = Talk(judge, sport=3), Talk(judge, sport=4)
    assert [whole.client(b"13+allowed.example."), again.client(b"13+allowed.example.")] == [YES, ANOTHERS]
    (told,) = again.last.judgements
    assert (told.classification and told.classification.flaw) == "a unit that another flow has a part of"
    assert [whole.client(b"14+blocked"), Talk(judge, sport=5).client(b"14+.")] == [ON, ANOTHERS]
    assert Talk(judge, sport=6).client(b"12+blocked.example.") == NO  # by its own name all the same


def test_a_part_on_another_flow() -> None:
    """Also one that does not end the unit, and also what says nothing, once another flow has the unit."""
    judge = tagging()
    first, other = Talk(judge), Talk(judge, sport=2)
    assert [first.client(b"12+blocked"), other.client(b"12+.")] == [MORE, ANOTHERS]
    assert Talk(judge, sport=3).client(b"12+part") == ANOTHERS
    silent, later = Talk(judge, sport=4), Talk(judge, sport=5)
    assert silent.client(b"13+x.") == YES
    later.now = silent.now + LIFE + 1
    assert later.client(b"13+x.") == YES
    silent.now = later.now + 1
    assert silent.client(b"~") == ANOTHERS


def test_names_that_are_seen_early_and_parts_that_come_along() -> None:
    """An allowed name in a part decides nothing yet; a datagram may end one unit and begin another."""
    early = DatagramClassifier("any", "any", "1", lambda _: Glimpse("any", (ALLOWED,)), (443,))
    assert Talk(Engine((early,), Policy(RULES), OPEN)).client(b"x") == MORE
    both = Classification("any", (ALLOWED,), length=1, more=True)
    judge = Engine((DatagramClassifier("any", "any", "1", lambda _: both, (443,)),), Policy(RULES), OPEN)
    assert Talk(judge).client(b"x") == YES
    (flow,) = judge.datagrams.flows
    assert flow.unfinished


def test_a_unit_over_families_and_workers() -> None:
    """What chooses the worker is no part of the id."""
    memory = mmap(-1, 2 * SIZE)
    one, two = (tagging(UnitTable(memory, part)) for part in range(2))
    assert [Talk(one).client(b"12+blocked"), Talk(two, six=True).client(b"12+.example.")] == [MORE, ANOTHERS]


def test_a_blocked_unit_is_nobodys() -> None:
    """No server has got any of it: it may be asked for again once the policy has changed."""
    judge = tagging()
    assert Talk(judge).client(b"12+blocked.example.") == NO
    judge.govern(Policy(), OPEN)
    assert Talk(judge).client(b"12+blocked.example.") == YES


def test_fast_mode_knows_no_units() -> None:
    """It trusts the first datagram, and keeps no flow for long."""
    judge = tagging(strict=False)
    assert [Talk(judge).client(b"12+x."), Talk(judge, sport=2).client(b"12+x.")] == [YES, YES]


def test_a_record_that_goes_takes_no_unit_with_it() -> None:
    """Crowded out by its own client, the flow cannot go on, whatever conntrack remembers; also where something else
    on it was judged meanwhile."""
    for mark in (Verdict.UNSEEN, Verdict.INSPECT):
        judge = tagging(max_flows=16)
        half = Talk(judge)
        assert [half.client(b"12+blocked"), half.client(b"13+allowed.example.")] == [MORE, YES]
        for port in range(100, 130):
            Talk(judge, sport=port).client(b"~")
        half.now += 35
        half.mark = mark
        assert half.client(b"12+.example.") == ("block timeout" if mark else ANOTHERS)


def test_what_was_judged_is_no_end_of_another_unit() -> None:
    """One that has begun on the flow has its time all the same, and what says nothing does not prolong it."""
    flow = Talk(tagging())
    assert flow.client(b"12+blocked") == MORE
    flow.now += 20
    assert flow.client(b"13+x.") == YES
    flow.now += 11
    assert flow.client(b"~") == "block timeout"
    both = Talk(tagging())
    assert [both.client(b"12+x."), both.client(b"13+x")] == [YES, ON]
    assert both.client(b"14+x.") == YES
    both.now += 31
    assert both.client(b"15+x") == "block timeout"
    well = Talk(tagging())
    assert [well.client(b"12+x"), well.client(b"12+x."), well.client(b"13+x.")] == [MORE, YES, YES]
    well.now += 31
    assert [well.client(b"~"), well.client(b"14+x")] == [ON, ON]


def test_an_id_is_kept_while_its_flow_speaks() -> None:
    """What says nothing to us may keep a server waiting."""
    judge = tagging()
    flow, other = Talk(judge), Talk(judge, sport=2)
    assert flow.client(b"12+x.") == YES
    for _ in range(3):
        flow.now += LIFE - 1
        assert flow.client(b"~") == ON
    other.now = flow.now + LIFE - 1
    assert other.client(b"12+x.") == ANOTHERS


def test_giving_up() -> None:
    """A reader that raised: the flow is treated as plugin_error says, on record or not."""
    flow = Talk(made(exceptions=CLOSED))
    flow.client(b"+x")
    assert line(flow.engine.give_up(flow.packet, 1.0)) == "block plugin_error"
    unknown = Talk(made(), sport=9)
    assert line(unknown.engine.give_up(ip(17, udp(b"", sport=1, dport=443)), 1.0)) == "accelerate plugin_error"


@pytest.mark.parametrize("six", [False, True])
def test_messages_are_judged_one_by_one(six: bool) -> None:
    """No question decides its flow; a refused one is answered in the server's name, and never reaches it."""
    flow = Talk(made(), 53, six=six)
    assert flow.client(b"?allowed.example") == "inspect default"
    assert (flow.client(b"?blocked.example"), flow.last.action) == ("drop rule", Action.DROP)
    assert flow.last.judgements[0].outcome.verdict is Verdict.BLOCK
    back = parse(flow.last.back or b"")
    asked = parse(flow.packet)
    assert isinstance(asked, Datagram)
    assert back == Datagram(asked.key.reversed(), b"no such name")
    assert flow.client(b"?elsewhere.example") == "drop rule"
    assert (flow.last.back or b"").endswith(b"go to \0\0\0\0")
    assert flow.client(b"?") == "inspect default"
    assert flow.client(b"#") == "drop malformed"
    assert flow.client(b"#blocked.example") == "drop rule"
    lenient = Talk(made(exceptions={**OPEN, Reason.MALFORMED: Verdict.ACCELERATE}), 53)
    assert [lenient.client(b"#"), lenient.client(b"#blocked.example")] == ["inspect malformed", "drop rule"]
    assert flow.client(b"?silent.example") == "drop rule"
    assert flow.last.back is None


@pytest.mark.parametrize("six", [False, True])
def test_answers_are_judged_for_who_asked(six: bool) -> None:
    """An answer for a blocked name goes on as another; one for an allowed name is no news."""
    flow = Talk(made(), 53, six=six)
    flow.client(b"?allowed.example")
    assert (flow.server(b"=allowed.example"), flow.last.judgements, flow.last.onward) == ("inspect default", (), None)
    assert flow.server(b"=blocked.example") == "inspect rule"
    came = parse(flow.packet)
    assert isinstance(came, Datagram)
    assert parse(flow.last.onward or b"") == Datagram(came.key, b"nothing")
    (told,) = flow.last.judgements
    assert (told.client.mac, told.key) == (b"client", came.key.reversed())
    stray = Talk(made(), 53, six=six)
    assert stray.server(b"=blocked.example") == "inspect rule"
    assert stray.server(b"\0") == "accelerate unknown_protocol"


@pytest.mark.parametrize("strict", [False, True])
def test_datagrams_on_their_way_together(strict: bool) -> None:
    """What may come apart anywhere goes nowhere, but to a reader that finds whatever is in it; nor is its flow decided
    by it."""
    judge = made(strict=strict)
    joined = Path(3, 4, b"client\0\0", joined=True)
    ask_two = ip(17, udp(b"?allowed.example", sport=40000, dport=53), CLIENT, SERVER)
    assert line(judge.process(ask_two, 1000.0, joined)) == "drop malformed"
    assert Talk(judge, 53).client(b"?allowed.example") == "inspect default"
    able = Engine((DatagramClassifier("spell", "spell", "1", spell, (443,), joined=True),), Policy(RULES), OPEN)
    assert line(able.process(ip(17, udp(b"+allowed.example.", sport=1, dport=443), CLIENT, SERVER), 1.0, joined)) == YES


def test_a_redirect_by_any_name() -> None:
    """Whichever of a message's names is redirected; a block among them counts more."""
    alias = Message("ask", (ALLOWED, ELSEWHERE), edit=_refuse)
    worse = Message("ask", (ELSEWHERE, BLOCKED), edit=_refuse)
    said = {b"alias": alias, b"worse": worse}
    classifier = DatagramClassifier("ask", "ask", "1", said.__getitem__, (53,), both=True)
    flow = Talk(Engine((classifier,), Policy((*RULES, REDIRECT)), OPEN), 53)
    assert flow.client(b"alias") == "drop rule"
    assert (flow.last.back or b"").endswith(b"go to \0\0\0\0")
    assert (flow.client(b"worse"), flow.last.judgements[0].outcome.verdict) == ("drop rule", Verdict.BLOCK)
    assert (flow.server(b"alias"), flow.last.back) == ("drop rule", None)  # a server's question leads nowhere


def test_what_is_redirected_is_not_learnt() -> None:
    """The client was told of another address."""
    known = Names()
    flow = Talk(made(known=known), 53)
    flow.client(b"?elsewhere.example")
    flow.server(b"=elsewhere.example")
    assert known == {}


@pytest.mark.parametrize("strict", [False, True])
def test_only_a_server_that_was_asked_tells(strict: bool) -> None:
    """What a client says itself, in its own name or another's, gives no flow a name; nor does what was not asked for,
    or comes back from where the client is."""
    known = Names()
    judge = made(known=known, strict=strict)
    flow, across, same = Talk(judge, 53), Path(3, 4), Path(3, 3)
    flow.client(b"=allowed.example")
    assert known == {}
    Talk(judge, 53, sport=9).server(b"=allowed.example")
    assert known == {}
    back = ip(17, udp(b"=allowed.example", sport=53, dport=40000), SERVER, CLIENT)
    judge.process(back, 1000.0, same)
    assert known == {}
    judge.process(back, 1000.0, across)
    assert list(known.values()) == [ALLOWED]
    known.clear()
    judge.process(ip(17, udp(b"?x.example", sport=9, dport=53), CLIENT, SERVER), 1000.0, same)  # one-armed
    judge.process(ip(17, udp(b"=allowed.example", sport=53, dport=9), SERVER, CLIENT), 1000.0, same)
    assert list(known.values()) == [ALLOWED]


def test_rules_for_a_protocol() -> None:
    """A rule may be for flows of one protocol only."""
    assert Talk(made()).client(b"+other.example.") == NO
    assert Talk(made(), 53).client(b"?other.example") == "inspect default"


def test_names_by_dns() -> None:
    """What a client was told gives its nameless and its veiled flows a name; a name that it was not told of is noted,
    or blocks where that is wanted."""
    known = Names()
    judge = made(known=known)
    asked = Talk(judge, 53)
    asked.client(b"?allowed.example")
    asked.server(b"=blocked.example")
    assert known == {}
    asked.server(b"=silent.example")
    known[ip_address(CLIENT).packed, ip_address(SERVER).packed] = BLOCKED
    assert Talk(judge).client(b"+.") == NO
    assert Talk(judge, sport=2).client(b"+ech.") == NO
    known[ip_address(CLIENT).packed, ip_address(SERVER).packed] = "ech"
    same = Talk(judge, sport=5)
    assert same.client(b"+ech.") == YES
    assert same.last.judgements[0].classification == Classification("spell", ("ech",), {}, length=5, then=spell,
                                                                    veiled=True)  # DNS knows no other name
    known[ip_address(CLIENT).packed, ip_address(SERVER).packed] = BLOCKED
    plain = Talk(judge, sport=3)
    assert plain.client(b"+allowed.example.") == YES
    found = plain.last.judgements[0].classification
    assert found is not None
    assert found.attributes == {"sni_mismatch": BLOCKED}
    careful = Talk(made(known=known, exceptions={**OPEN, Reason.SNI_MISMATCH: Verdict.BLOCK}))
    assert careful.client(b"+allowed.example.") == "block sni_mismatch"
    asked.server(b"=allowed.example")
    assert Talk(judge, sport=4).client(b"+.") == YES
    told = Talk(judge, sport=5)
    assert told.client(b"+allowed.example.") == YES
    agreed = told.last.judgements[0].classification
    assert agreed is not None
    assert "sni_mismatch" not in agreed.attributes
    assert SILENT not in known.values()


payloads = st.binary(max_size=40) | st.sampled_from(
    [b"+x", b"+.", b"~", b"!", b"?blocked.example", b"=blocked.example", b"#", b"+blocked.example."])


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 4), st.sampled_from([53, 443, 1]), payloads), max_size=30),
       st.booleans())
def test_any_datagrams(said: list[tuple[bool, int, int, bytes]], strict: bool) -> None:
    """One decision each, whatever comes, and the table within its bounds."""
    judge = made(strict=strict, max_flows=16, known=Names())
    talks: dict[tuple[int, int], Talk] = {}
    for up, sport, dport, payload in said:
        flow = talks.setdefault((sport, dport), Talk(judge, dport, sport=sport))
        assert (flow.client if up else flow.server)(payload)
        flow.now += 7
        assert len(judge.datagrams.flows) <= 16
        assert judge.datagrams.flows.memory <= judge.datagrams.flows.memory_limit
    assert isinstance(judge.datagrams.flows, FlowTable)
