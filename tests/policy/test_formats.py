"""Lists as the world writes them: each format's lines, odd ones too, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfqdpi.policy.formats import Format, Parsed, Refused, detect, line_count, read
from nfqdpi.policy.names import Kind, Pattern


def blocked(parsed: Parsed) -> list[str]:
    return [f"{kind}{name}" for kind, entries in parsed.blocked.items() for name in entries.names]


def excepted(parsed: Parsed) -> list[str]:
    return [f"{kind}{name}" for kind, entries in parsed.excepted.items() for name in entries.names]


def refused(parsed: Parsed) -> list[int]:
    return [one.line for one in parsed.refused]


HOSTS = """\
# Title: StevenBlack/hosts
# Date: 03 November 2026

127.0.0.1 localhost
127.0.0.1 localhost.localdomain
255.255.255.255 broadcasthost
::1 ip6-localhost ip6-loopback
fe80::1%lo0 localhost
0.0.0.0 0.0.0.0
0.0.0.0 ads.example
0.0.0.0\tTabs.Example  # why it is here
127.0.0.1 one.example two.example
:: six.example
0.0.0.0 bücher.example
192.168.1.5 nas.example
0.0.0.0
ads2.example
0.0.0.0 bad_^name.example
0.0.0.0 dot.example.
0.0.0.0 xn--bcher-kva.example
"""


def test_hosts() -> None:
    """Names behind an address that leads nowhere; the machine's own names are neither names nor refused."""
    parsed = read(HOSTS.encode(), Format.HOSTS)
    assert blocked(parsed) == ["=ads.example", "=tabs.example", "=one.example", "=two.example", "=six.example",
                               "=xn--bcher-kva.example", "=dot.example", "=xn--bcher-kva.example"]
    assert list(parsed.blocked[Kind.EXACT].lines) == [10, 11, 12, 12, 13, 14, 19, 20]
    assert parsed.refused == [
        Refused(15, "192.168.1.5 nas.example", "it gives an address to a name (192.168.1.5), which blocks nothing"),
        Refused(16, "0.0.0.0", "an address without a name"),  # noqa: S104  a list's line
        Refused(17, "ads2.example", "no address stands in front"),
        Refused(18, "0.0.0.0 bad_^name.example", "'bad_^name.example' is no domain name"),
    ]


def test_domains() -> None:
    """A name a line; an address is what Host says, a word alone is most likely none."""
    parsed = read(b"# list\n\na.example\n*.b.example\n.c.example # all\n! old style\n192.0.2.7\nword\ntwo words\n"
                  b"http://d.example/\n0.0.0.0\nlocalhost\n*casino*\nlocalhost.d.example\n[2001:db8::1]\n2001:DB8::1\n",
                  Format.DOMAINS)
    assert blocked(parsed) == ["b.example", "c.example", "=a.example", "=192.0.2.7", "=localhost.d.example",
                               "=2001:db8::1", "*casino"]
    assert refused(parsed) == [8, 9, 10, 15]


ADBLOCK = """\
[Adblock Plus 2.0]
! Title: AdGuard DNS filter
||ads.example^
||ADS2.example^$important
||all.example^$all,important
||*.below.example^
|exact.example^
||ended.example^|
@@||good.ads.example^
@@|fine.example^|
@@||better.example^$important
plain.example
*casino*
||zip^
||192.0.2.7^
0.0.0.0 hosts.example
example.com##.banner
example.com#@#.banner
##.ad
~example.com#?#div:has(> a)
example.com$$script[data-src="banner"]
# a comment, too
||page.example^$third-party
||client.example^$client=10.0.0.1
||gone.example^$badfilter
||rewritten.example^$dnsrewrite=NOERROR;A;1.2.3.4
||open.example
||path.example/ads^
||port.example:8080^
||wild*.example^
/banner[0-9]+/
://ads.
-ad-300x250.
^
@@
|||odd^
"""


def test_adblock() -> None:
    """Rules of whole names; what they do not say of a name is refused, what is meant for pages is neither."""
    parsed = read(ADBLOCK.encode(), Format.ADBLOCK)
    assert blocked(parsed) == ["ads.example", "ads2.example", "all.example", "ended.example", "zip", "192.0.2.7",
                               "=exact.example", "=plain.example", "=hosts.example", "*.below.example", "*casino"]
    assert excepted(parsed) == ["good.ads.example", "better.example", "=fine.example"]
    assert refused(parsed) == list(range(23, 37))


