"""Conntrack through our codec, with conntrack(8) as the witness."""

from __future__ import annotations

import errno
import re
import socket
from collections.abc import Iterator

import msgspec
import pytest

from nfqdpi.core.verdict import MarkField, Verdict
from nfqdpi.kernel import conntrack, ctnetlink, passage
from nfqdpi.kernel.conntrack import Conntrack
from nfqdpi.kernel.ctnetlink import Change, Entry, Tuple
from nfqdpi.kernel.netlink import CREATE, NESTED, Netlink, attribute
from nfqdpi.lab.namespace import Namespace
from tests.kernel.namespaces import fresh

FIELD = MarkField()
ADDRESSES = {4: ("192.0.2.2", "198.51.100.2"), 6: ("2001:db8:1::2", "2001:db8:2::2")}


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    with fresh() as built:
        yield built


@pytest.fixture
def changes(namespace: Namespace) -> Iterator[Conntrack]:
    with Netlink() as kernel:
        yield Conntrack(kernel)


def add(namespace: Namespace, *, mark: int = 0, sport: int = 40000, family: int = 4, proto: str = "tcp", zone: int = 0,
        ) -> None:
    """An entry by conntrack(8)."""
    src, dst = ADDRESSES[family]
    options = {
        "tcp": f"--sport {sport} --dport 443 --state ESTABLISHED",
        "udp": f"--sport {sport} --dport 443",
        "icmp": "--icmp-type 8 --icmp-code 0 --icmp-id 7",
    }[proto]
    namespace.run(f"conntrack -I -s {src} -d {dst} -p {proto} {options} -t 500 -u SEEN_REPLY,ASSURED "
                  f"-m {mark} -w {zone}".split())


def witnessed(namespace: Namespace, family: int = 4) -> dict[int, int]:
    """Source port and mark of the TCP entries that conntrack(8) lists."""
    listed = namespace.run(["conntrack", "-L", "-f", f"ipv{family}", "-p", "tcp"]).stdout
    return {int(port): int(mark) for port, mark in re.findall(r"sport=(\d+) dport=443 .* mark=(\d+)", listed)}


def test_dump_lists_every_entry(namespace: Namespace) -> None:
    """Both families, protocols with and without ports, mark, state and timeout."""
    add(namespace, mark=0xAB3)
    add(namespace, family=6, mark=2)
    add(namespace, proto="udp")
    add(namespace, proto="icmp")
    found = {(entry.family, entry.orig.proto): entry for entry in conntrack.dump(FIELD)}
    assert len(found) == 4
    tcp4, tcp6 = found[socket.AF_INET, 6], found[socket.AF_INET6, 6]
    assert tcp4.orig == Tuple(6, "192.0.2.2", 40000, "198.51.100.2", 443)
    assert tcp4.reply == Tuple(6, "198.51.100.2", 443, "192.0.2.2", 40000)
    assert (tcp4.mark, tcp4.tcp_state, tcp4.zone) == (0xAB3, "established", 0)
    assert 490 < tcp4.timeout <= 500
    assert tcp6.orig == Tuple(6, "2001:db8:1::2", 40000, "2001:db8:2::2", 443)
    assert found[socket.AF_INET, 17].tcp_state is None
    assert found[socket.AF_INET, 1].orig == Tuple(1, "192.0.2.2", 0, "198.51.100.2", 0)


def test_the_kernel_filters_by_verdict_and_family(namespace: Namespace) -> None:
    """Also for UNSEEN, which other tools' filters take for no filter at all; foreign bits do not count."""
    for sport, mark in enumerate((0, 0x50, 1, 3, 0xA3), 40000):
        add(namespace, mark=mark, sport=sport)
    add(namespace, family=6, mark=3)
    assert sorted(entry.mark for entry in conntrack.dump(FIELD, Verdict.UNSEEN)) == [0, 0x50]
    assert sorted(entry.mark for entry in conntrack.dump(FIELD, Verdict.BLOCK, socket.AF_INET)) == [3, 0xA3]
    assert [entry.family for entry in conntrack.dump(FIELD, Verdict.BLOCK, socket.AF_INET6)] == [socket.AF_INET6]
    assert [entry.mark for entry in conntrack.dump(MarkField(0xF0), Verdict.BLOCK_SILENT)] == [0x50]


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("mask", [0xF, 0xF0, 0xF0000000])
def test_setting_a_mark_leaves_foreign_bits(namespace: Namespace, changes: Conntrack, family: int, mask: int) -> None:
    """Every verdict in turn; conntrack(8) sees the field change and nothing else."""
    add(namespace, mark=0xDEADBEEF, family=family)
    field = MarkField(mask)
    [entry] = conntrack.dump(field)
    for verdict in Verdict:
        changes.set_mark(entry, field, verdict)
        assert witnessed(namespace, family) == {40000: 0xDEADBEEF & ~mask | field.value(verdict)}


