"""What SSH clients say first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfqdpi.core.classifier import NEED_MORE, NO_MATCH, Classification
from nfqdpi.plugins import http, tls
from nfqdpi.plugins.ssh import classifier
from nfqdpi.testing import FromServer, cuts, flow, hello, request, verdict_of
from nfqdpi.testing.flows import Talk
from tests.plugins.prefixes import answer, settles

classify = classifier.classify
BANNER = b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n"
FLOW = flow(BANNER, FromServer(b"SSH-2.0-x\r\n"), bytes(600), port=22)
NO_SSH = {"name": "no ssh", "action": "block", "protocols": ["ssh"]}


@pytest.mark.parametrize(("banner", "software", "version"), [
    (BANNER, "OpenSSH_9.2p1", "2.0"),
    (b"SSH-2.0-dropbear_2022.83\r\n", "dropbear_2022.83", "2.0"),
    (b"SSH-2.0-Go\r\n", "Go", "2.0"),
    (b"SSH-2.0-PuTTY_Release_0.78\r\n", "PuTTY_Release_0.78", "2.0"),
    (b"SSH-2.0-JSCH-0.1.54\n", "JSCH-0.1.54", "2.0"),
    (b"SSH-1.99-Cisco-1.25\n", "Cisco-1.25", "1.99"),
    (b"SSH-2.0-" + b"x" * 245 + b"\r\n", "x" * 245, "2.0"),
])
def test_identification_strings(banner: bytes, software: str, version: str) -> None:
    """However they are cut, software and version are told once the line has ended; it is the unit."""
    found = answer(classify, banner)
    assert isinstance(found, Classification)
    assert (found.protocol, found.names, found.flaw, found.length) == ("ssh", (), "", len(banner))
    assert found.attributes == {"software": software, "version": version}


@pytest.mark.parametrize("line", [
    b"SSH-\r\n", b"SSH-2.0\r\n", b"SSH-2.0-\r\n", b"SSH-2.0- x\r\n", b"SSH-two-x\r\n", b"SSH-2.0-x\0\r\n",
    b"SSH-2.0-x\xff\r\n", b"SSH-2.0-x \x1b[2J\r\n", b"SSH-2.0-x\r\r\n", b"SSH-2.0-x\ty\r\n",
])
def test_what_is_no_identification_string(line: bytes) -> None:
    """A line that begins as one, and breaks its rules, is flawed."""
    found = answer(classify, line)
    assert isinstance(found, Classification)
    assert (found.flaw, found.length) == ("not an identification string", len(line))


def test_a_line_without_an_end() -> None:
    """255 bytes are the most, line end and all."""
    found = answer(classify, b"SSH-2.0-" + b"x" * 247)
    assert isinstance(found, Classification)
    assert found.flaw == "no line end within 255 bytes"


@pytest.mark.parametrize("data", [hello("a.example"), request("a.example"), b"ssh-2.0-x\r\n", b"hello\r\n" + BANNER])
def test_other_protocols(data: bytes) -> None:
    """Are none of ours, nor is a client that says something before."""
    assert classify(data) is NO_MATCH


@given(st.binary(max_size=300) | st.binary(max_size=300).map(lambda rest: b"SSH-2.0-" + rest))
def test_any_bytes(data: bytes) -> None:
    """Have an answer, and an answer stands."""
    settles(classify, data)


def test_nothing_is_open() -> None:
    """Before the first byte."""
    assert classify(b"") is NEED_MORE


@given(packets=cuts(FLOW))
def test_a_rule_by_protocol(packets: list[bytes]) -> None:
    """Blocks it, however it comes; without one the default speaks."""
    readers = (tls.classifier, http.classifier, classifier)
    assert verdict_of(packets, *readers, rules=[NO_SSH])[:5] == ("ssh", "", "block", "rule", "no ssh")
    assert verdict_of(packets, *readers).verdict == "accelerate"


def test_a_rule_by_protocol_in_fast_mode() -> None:
    """Does the same."""
    fast = {"inspect": {"mode": "fast"}}
    assert verdict_of(FLOW, classifier, rules=[NO_SSH], settings=fast)[:5] == ("ssh", "", "block", "rule", "no ssh")
    assert verdict_of(FLOW, classifier, settings=fast).verdict == "accelerate"


def test_the_server_has_the_last_word() -> None:
    """In strict mode a client's word does not free a flow: what it says may never reach a server, and what it sends in
    its place is compared with it (E3, E6)."""
    talk = Talk(dport=443)
    decoyed = [*talk.opening(), talk.says(BANNER, at=0), talk.says(hello("blocked.example"), at=0)]
    seen = verdict_of(decoyed, tls.classifier, classifier)
    assert (seen.proto, seen.verdict) == ("ssh", "block")