ZONE = """\
$TTL 2h
$ORIGIN rpz.example.
@ IN SOA localhost. root.localhost. (
      2026110301 ; serial
      6h 1h
      1w 2h )
   IN NS localhost.
; a comment
ads.example CNAME .
*.ads.example IN CNAME .
nodata.example 300 IN CNAME *.
dropped.example CNAME rpz-drop. ; why
whole.example.rpz.example. CNAME .
good.ads.example CNAME rpz-passthru.
old.example CNAME old.example.
null.example A 0.0.0.0
null.example AAAA ::
\tTXT "listed; (for a reason)"
*.pass.example CNAME rpz-passthru.
x.pass.example CNAME .
32.1.2.0.192.rpz-ip CNAME .
garden.example CNAME walled.example.net.
moved.example A 192.0.2.1
elsewhere.example. CNAME .
$INCLUDE other.zone
$ORIGIN example.rpz.example.
relative CNAME .
    CNAME .
UPPER.case CNAME .
"""


def test_rpz() -> None:
    """Names below the zone's own; a record that answers with something is refused, as is what a closer exception in
    the zone would not win over."""
    parsed = read(ZONE.encode(), Format.RPZ)
    assert blocked(parsed) == ["=ads.example", "=nodata.example", "=dropped.example", "=whole.example",
                               "=null.example", "=null.example", "=relative.example", "=relative.example",
                               "=upper.case.example", "*.ads.example"]
    assert excepted(parsed) == ["=good.ads.example", "=old.example", "*.pass.example"]
    assert {one.line: one.why for one in parsed.refused} == {
        18: "TXT \"listed; (for a reason)\" is an answer of its own, which blocks nothing",
        20: "line 19 lets *.pass.example pass",
        21: "rpz-ip looks at addresses or servers, not at the name",
        22: "CNAME walled.example.net. is an answer of its own, which blocks nothing",
        23: "A 192.0.2.1 is an answer of its own, which blocks nothing",
        24: "no name below the zone's own",
        25: "$INCLUDE is not followed",
    }


def test_a_zone_that_does_not_tell_its_name() -> None:
    """Is taken for the root: a name is the same with a dot at its end."""
    parsed = read(b"@ SOA . . (1 1 1 1 10800)\na.example CNAME .\nb.example. CNAME .\n*.b.example. CNAME .\n@ A ::\n"
                  b"* CNAME .\n*.c.example CNAME *.c.example.\n", Format.RPZ)
    assert (blocked(parsed), excepted(parsed), refused(parsed)) == (
        ["=a.example", "=b.example", "*.b.example"], ["*.c.example"], [5, 6])


def test_a_zone_that_tells_its_name_by_its_authority() -> None:
    """An absolute name is one below the SOA's."""
    parsed = read(b"rpz.example. SOA a. b. 1 2 3 4 5\na.example.rpz.example. CNAME .\nb.example CNAME .\n"
                  b"c.example. CNAME .\n", Format.RPZ)
    assert (blocked(parsed), refused(parsed)) == (["=a.example", "=b.example"], [4])


def test_a_parenthesis_that_nothing_closes() -> None:
    """Costs its record a thousand words, not the zone."""
    parsed = read(b"a.example TXT (\n" + b"b.example CNAME .\n" * 1000, Format.RPZ)
    assert 500 < parsed.count < 1000


def test_dnsmasq() -> None:
    """Options that give a name to nobody."""
    parsed = read(b"# dnsmasq\naddress=/ads.example/\naddress=/a.example/b.example/0.0.0.0\naddress=/six.example/::\n"
                  b"address=/hash.example/# # why\nserver=/s.example/\nlocal=/l.example/ # why\nlocal = /zip/\n"
                  b"address=/.dot.example/\naddress=/nas.example/192.168.1.5\nserver=/corp.example/10.0.0.1\n"
                  b"server=/back.example/#\naddress=/#/0.0.0.0\ncache-size=1000\naddress=/open.example\n",
                  Format.DNSMASQ)
    assert blocked(parsed) == ["ads.example", "a.example", "b.example", "six.example", "hash.example", "s.example",
                               "l.example", "zip", "dot.example"]
    assert refused(parsed) == [10, 11, 12, 13, 14, 15]


def test_wildcard() -> None:
    """The name and all below it, with the asterisk or without."""
    parsed = read(b"# Title\n*.ads.example\nb.example\n*.zip\n*.a.*.example\n", Format.WILDCARD)
    assert (blocked(parsed), refused(parsed)) == (["ads.example", "b.example", "zip"], [5])


LISTS = {Format.HOSTS: HOSTS, Format.ADBLOCK: ADBLOCK, Format.RPZ: ZONE,
         Format.DOMAINS: "! x\na.example\nb.example\n*.c.example\n",
         Format.DNSMASQ: "# x\naddress=/a.example/0.0.0.0\nserver=/b.example/\n",
         Format.WILDCARD: "#x\n*.a.example\n*.b.example\n"}


