"""Our reader of DNS messages, and our answers, against dnspython.

The rule: whatever message dnspython understands, we read the same in it, or say that it is flawed. Whatever we write,
dnspython understands.
"""

from __future__ import annotations

from ipaddress import ip_address

import dns.edns
import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfqdpi.core.wire import Malformed
from nfqdpi.plugins import dns_answer
from nfqdpi.plugins.dns_message import parse

_ECH = "ech=AAj+DQAEYWJjZA=="
_RECORDS = ["A 192.0.2.1", "AAAA 2001:db8::1", "CNAME b.a.example.", "NS ns.b.a.example.", "PTR a.example.",
            "SOA ns.a.example. root.a.example. 1 2 3 4 5", "MX 10 mx.a.example.", "TXT \"a b\" c",
            "SRV 1 2 3 b.a.example.", "DNAME other.example.", "CAA 0 issue \"a.example\"",
            "NAPTR 1 2 \"u\" \"x\" \"\" a.example.",
            f"HTTPS 1 . alpn=h2 {_ECH} ipv6hint=2001:db8::1", f"HTTPS 1 b.a.example. mandatory=ech,port {_ECH} port=1",
            f"HTTPS 2 . mandatory=ech {_ECH}", "HTTPS 0 b.a.example.", f"SVCB 1 . {_ECH}", "SVCB 1 . port=53",
            "RRSIG HTTPS 13 2 300 20300101000000 20200101000000 1 a.example. YWJj",
            "RRSIG SVCB 13 2 300 20300101000000 20200101000000 1 a.example. YWJj",
            "RRSIG A 13 2 300 20300101000000 20200101000000 1 a.example. YWJj"]
_names = st.sampled_from(["a.example.", "B.a.Example.", "c.b.a.example.", "example.", ".", r"x\.y.a.example.",
                          r"\000\255.example.", "a" * 63 + ".a.example."])
_rrsets = st.builds(lambda owner, record: dns.rrset.from_text(owner, 300, "IN", *record.split(" ", 1)), _names,
                    st.sampled_from(_RECORDS))


@st.composite
def messages(draw: st.DrawFn, mutations: int = 0) -> bytes:
    """A message that dnspython writes, with compressed names, and with this many bytes changed at most."""
    message = dns.message.make_query(draw(_names), draw(st.sampled_from(["A", "AAAA", "HTTPS", "TXT", "ANY"])),
                                     use_edns=draw(st.booleans()), id=1)
    message.flags |= draw(st.sampled_from([0, 0x8000, 0x8020]))
    for section in (message.answer, message.authority, message.additional):
        section.extend(draw(st.lists(_rrsets, max_size=4, unique_by=lambda each: (each.name, each.rdtype, each.covers)
                                      )))
    data = bytearray(message.to_wire())
    for _ in range(draw(st.integers(0, mutations))):
        at = draw(st.integers(0, len(data) - 1))
        how = draw(st.integers(0, 2))
        data[at : at + (how != 1)] = b"" if how == 2 else bytes((draw(st.integers(0, 255)),))
    return bytes(data)


def as_theirs(name: str) -> dns.name.Name:
    """A name of ours; our numbers are dnspython's, too."""
    return dns.name.from_text(f"{name}.")


@given(messages(mutations=2))
def test_what_dnspython_reads_we_read(data: bytes) -> None:
    """The same questions and records with the same names, types, TTLs and RDATA, or a flaw."""
    try:
        theirs = dns.message.from_wire(data, ignore_trailing=True, one_rr_per_rrset=True)
    except (dns.exception.DNSException, ValueError):
        return
    ours = parse(data)
    if ours.flaw:
        return
    assert ours.id == theirs.id
    assert len(ours.questions) == len(theirs.question)
    for question, rrset in zip(ours.questions, theirs.question, strict=True):
        assert as_theirs(question.name) == rrset.name
        assert (question.kind, question.group) == (rrset.rdtype, rrset.rdclass)
    if ours.opcode:
        return
    for section, theirs_too in zip(ours.sections, theirs.sections[1:], strict=True):
        records = [record for record in section if record.kind not in (41, 250)]  # dnspython keeps OPT and TSIG apart
        for record, rrset in zip(records, theirs_too, strict=True):
            assert as_theirs(record.name) == rrset.name
            assert (record.kind, record.group, record.ttl) == (rrset.rdtype, rrset.rdclass, rrset.ttl)
            rdata = dns.rdata.from_wire(rrset.rdclass, rrset.rdtype, data, record.data, record.end - record.data)
            assert rdata == rrset[0]


