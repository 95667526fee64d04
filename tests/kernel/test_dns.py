"""DNS through a real gateway: what dig prints, and what dnsmasq was asked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from itertools import count, product
from typing import NamedTuple

import pytest

from nfqdpi.core.verdict import Verdict
from nfqdpi.lab.gauges import tracked
from nfqdpi.lab.network import CLIENT, LAN, SERVER, WAN, Family, Lab
from nfqdpi.lab.resolver import REAL, Resolver
from tests.kernel.daily import FAMILIES, Gateway, config, wait_until
from tests.kernel.namespaces import PROGRAM

_ELSEWHERE: dict[Family, str] = {4: "192.0.2.80", 6: "2001:db8:1::80"}
_TYPES: dict[Family, str] = {4: "A", 6: "AAAA"}
_NULL: dict[Family, str] = {4: str(ip_address(0)), 6: "::"}


def dns(lab: Lab, mode: str = "strict", **settings: str) -> str:
    """The usual configuration, with DNS and a name that is elsewhere."""
    keys = "".join(f"{key} = {value}\n" for key, value in settings.items())
    addresses = ", ".join(f'"{address}"' for address in _ELSEWHERE.values())
    return f"""{config(lab, mode)}
[plugin.dns]
enabled = true
{keys}
[[rule]]
name = "elsewhere"
action = "redirect"
domains = ["moved.example"]
redirect = [{addresses}]
"""


class Said(NamedTuple):
    """An answer, as dig prints it; ``status`` is "" where there was none."""

    status: str
    answers: list[str]
    text: str


_ports = count(5300)


def dig(lab: Lab, family: Family, *questions: str, of: Mapping[Family, str] = SERVER) -> list[Said]:
    """Ask them one behind the other, on one five-tuple."""
    source = f"{CLIENT[family]}#{next(_ports)}"
    command = ["dig", f"@{of[family]}", "-b", source, "+tries=1", "+time=1", *questions]
    said = lab.client.run(command, check=False).stdout
    answers = []
    for text in re.split(r"(?m)^;; Got answer:|^;; (?=communications|connection)", said)[1:]:
        status = re.search(r"status: (\w+)", text)
        section = re.search(r";; ANSWER SECTION:\n(.*?)\n\n", text, re.DOTALL)
        lines = section[1].splitlines() if section else []
        answers.append(Said(status[1] if status else "", [line.split(None, 4)[4] for line in lines], text))
    return answers


@pytest.fixture
def resolver(lab: Lab) -> Iterator[Resolver]:
    """Behind the gateway."""
    with Resolver(lab.server, lab.state / "resolver") as listening:
        yield listening


@pytest.mark.parametrize("mode", ["strict", "fast"])
def test_names_over_udp(lab: Lab, gateway: Gateway, resolver: Resolver, mode: str) -> None:
    """Each query on a port is judged: an allowed name has its address; a blocked one does not exist, and its resolver
    is not asked; a redirected one is elsewhere, also under an alias."""
    gateway(dns(lab, mode))
    for family, kind in _TYPES.items():
        allowed, blocked, moved, alias, again = dig(
            lab, family, "allowed.example", kind, "WWW.blocked.example", kind, "moved.example", kind,
            "alias.moved.test", kind, "allowed.example", kind)
        assert (allowed.status, allowed.answers) == ("NOERROR", [REAL[family]])
        assert (blocked.status, blocked.answers) == ("NXDOMAIN", [])
        assert "EDE: 15 (Blocked)" in blocked.text
        assert ";WWW.blocked.example." in blocked.text
        assert (moved.status, moved.answers) == (alias.status, alias.answers) == ("NOERROR", [_ELSEWHERE[family]])
        assert again.answers == [REAL[family]]
    assert resolver.asked == [(kind, name) for kind in _TYPES.values()
                              for name in ("allowed.example", "alias.moved.test", "allowed.example")]


def test_names_behind_nat(lab: Lab, gateway: Gateway, resolver: Resolver) -> None:
    """Answers of ours leave nothing in conntrack that would change the port of the next one, or let the next query out
    untranslated."""
    for tables in PROGRAM.values():
        lab.gateway.run([tables, "-t", "nat", "-A", "POSTROUTING", "-o", "wan0", "-j", "MASQUERADE"])
    gateway(dns(lab))
    for family, kind in _TYPES.items():
        said = dig(lab, family, "www.blocked.example", kind, "allowed.example", kind, "www.blocked.example", kind)
        assert [answer.status for answer in said] == ["NXDOMAIN", "NOERROR", "NXDOMAIN"]
        assert [flow.mark for flow in tracked(lab.gateway, family) if flow.dport == 53] == [Verdict.INSPECT]
    assert resolver.sources == {WAN[family] for family in FAMILIES}


def test_the_gateways_own_resolver(lab: Lab, gateway: Gateway) -> None:
    """What clients ask the gateway itself is judged as what it forwards."""
    gateway(dns(lab))
    with Resolver(lab.gateway, lab.state / "resolver", LAN) as resolver:
        for family, kind in _TYPES.items():
            said = dig(lab, family, "allowed.example", kind, "www.blocked.example", kind, "alias.example", kind, of=LAN)
            assert [answer.status for answer in said] == ["NOERROR", "NXDOMAIN", "NXDOMAIN"]
            assert said[0].answers == [REAL[family]]
        assert {name for _, name in resolver.asked} == {"allowed.example", "alias.example"}


@pytest.mark.parametrize(("scope", "judged"), [
    ('lan = ["lan0"]', True), ('lan = ["lan0"]\nwan = ["wan0"]', True), ('wan = ["wan0"]', False)])
def test_the_gateways_own_resolver_on_some_interfaces(lab: Lab, gateway: Gateway, scope: str, *, judged: bool) -> None:
    """Whose clients are not to be judged are not either where they ask the gateway itself."""
    gateway(dns(lab).replace("[queue]", f"[queue]\n{scope}"))
    with Resolver(lab.gateway, lab.state / "resolver", LAN) as resolver:
        for family, kind in _TYPES.items():
            (over_udp,) = dig(lab, family, "www.blocked.example", kind, of=LAN)
            assert over_udp.status == ("NXDOMAIN" if judged else "NOERROR")
            (over_tcp, *_) = dig(lab, family, "+tcp", "www.blocked.example", kind, of=LAN)
            assert over_tcp.answers == ([] if judged else [REAL[family]])
    assert bool(resolver.asked) is not judged


def test_an_alias_of_a_blocked_name(lab: Lab, gateway: Gateway, resolver: Resolver) -> None:
    """The resolver is asked for the alias and answers; its answer does not arrive."""
    gateway(dns(lab, blocked='"zero"'))
    for family, kind in _TYPES.items():
        (alias,) = dig(lab, family, "alias.example", kind)
        assert (alias.status, alias.answers) == ("NOERROR", [_NULL[family]])
    assert resolver.asked == [(kind, "alias.example") for kind in _TYPES.values()]


def test_services(lab: Lab, gateway: Gateway, resolver: Resolver) -> None:
    """Keys for encrypted hellos are stripped, and a redirected name has no service whose hints lead past it."""
    gateway(dns(lab, strip_ech="true"))
    for family in FAMILIES:
        allowed, moved = dig(lab, family, "allowed.example", "HTTPS", "moved.example", "HTTPS")
        assert allowed.answers == [f'1 . alpn="h2" ipv4hint={REAL[4]} ipv6hint={REAL[6]}']
        assert (moved.status, moved.answers) == ("NOERROR", [])
    assert resolver.asked == [("HTTPS", "allowed.example")] * 2


def test_canary_and_silence(lab: Lab, gateway: Gateway, resolver: Resolver) -> None:
    """Firefox' question is answered here, and a silent rule's not at all."""
    gateway(dns(lab))
    canary, silent = dig(lab, 4, "use-application-dns.net", "A", "silent.example", "A")
    assert canary.status == "NXDOMAIN"
    assert (silent.status, "timed out" in silent.text) == ("", True)
    assert resolver.asked == []


@pytest.mark.parametrize("own", [False, True], ids=["forwarded", "the gateway's"])
@pytest.mark.parametrize("mode", ["strict", "fast"])
def test_names_over_tcp(lab: Lab, gateway: Gateway, mode: str, *, own: bool) -> None:
    """Every query of a connection is judged; one for a blocked or a redirected name ends it, on both sides."""
    gateway(dns(lab, mode))
    place, addresses = (lab.gateway, LAN) if own else (lab.server, SERVER)
    with Resolver(place, lab.state / "resolver", addresses) as resolver:
        for family, name in product(FAMILIES, ("www.blocked.example", "moved.example")):
            questions = ("+tcp", "+keepopen", "allowed.example", "allowed.example", name)
            first, second, third = dig(lab, family, *questions, of=addresses)[:3]
            assert first.answers == second.answers == [REAL[4]]
            assert "connection reset" in third.text
            assert wait_until(lambda: ":53 " not in place.run(["ss", "-Htn", "state", "established"]).stdout, 5)
        assert {name for _, name in resolver.asked} == {"allowed.example"}