@pytest.mark.parametrize("form", Format)
def test_the_format_is_told(form: Format) -> None:
    """From the first lines, whatever the line ends are, with a byte order mark or without."""
    text = LISTS[form].encode()
    for end in (b"\r\n", b"\r"):
        other = b"\xef\xbb\xbf" + text.replace(b"\n", end)
        assert detect(text) is detect(other) is form
        assert read(other, form) == read(text, form)
        assert line_count(other) == line_count(text) == text.count(b"\n")


@pytest.mark.parametrize("text", [b"", b"\n\n# nothing\n", b"<!doctype html>\n<html>\n", b"Not Found", b"\0\xff\xfe",
                                  b'{"error": "gone"}', b"ftp://x.example/"])
def test_what_is_no_list_has_no_format(text: bytes) -> None:
    """Nothing is guessed."""
    assert detect(text) is None


def test_a_byte_that_is_not_text() -> None:
    """Refuses its line, and no other; what is told of it is text all the same."""
    parsed = read(b"a.example\nb\xff.example\nc.example\n", Format.DOMAINS)
    assert (blocked(parsed), refused(parsed)) == (["=a.example", "=c.example"], [2])
    for form, line in ((Format.DOMAINS, b"\xff"), (Format.ADBLOCK, b"||a.example^$\xff"),
                       (Format.RPZ, b"a.example \xff \xff"), (Format.RPZ, b"\xff" * (1 << 17))):
        [one] = read(line, form).refused
        assert "\N{REPLACEMENT CHARACTER}" in (one.text + one.why).encode().decode()


def test_more_words_than_an_automaton_is_made_of_in_time() -> None:
    """Are refused line by line; names after them are read."""
    words = "".join(f"*{n:x}word*\n" for n in range(10_002))
    parsed = read(f"{words}a.example\n".encode(), Format.DOMAINS)
    assert (len(parsed.blocked[Kind.SUBSTRING].names), refused(parsed)) == (10_000, [10_001, 10_002])
    assert parsed.blocked[Kind.EXACT].names == ["a.example"]


def test_a_line_without_end() -> None:
    """Is refused, and shown in part."""
    parsed = read(b"a" * 100_000, Format.DOMAINS)
    assert [(one.line, len(one.text)) for one in parsed.refused] == [(1, 200)]


def test_a_name_that_is_too_long() -> None:
    """As anywhere: 253 characters, 63 a label."""
    long = ".".join(["a" * 63] * 4)
    for form, line in ((Format.HOSTS, f"0.0.0.0 {long}"), (Format.RPZ, f"{long} CNAME ."),
                       (Format.ADBLOCK, f"||{'a' * 64}.example^")):
        assert refused(read(line.encode(), form)) == [1]


SHORT_WAYS = {
    Format.HOSTS: ("0.0.0.0 %s", "0.0.0.0\x0b%s"), Format.DOMAINS: ("%s", "\x0b%s"),
    Format.ADBLOCK: ("||%s^", "\x0b||%s^"), Format.DNSMASQ: ("address=/%s/", "\x0baddress=/%s/"),
    Format.RPZ: ("%s CNAME .", "%s\x0bCNAME ."), Format.WILDCARD: ("*.%s", "\x0b*.%s"),
}


@given(st.sampled_from(Format), st.from_regex(r"[A-Za-z0-9_.-]{1,40}", fullmatch=True))
def test_the_short_way_and_the_long_one_agree(form: Format, written: str) -> None:
    """A vertical tab is a space to the long way alone."""
    short, long = (read((line % written).encode(), form) for line in SHORT_WAYS[form])
    assert (short.blocked, short.excepted, refused(short)) == (long.blocked, long.excepted, refused(long))


@given(st.sampled_from(Format), st.lists(st.sampled_from(
    ["||", "^", "@@", "$", "*", ".", "/", "#", "a", "example", "é", "address=", "127.0.0.1", " ", "\t", "CNAME", "SOA",
     "$ORIGIN", "(", ")", '"', ";", "!", "\n", "\r", ":", "xn--", "|", "=", "@", "\\"])).map("".join))
def test_any_text_is_read(form: Format, text: str) -> None:
    """Nothing raises; each name is one that a policy could have; each line is refused once at most."""
    detect(text.encode())
    parsed = read(text.encode(), form)
    for columns in (parsed.blocked, parsed.excepted):
        for kind, entries in columns.items():
            assert len(entries.names) == len(entries.lines)
            for name in entries.names:
                assert kind is Kind.SUBSTRING or Pattern.parse(f"{kind}{name}") == Pattern(kind, name)
    assert len(set(refused(parsed))) == len(parsed.refused)


@given(st.sampled_from(Format), st.binary())
def test_any_bytes_are_read(form: Format, data: bytes) -> None:
    """Nothing raises."""
    detect(data)
    read(data, form)
