"""``nfqdpi doctor`` and ``nfqdpi rules`` as a user runs them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nfqdpi.config import Config
from nfqdpi.doctor import Level, netfilter
from nfqdpi.doctor.offloads import flow_rules
from nfqdpi.kernel import sysctl
from nfqdpi.lab.namespace import Namespace
from tests.kernel.listener import Listener
from tests.kernel.namespaces import fresh, rules, saved

NFQDPI = [sys.executable, "-m", "nfqdpi"]


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    with fresh() as built:
        yield built


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "nfqdpi.toml"
    path.write_text("[queue]\nfirst = 3\nworkers = 2\n")
    return path


def doctor(namespace: Namespace, config: Path, *, code: int) -> dict[str, dict[str, Any]]:
    done = namespace.run([*NFQDPI, "doctor", "--json", "-c", config], check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return {finding["name"]: finding for finding in map(json.loads, done.stdout.splitlines())}


def test_a_good_machine(namespace: Namespace, config: Path) -> None:
    """Everything that the rules are made of is there, and looking has changed nothing."""
    before = [saved(namespace, 4), saved(namespace, 6)]
    findings = doctor(namespace, config, code=0)
    for name in ("privileges", "NFQUEUE", "CONNMARK", "connmark", "conntrack", "bpf", "REJECT", "queue 3", "queue 4",
                 "modules", "queue numbers", "mark bits", "conntrack netlink", "conntrack table", "GLUE_CT", "time",
                 "disk for events", "disk for state", "daemon"):
        assert findings[name]["level"] == "ok", findings[name]
    assert [saved(namespace, 4), saved(namespace, 6)] == before


def test_a_queue_of_somebody_else(namespace: Namespace, config: Path) -> None:
    """The owner's pid is told, and what to do about it."""
    with Listener(namespace, number=4):
        finding = doctor(namespace, config, code=5)["queue 4"]
    assert finding["level"] == "fail"
    assert f"pid {os.getpid()}" in finding["meaning"]
    assert "[queue] first" in finding["remedy"]


@pytest.mark.parametrize(
    ("command", "level"),
    [
        ("iptables-nft -t mangle -A PREROUTING -j CONNMARK --restore-mark", "fail"),
        ("ip6tables-nft -t mangle -A FORWARD -j MARK --set-mark 0x1", "fail"),
        ("iptables-legacy -A FORWARD -m connmark --mark 0x100 -j ACCEPT", "warn"),
        ("iptables-nft -t mangle -A FORWARD -j MARK --set-xmark 0x100/0xff00", "ok"),
        ("nft add table inet x; nft add chain inet x c; nft add rule inet x c meta mark set 1", "fail"),
        ("nft add table inet x; nft add chain inet x c; nft add rule inet x c ct mark '&' 0xf0 == 0x10 accept", "ok"),
    ],
)
def test_rules_that_use_our_bits(namespace: Namespace, config: Path, command: str, level: str) -> None:
    """Found on both back ends and in nftables itself; other bits are nobody's business."""
    namespace.run(["sh", "-c", command])
    assert doctor(namespace, config, code=5 if level == "fail" else 0)["mark bits"]["level"] == level


@pytest.mark.parametrize("command", [
    "iptables-nft -A OUTPUT -p icmp -j NFQUEUE --queue-num 4",
    "ip6tables-legacy -t mangle -A INPUT -p udp -j NFQUEUE --queue-balance 0:3 --queue-bypass",
])
def test_rules_that_lead_to_our_queues(namespace: Namespace, config: Path, command: str) -> None:
    """Whatever back end they are of; packets of theirs would be judged."""
    assert doctor(namespace, config, code=0)["queue numbers"]["level"] == "ok"
    namespace.run(["sh", "-c", command])
    finding = doctor(namespace, config, code=5)["queue numbers"]
    assert (finding["level"], "is ours" in finding["meaning"]) == ("fail", True)