@given(messages())
def test_nothing_well_formed_is_flawed(data: bytes) -> None:
    """What dnspython writes has no flaw."""
    assert parse(data).flaw == ""


@given(messages())
def test_an_answer_without_ech_is_otherwise_the_same(data: bytes) -> None:
    """Every record is as it was, but for the parameter and the signatures over services that had it."""
    ours = parse(data)
    try:
        changed = dns_answer.without_ech(ours)
    except Malformed:
        assert "RRSIG" in dns.message.from_wire(data).to_text()  # a name points to its owner, which goes
        return
    before = dns.message.from_wire(data)
    assert (changed is None) == (_ECH.encode() not in before.to_text().replace('"', "").encode())
    if changed is None:
        return
    after = dns.message.from_wire(changed)
    assert after.flags == before.flags & ~0x0020
    assert after.question == before.question
    had = {(rrset.name, rrset.rdtype) for section in before.sections for rrset in section
           if _ECH in rrset.to_text().replace('"', "")}
    for old, new in zip(before.sections[1:], after.sections[1:], strict=True):
        expected = [without(rrset) for rrset in old if (rrset.name, rrset.covers) not in had]
        assert new == expected


def without(rrset: dns.rrset.RRset) -> dns.rrset.RRset:
    """The records without the parameter, by their text."""
    if rrset.rdtype not in (64, 65):
        return rrset
    lines = [rdata.to_text().replace('"', "").replace(f" {_ECH}", "") for rdata in rrset]
    lines = [line.replace("mandatory=port,ech", "mandatory=port").replace(" mandatory=ech", "") for line in lines]
    return dns.rrset.from_text(rrset.name, rrset.ttl, rrset.rdclass, rrset.rdtype, *lines)


@given(messages(), st.sampled_from(["denial", "addresses"]), st.integers(0, 3))
def test_our_answers_are_read(data: bytes, how: str, addresses: int) -> None:
    """They answer the question, as it was spelled, with EDNS where the query had it."""
    query = dns.message.from_wire(data)
    chosen = (b"\1\2\3\4", bytes(16), b"\4\3\2\1")[:addresses]
    reply = (dns_answer.denial(parse(data), 60, dns_answer.BLOCKED) if how == "denial"
             else dns_answer.addresses(parse(data), chosen, 60, dns_answer.FORGED))
    found = dns.message.from_wire(reply)
    assert query.is_response(found) or query.flags & 0x8000
    assert reply[12 : parse(data).body] == data[12 : parse(data).body]
    assert found.rcode() == (dns.rcode.NXDOMAIN if how == "denial" else dns.rcode.NOERROR)
    assert (found.edns, [option.otype for option in found.options]) == ((0, [15]) if query.edns == 0 else (-1, []))
    length = {1: 4, 28: 16}.get(query.question[0].rdtype)
    fitting = [ip_address(each).compressed for each in chosen if how == "addresses" and len(each) == length]
    assert [rdata.to_text() for rrset in found.answer for rdata in rrset] == fitting
    assert [rrset.rdtype for rrset in found.authority] == ([] if fitting else [dns.rdatatype.SOA])


def test_extended_errors_are_named() -> None:
    """The numbers are the registry's (RFC 8914, 5.2)."""
    assert dns.edns.EDECode(dns_answer.BLOCKED).name == "BLOCKED"
    assert dns.edns.EDECode(dns_answer.FORGED).name == "FORGED_ANSWER"


@pytest.mark.parametrize("flags", [0, 0x8000])
def test_the_cookie_comes_back(flags: int) -> None:
    """A cookie with the server's part is the client's sign that the answer is genuine (RFC 7873, 5.3); half a cookie is
    no answer."""
    for cookie in (bytes(range(8)), bytes(range(24))):
        option = dns.edns.GenericOption(dns.edns.OptionType.COOKIE, cookie)
        message = dns.message.make_query("a.example", "A", options=[option], want_dnssec=True)
        message.flags |= flags
        found = dns.message.from_wire(dns_answer.denial(parse(message.to_wire()), 60, dns_answer.BLOCKED))
        assert [option.to_wire() for option in found.options if option.otype == 10] == [cookie] * (len(cookie) > 8)
        assert found.ednsflags & 0x8000
