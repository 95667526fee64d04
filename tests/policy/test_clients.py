"""Groups of clients, and the names that clients go by."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfqdpi.core.decision import Client
from nfqdpi.policy.clients import ClientGroup, client_names

TABLET = bytes.fromhex("020000000007")


def client(address: str, mac: bytes = b"") -> Client:
    return Client(ip_address(address).packed, mac)


@pytest.mark.parametrize(("member", "inside", "outside"), [
    ("192.168.1.7", "192.168.1.7", "192.168.1.8"),
    ("192.168.1.0/24", "192.168.1.255", "192.168.2.0"),
    ("fd00::/64", "fd00::7", "fd00:0:0:1::7"),
    ("192.168.1.7", "::ffff:192.168.1.7", "::192.168.1.7"),
    ("::ffff:192.168.1.0/120", "192.168.1.7", "192.168.2.7"),
    ("::/0", "fd00::7", "192.168.1.7"),
])
def test_by_address(member: str, inside: str, outside: str) -> None:
    """Of either IP version; an IPv4 address is itself, however it is wrapped."""
    group = ClientGroup.of([member])
    assert group.contains(client(inside), "")
    assert not group.contains(client(outside), "")


@pytest.mark.parametrize("written", ["02:00:00:00:00:07", "02-00-00-00-00-07", "02:00:00:00:00:07".upper()])
def test_by_mac(written: str) -> None:
    """Whatever its address is, also one that nobody knows yet; and a packet without a MAC address is nobody's."""
    group = ClientGroup.of([written])
    assert group.contains(client("2001:db8::1", TABLET), "")
    assert not group.contains(client("2001:db8::1"), "")


def test_nobody_can_be_called_like_an_address() -> None:
    """A client says itself what it would be called: who calls itself like another's address gets nothing of it."""
    known = client_names("", "0 02:00:00:00:00:09 192.168.1.66 02-00-00-00-00-07 *\n"
                             "0 02:00:00:00:00:09 192.168.1.66 192.168.1.7 *\n")
    for written, own in (("02-00-00-00-00-07", client("10.0.0.1", TABLET)), ("192.168.1.7", client("192.168.1.7"))):
        group = ClientGroup.of([written], known=known)
        assert group.contains(own, "")
        assert not group.contains(client("192.168.1.66", bytes.fromhex("020000000009")), "")


def test_by_interface() -> None:
    """By its name, or as iptables writes it, by how it begins; a client of no known interface is behind none."""
    group = ClientGroup.of([], ["br-guest", "wg+"])
    assert [group.contains(client("10.0.0.1"), name) for name in ("br-guest", "wg0", "wg", "br-guest2", "")] == [
        True, True, True, False, False]
    assert not ClientGroup.of([], ["+"]).contains(client("10.0.0.1"), "")


def test_by_name() -> None:
    """A name stands for all that the file and the leases say of it, in any case; nobody's name adds nobody."""
    known = client_names("""
        # the family's
        02:00:00:00:00:07  Tablet   # Anna's
        192.168.1.20  printer
        fd00::20  printer
    """, """\
1780308000 02:00:00:00:00:08 192.168.1.30 phone 01:02:00:00:00:00:08
1780308000 02:00:00:00:00:09 192.168.1.31 * *
duid 00:01:00:01:2a:2a:2a:2a:02:00:00:00:00:01
1780308000 12345 fd00::30 phone 00:01
""")
    assert set(known) == {"tablet", "printer", "phone"}
    group = ClientGroup.of(["TABLET", "printer", "phone", "nobody"], known=known)
    assert all(group.contains(one, "") for one in (
        client("10.0.0.1", TABLET), client("192.168.1.20"), client("fd00::20"), client("192.168.1.30"),
        client("10.0.0.1", bytes.fromhex("020000000008")), client("fd00::30")))
    assert not group.contains(client("192.168.1.31", bytes.fromhex("020000000009")), "")


def test_a_lease_takes_no_name_of_the_file() -> None:
    """A client says itself what it is called: it does not become the printer by saying so."""
    known = client_names("192.168.1.20 printer", "0 02:00:00:00:00:08 192.168.1.30 Printer *")
    assert known == {"printer": ClientGroup.of(["192.168.1.20"])}


@pytest.mark.parametrize("line", ["192.168.1.20", "printer 192.168.1.20", "192.168.1.20 the printer"])
def test_a_bad_line_of_the_file_is_told(line: str) -> None:
    """With its number."""
    with pytest.raises(ValueError, match=r"line 2: .* is not an address"):
        client_names(f"192.168.1.20 printer\n{line}\n", "")


@given(st.text())
def test_leases_are_never_refused(text: str) -> None:
    """Another program writes them, perhaps at this moment."""
    client_names("", text)