def test_a_conntrack_table_that_is_nearly_full(namespace: Namespace, config: Path, monkeypatch: pytest.MonkeyPatch,
                                               ) -> None:
    """Its use is told as the kernel counts it, before flows are dropped."""
    for port in range(8):
        namespace.run(f"conntrack -I -s 192.0.2.2 -d 198.51.100.2 -p tcp --sport {4000 + port} --dport 443 "
                      "--state ESTABLISHED -t 500".split())
    assert doctor(namespace, config, code=0)["conntrack table"]["meaning"].startswith("8 of ")
    for most, level in ((100, Level.OK), (10, Level.WARN), (8, Level.FAIL)):
        monkeypatch.setattr(sysctl, "read", {"netfilter/nf_conntrack_count": "8",
                                             "netfilter/nf_conntrack_max": str(most)}.get)
        (finding,) = (found for check in netfilter.CHECKS if check.__name__ == "_table" for found in check(Config()))
        assert finding.level is level
        assert ("nf_conntrack_max" in finding.remedy) == (level is not Level.OK)


@pytest.mark.parametrize(("default", "fate"), [("open", "passes"), ("closed", "is dropped")])
def test_rules_that_nobody_serves(namespace: Namespace, config: Path, default: str, fate: str) -> None:
    """A daemon that was killed leaves its rules: what becomes of traffic is told, and how to be rid of them."""
    config.write_text(f'{config.read_text()}[fail]\ndefault = "{default}"\n')
    namespace.run([*NFQDPI, "rules", "install", "-c", config])
    finding = doctor(namespace, config, code=5)["queue 4"]
    assert finding["level"] == "fail"
    assert fate in finding["meaning"]
    assert "nfqdpi rules remove" in finding["remedy"]


