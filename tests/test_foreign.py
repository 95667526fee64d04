"""Which mark bits a rule uses, from the lines that iptables-save and nft print."""

from __future__ import annotations

import pytest

from nfqdpi.kernel.foreign import Use, iptables_use, nft_use, queues

ALL = 0xFFFFFFFF


@pytest.mark.parametrize(
    ("rule", "use"),
    [
        ("-p tcp -j ACCEPT", Use(0, 0)),
        ("-m mark --mark 0x1", Use(ALL, 0)),
        ("-m mark ! --mark 0x1/0xff -j ACCEPT", Use(0xFF, 0)),
        ("-m connmark --mark 0x100/0x300 -j MARK --set-xmark 0x3/0xf0", Use(0x300, 0xF3)),
        ("-j MARK --set-xmark 0x0/0xfffffffe", Use(0, 0xFFFFFFFE)),
        ("-j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xff00", Use(0, ALL)),
        ("-j CONNMARK --save-mark --nfmask 0xff00 --ctmask 0xff0000", Use(0, 0xFFFF00)),
        ("-p tcp -j TPROXY --on-port 80 --on-ip 0.0.0.0 --tproxy-mark 0x1/0x1", Use(0, 1)),
    ],
)
def test_iptables(rule: str, use: Use) -> None:
    """Options of the mark and connmark matches and of the targets that write marks."""
    assert iptables_use(rule) == use


@pytest.mark.parametrize(
    ("line", "use"),
    [
        ("tcp dport 80 accept", Use(0, 0)),
        ("meta mark 0x00000001 counter packets 0 bytes 0", Use(ALL, 0)),
        ("ct mark != 0x00000000 accept", Use(ALL, 0)),
        ("ct mark & 0x0000000f == 0x00000003 drop", Use(0xF, 0)),
        ("ct mark and 0xf == 0x3 jump CHAIN", Use(0xF, 0)),
        ("meta mark set 0x00000001", Use(0, ALL)),
        ("meta mark set meta mark & 0xffffff01 | 0x00000001", Use(0, 0xFF)),
        ("counter packets 0 bytes 0 meta mark set mark and 0xfffffff0", Use(0, 0xF)),
        ("counter packets 0 bytes 0 meta mark set mark or 0x1", Use(0, 1)),
        ("ct mark set ct mark | 0x00000010", Use(0, 0x10)),
        ("ct mark set meta mark & 0x000000ff", Use(0, ALL)),
        ("ct mark set meta mark", Use(0, ALL)),
        ("meta mark set tcp dport map { 80 : 0x00000001 }", Use(0, ALL)),
    ],
)
def test_nft(line: str, use: Use) -> None:
    """Both ways in which versions of nft write operators; what is copied from elsewhere changes every bit."""
    assert nft_use(line) == use


@pytest.mark.parametrize(("rule", "expected"), [
    ("-p tcp -j NFQUEUE --queue-num 7 --queue-bypass", [7]),
    ("-j NFQUEUE --queue-balance 2:4 --queue-bypass --queue-cpu-fanout", [2, 3, 4]),
    ("tcp dport 80 queue num 3", [3]),
    ("tcp dport 80 counter packets 0 bytes 0 queue to 3-5", [3, 4, 5]),
    ("queue flags bypass,fanout to 0-1", [0, 1]),
    ("queue num 1-2 bypass,fanout", [1, 2]),
    ("udp dport 53 queue", [0]),
    ("-p tcp -j ACCEPT", []),
    ('tcp dport 80 accept comment "queue of the bank"', []),
])
def test_queues_of_rules(rule: str, expected: list[int]) -> None:
    """Of iptables and of every wording that nft has had."""
    assert list(queues(rule)) == expected