def test_an_entry_can_be_named_by_its_tuple(namespace: Namespace, changes: Conntrack) -> None:
    """Without having been dumped."""
    add(namespace)
    tcp = Tuple(6, "192.0.2.2", 40000, "198.51.100.2", 443)
    changes.set_mark(Entry(socket.AF_INET, tcp, tcp), FIELD, Verdict.BLOCK)
    assert witnessed(namespace) == {40000: 3}


def test_entries_of_zones_and_without_ports_are_found_again(namespace: Namespace, changes: Conntrack) -> None:
    """Whatever a dump lists can be marked and deleted."""
    add(namespace, zone=7)
    add(namespace, proto="icmp")
    assert changes.set_marks(list(conntrack.dump(FIELD)), FIELD, Verdict.BLOCK) == 2
    entries = list(conntrack.dump(FIELD, Verdict.BLOCK))
    assert sorted(entry.zone for entry in entries) == [0, 7]
    assert changes.delete_each(entries) == 2
    assert list(conntrack.dump(FIELD)) == []


def test_what_is_gone_is_not_counted(namespace: Namespace, changes: Conntrack) -> None:
    """An entry that ended meanwhile is passed over, and one of another id is left alone."""
    add(namespace)
    entries = list(conntrack.dump(FIELD))
    namespace.run(["conntrack", "-F"])
    assert changes.set_marks(entries, FIELD, Verdict.BLOCK) == 0
    with pytest.raises(OSError, match="No such file") as caught:
        changes.delete(entries[0])
    assert caught.value.errno == errno.ENOENT
    add(namespace)
    assert changes.delete_each([msgspec.structs.replace(entries[0], id=entries[0].id ^ 1)]) == 0
    assert witnessed(namespace) == {40000: 0}


def test_flush_takes_one_verdict(namespace: Namespace, changes: Conntrack) -> None:
    """The kernel forgets what carries the verdict, and nothing else."""
    for sport, mark in enumerate((0, 2, 0x53, 3), 40000):
        add(namespace, mark=mark, sport=sport)
    changes.flush(FIELD, Verdict.BLOCK)
    assert witnessed(namespace) == {40000: 0, 40001: 2}


def test_counters_are_there_where_accounting_is_on(namespace: Namespace) -> None:
    """Packets and bytes of both directions, None where the kernel does not count."""
    namespace.set(netfilter__nf_conntrack_acct=1)
    namespace.run(["iptables", "-A", "INPUT", "-m", "conntrack", "--ctstate", "NEW", "-j", "ACCEPT"])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver, socket.socket(type=socket.SOCK_DGRAM) as sender:
        receiver.bind(("127.0.0.1", 0))
        for _ in range(3):
            sender.sendto(b"x" * 72, receiver.getsockname())
    [entry] = conntrack.dump(FIELD)
    assert (entry.packets, entry.volume) == (3, 300)


def test_events_tell_what_changes(namespace: Namespace, changes: Conntrack) -> None:
    """A new entry, a verdict and the end, in order, from the call on."""
    add(namespace, sport=39999)
    events = conntrack.watch()
    add(namespace)
    [entry] = [entry for entry in conntrack.dump(FIELD) if entry.orig.sport == 40000]
    changes.set_mark(entry, FIELD, Verdict.BLOCK)
    changes.delete(entry)
    heard = [next(events) for _ in range(3)]
    assert [event.change for event in heard] == [Change.NEW, Change.UPDATE, Change.DESTROY]
    assert [event.entry.orig.sport for event in heard if event.entry] == [40000] * 3
    assert heard[1].entry
    assert heard[1].entry.mark == Verdict.BLOCK