def test_without_iptables(namespace: Namespace, config: Path, tmp_path: Path) -> None:
    """What is missing is named, not a kernel blamed; and nothing is said of rules that nobody has seen."""
    nfqdpi = ["env", f"PATH={tmp_path}", *NFQDPI]
    done = namespace.run([*nfqdpi, "doctor", "--json", "-c", config], check=False)
    findings = {finding["name"]: finding for finding in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 5
    assert "no iptables-restore" in findings["programs"]["meaning"]
    assert "apt install iptables" in findings["programs"]["remedy"]
    assert not {"NFQUEUE", "rules", "mark bits", "queue numbers", "FLOWOFFLOAD"} & set(findings)
    done = namespace.run([*nfqdpi, "rules", "check", "-c", config], check=False)
    assert (done.returncode, done.stderr) == (1, "nfqdpi: iptables-restore is not on PATH\n")


def test_without_privileges(namespace: Namespace, config: Path) -> None:
    """What needs none is looked at all the same: clock, disk, lists, daemon."""
    done = namespace.run(["setpriv", "--bounding-set=-all", "--inh-caps=-all", *NFQDPI, "doctor", "--json", "-c",
                          config], check=False)
    findings = {finding["name"]: finding for finding in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 5
    assert "CAP_NET_ADMIN" in findings["privileges"]["meaning"]
    assert set(findings) == {"privileges", "time", "disk for events", "disk for state", "daemon"}


@pytest.fixture
def router(namespace: Namespace) -> Namespace:
    """Forwards between lan0, br0 with its port port0, and wan0, by which the default route leaves. The settings of
    strict mode are all wrong."""
    namespace.configure(
        "link add lan0 type veth peer name host0", "link add port0 type veth peer name host1",
        "link add wan0 type veth peer name host2", "link add br0 type bridge", "link set port0 master br0",
        "link set lan0 up", "link set wan0 up", "link set port0 up", "link set br0 up",
        "address add 198.51.100.1/24 dev wan0", "route add default via 198.51.100.2",
    )
    namespace.set(ipv4__ip_forward=1, ipv6__conf__all__forwarding=1)
    for host in ("host0", "host1", "host2"):  # they stand for other machines
        namespace.set(**{f"ipv4__conf__{host}__forwarding": 0, f"ipv6__conf__{host}__forwarding": 0})
    namespace.set(netfilter__nf_conntrack_checksum=0, netfilter__nf_conntrack_tcp_be_liberal=1,
                  netfilter__nf_conntrack_tcp_loose=1, ipv4__conf__all__rp_filter=2, ipv4__conf__lan0__rp_filter=0,
                  ipv4__conf__wan0__rp_filter=0, ipv4__conf__br0__rp_filter=1)
    return namespace


def setting(namespace: Namespace, key: str) -> str:
    with namespace.entered():
        return Path("/proc/sys/net", key).read_text().strip()


@pytest.mark.parametrize(
    ("name", "level"),
    [
        ("nf_conntrack_checksum", "fail"),
        ("nf_conntrack_tcp_be_liberal", "fail"),
        ("nf_conntrack_tcp_loose", "warn"),
        ("rp_filter all", "warn"),
    ],
)
def test_settings_that_strict_mode_rests_on(router: Namespace, config: Path, name: str, level: str) -> None:
    """E9: a setting that lets forged packets count is named; the command that is told mends it."""
    finding = doctor(router, config, code=5)[name]
    assert finding["level"] == level
    router.run(["sh", "-c", finding["remedy"]])
    mended = doctor(router, config, code=5).get(name)
    assert mended is None or (mended["level"], mended["remedy"]) == ("ok", "")


def test_the_greater_rp_filter_counts(router: Namespace, config: Path) -> None:
    """On each interface of clients, which are those that forward and lead to no default route; a port of a bridge is
    none. Two values count, and 2, the loose check, is not enough."""
    findings = doctor(router, config, code=5)
    assert {name: finding["level"] for name, finding in findings.items() if name.startswith("rp_filter")} == {
        "rp_filter all": "warn", "rp_filter lan0": "warn", "rp_filter br0": "warn", "rp_filter IPv6": "ok"}
    assert "is 2 (its own 1, all 2)" in findings["rp_filter br0"]["meaning"]
    router.set(ipv4__conf__all__rp_filter=0)
    findings = doctor(router, config, code=5)
    assert findings["rp_filter br0"]["level"] == "ok"
    assert findings["rp_filter lan0"]["remedy"] == "sysctl -w net/ipv4/conf/lan0/rp_filter=1"
    router.set(ipv4__conf__all__rp_filter=1)
    assert doctor(router, config, code=5)["rp_filter lan0"]["level"] == "ok"


def test_fast_mode_rests_on_none_of_them(router: Namespace, config: Path) -> None:
    """They are told, and nothing is to be mended."""
    config.write_text('[inspect]\nmode = "fast"\n')
    findings = doctor(router, config, code=0)
    for name in ("nf_conntrack_checksum", "nf_conntrack_tcp_be_liberal", "nf_conntrack_tcp_loose", "rp_filter lan0"):
        assert findings[name]["level"] == "ok"
        assert "strict mode would want" in findings[name]["meaning"]
    assert router.run([*NFQDPI, "doctor", "--fix", "--json", "-c", config]).stderr == ""
    assert setting(router, "netfilter/nf_conntrack_checksum") == "0"


def test_no_router(namespace: Namespace, config: Path) -> None:
    """A machine that forwards nothing is told so."""
    namespace.set(ipv4__ip_forward=0, ipv6__conf__all__forwarding=0)
    findings = doctor(namespace, config, code=0)
    assert findings["ip_forward"]["level"] == findings["ipv6 forwarding"]["level"] == "warn"


def test_fix(router: Namespace, config: Path) -> None:
    """Each command is shown, then done; the examination that follows finds nothing left. What is not strict mode's
    stays: forwarding, and how closely the other interfaces look at sources."""
    router.set(ipv6__conf__all__forwarding=0)
    done = router.run([*NFQDPI, "doctor", "--fix", "-c", config])
    commands, _, rest = done.stdout.partition("Until the next boot")
    for command in ("nf_conntrack_checksum=1", "nf_conntrack_tcp_be_liberal=0", "nf_conntrack_tcp_loose=0"):
        assert f"sysctl -w net/netfilter/{command}\n" in commands
    assert "    net/ipv4/conf/lan0/rp_filter = 1\n" in rest
    for name, value in {"lan0": "1", "br0": "1", "wan0": "2", "default": "2", "all": "0"}.items():
        assert setting(router, f"ipv4/conf/{name}/rp_filter") == value, name
    assert setting(router, "ipv6/conf/all/forwarding") == "0"
    again = router.run([*NFQDPI, "doctor", "--fix", "-c", config]).stdout
    assert "sysctl -w net/ipv6/conf/all/forwarding=1" in again
    assert again.count("sysctl") == 1


def test_fix_for_programs(router: Namespace, config: Path) -> None:
    """Standard output holds findings alone, of the shape that they have without --fix."""
    done = router.run([*NFQDPI, "doctor", "--fix", "--json", "-c", config])
    findings = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(set(finding) == {"name", "level", "meaning", "remedy"} for finding in findings)
    assert {finding["level"] for finding in findings} == {"ok"}
    assert "sysctl -w net/netfilter/nf_conntrack_checksum=1\n" in done.stderr


def test_fix_without_privileges(router: Namespace, config: Path) -> None:
    """Exit code 4, the capability is named, nothing has changed."""
    done = router.run(["setpriv", "--bounding-set=-all", "--inh-caps=-all", *NFQDPI, "doctor", "--fix", "-c", config],
                      check=False)
    assert (done.returncode, done.stdout) == (4, "")
    assert "CAP_NET_ADMIN" in done.stderr
    assert setting(router, "netfilter/nf_conntrack_checksum") == "0"


def test_interfaces_of_the_configuration(router: Namespace, config: Path) -> None:
    """They are there, up, and the ones that packets are routed by; a last + matches any ending, as in the rules."""
    router.configure("link set br0 down")
    config.write_text('[queue]\nlan = ["lan+", "br0", "port0", "lan7"]\nwan = ["wan0", "ppp+"]\n')
    findings = doctor(router, config, code=5)
    levels = {name: finding["level"] for name, finding in findings.items() if name.startswith(("lan ", "wan "))}
    assert levels == {"lan lan0": "ok", "lan br0": "warn", "lan port0": "fail", "lan lan7": "fail", "wan wan0": "ok",
                      "wan ppp+": "fail"}
    assert "part of br0" in findings["lan port0"]["meaning"]
    router.run(["sh", "-c", findings["lan br0"]["remedy"]])
    assert doctor(router, config, code=5)["lan br0"]["level"] == "ok"


@pytest.mark.parametrize(("value", "says"), [(0, "is not judged"), (1, "is judged as well")])
def test_bridges(router: Namespace, config: Path, value: int, says: str) -> None:
    """What goes from port to port meets the rules only where the kernel is told so."""
    router.set(**{"bridge__bridge-nf-call-iptables": value, "bridge__bridge-nf-call-ip6tables": value})
    finding = doctor(router, config, code=5)["bridge br0"]
    assert (finding["level"], says in finding["meaning"]) == ("ok", True)


def test_offloads(router: Namespace, config: Path) -> None:
    """Cards, rules and engines that carry flows past netfilter are looked for, here without finding one."""
    findings = doctor(router, config, code=5)
    for name in ("flowtables", "FLOWOFFLOAD", "hw-tc-offload", "fast paths"):
        assert findings[name]["level"] == "ok", findings[name]


def test_the_handle_of_a_flow_rule(namespace: Namespace) -> None:
    """The command that is told removes the rule, and no other: nft's own listing, with a flow statement written into
    it, since not every kernel has flowtables."""
    chains = "chain first { accept; }; chain forward { accept; meta l4proto tcp counter; };"
    namespace.run(["nft", f"table inet t {{ {chains} }}"])
    listing = namespace.run(["nft", "-a", "list", "ruleset"]).stdout
    (rule,) = flow_rules(listing.replace("counter packets 0 bytes 0", "flow add @ft").splitlines())
    assert rule[:3] == ("flowtable ft", "nft inet t forward", "meta l4proto tcp flow add @ft")
    namespace.run(["sh", "-c", rule.command])
    left = namespace.run(["nft", "list", "ruleset"]).stdout
    assert "counter" not in left
    assert left.count("accept") == 2


def test_rules_of_the_command_line(namespace: Namespace, config: Path) -> None:
    """install, check and remove by the configuration; check says what differs, and exits with 1."""
    def run(*args: str | Path, code: int = 0) -> str:
        done = namespace.run([*NFQDPI, "rules", *args], check=False)
        assert done.returncode == code, done.stderr
        return done.stdout

    assert json.loads(run("check", "--json", "-c", config, code=1))["ok"] is False
    run("install", "-c", config)
    assert json.loads(run("check", "--json", "-c", config)) == {"ok": True, "differences": []}
    assert "--queue-balance 3:4" in "\n".join(rules(namespace, 6))
    assert "-j NFQUEUE --queue-balance 3:4" in run("render", "--family", "6", "-c", config)
    namespace.run(["ip6tables", "-t", "mangle", "-F", "NFQDPI_VERDICT"])
    assert "IPv6 mangle: NFQDPI_VERDICT lacks: -j CONNMARK" in run("check", "-c", config, code=1)
    run("remove")
    assert rules(namespace, 4) == rules(namespace, 6) == []