def test_lost_events_are_told(namespace: Namespace, changes: Conntrack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the socket cannot hold what the kernel tells, the watcher hears of the gap and goes on."""
    monkeypatch.setattr(conntrack, "_EVENT_BUFFER", 4096)
    events = conntrack.watch()
    add(namespace)
    [entry] = conntrack.dump(FIELD)
    for _ in range(50):
        changes.set_mark(entry, FIELD, Verdict.BLOCK)
        changes.set_mark(entry, FIELD, Verdict.INSPECT)
    while next(events).change is not Change.LOST:
        pass
    verdict = Verdict.INSPECT
    while verdict is not Verdict.CONFIRM:
        changes.set_mark(entry, FIELD, Verdict.CONFIRM)
        changes.set_mark(entry, FIELD, Verdict.BLOCK)
        heard = next(events).entry
        verdict = FIELD.read(heard.mark) if heard else verdict


@pytest.mark.parametrize("family", [4, 6])
def test_a_passage_is_the_flow_between_the_two_translations(
        namespace: Namespace, changes: Conntrack, family: int) -> None:
    """Its key holds the client as it is and the server as it is, whatever either sees of the other; by its name the
    kernel finds the entry, in a zone too. What carries another verdict, or no ports, is none."""
    client, public = ADDRESSES[family]
    private, masked = ("10.0.0.80", "203.0.113.2") if family == 4 else ("fd00::80", "2001:db8:3::2")
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    for sport, zone in ((40000, 0), (40001, 7)):
        namespace.run(f"conntrack -I -s {client} -d {public} -r {private} -q {masked} -p tcp --sport {sport} "
                      f"--dport 443 --reply-port-src 8443 --reply-port-dst 61000 --state ESTABLISHED -t 500 "
                      f"-m 0xa2 -w {zone}".split())
    add(namespace, mark=3, sport=40002, family=family)
    if family == 4:
        add(namespace, mark=2, proto="icmp")
    near, far = (socket.inet_pton(kind, end) for end in (client, private))
    found = list(conntrack.passages(ctnetlink.mark_attributes(FIELD, Verdict.ACCELERATE)))
    assert {each.key for each in found} == {passage.key(6, near, sport, far, 8443) for sport in (40000, 40001)}
    assert changes.mark_named((each.named for each in found), FIELD, Verdict.BLOCK) == 2
    assert sorted(entry.mark for entry in conntrack.dump(FIELD) if entry.family == kind and entry.orig.proto == 6) == [
        3, 0xA3, 0xA3]


def test_many_changes_in_one_go(namespace: Namespace, changes: Conntrack) -> None:
    """Of hundreds of entries, half of them gone: those that are left are marked, and counted."""
    with Netlink() as kernel:
        for sport in range(40000, 40300):
            tcp = Tuple(6, "192.0.2.2", sport, "198.51.100.2", 443)
            back = Tuple(6, "198.51.100.2", 443, "192.0.2.2", sport)
            reply = attribute(2 | NESTED, ctnetlink.name(Entry(socket.AF_INET, back, back))[8:])
            named = ctnetlink.name(Entry(socket.AF_INET, tcp, back))
            kernel.change(ctnetlink.NEW, named + reply + attribute(7, (500).to_bytes(4, "big")), CREATE)
    entries = list(conntrack.dump(FIELD))
    assert len(entries) == 300
    assert changes.delete_each(entries[::2]) == 150
    assert changes.set_marks(entries, FIELD, Verdict.BLOCK) == 150
    assert [entry.mark for entry in conntrack.dump(FIELD)] == [3] * 150
    assert changes.set_marks([], FIELD, Verdict.BLOCK) == 0


def test_a_refused_change_among_many_is_raised(namespace: Namespace) -> None:
    """An error that is not the entry's absence: the changes around it are made."""
    add(namespace)
    [entry] = conntrack.dump(FIELD)
    good = ctnetlink.name(entry) + ctnetlink.mark_attributes(FIELD, Verdict.BLOCK)
    with Netlink() as kernel, pytest.raises(OSError, match="Invalid argument"):
        kernel.change_each(ctnetlink.NEW, [b"\x02\0\0\0" + attribute(1, b""), good])
    assert witnessed(namespace) == {40000: 3}
