"""The rules as text, and the packet filter program in them as the kernel runs it."""

from __future__ import annotations

import ctypes
import re
import socket
import subprocess
from struct import Struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfqdpi.core.verdict import MarkField
from nfqdpi.kernel.ruleset import Family, RuleSet, render
from nfqdpi.testing.packets import CLIENT6, SERVER6, ip, tcp, udp

FAMILIES: tuple[Family, ...] = (4, 6)
SO_ATTACH_FILTER = 26  # asm-generic/socket.h
INSTRUCTION = Struct("=HBBI")  # linux/filter.h: sock_filter
EXPRESSION = re.compile(r"^# IPv(\d): (.+)$", re.MULTILINE)


def rules(ruleset: RuleSet, family: Family = 4) -> list[str]:
    return [line for line in render(ruleset, family).splitlines() if line.startswith(("-", ":"))]


def program(family: Family) -> str:
    """The bytecode in the rendered rules: the number of instructions, then one each, by commas."""
    [found] = re.findall(r'--bytecode "([^"]+)"', render(RuleSet(), family))
    return str(found)


def matches(family: Family, packet: bytes) -> bool:
    """Whether the packet matches, by the kernel's own interpreter: as a socket's filter it lets it through or not."""
    code = b"".join(INSTRUCTION.pack(*map(int, line.split())) for line in program(family).split(",")[1:])
    buffer = ctypes.create_string_buffer(code, len(code))
    header = Struct("@HP").pack(len(code) // INSTRUCTION.size, ctypes.addressof(buffer))
    sender, receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with sender, receiver:
        receiver.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, header)
        receiver.setblocking(False)
        try:
            sender.send(packet)
            return receiver.recv(65536) == packet
        except (BlockingIOError, PermissionError):
            return False


@pytest.mark.parametrize("family", FAMILIES)
def test_the_program_is_what_its_expression_says(family: Family) -> None:
    """The bytecode in the template is tcpdump's of the expression in the comment above it."""
    [expression] = [text for number, text in EXPRESSION.findall(render(RuleSet(), family)) if int(number) == family]
    compiled = subprocess.run(["tcpdump", "-y", "RAW", "-ddd", expression], capture_output=True, text=True, check=True)
    assert program(family) == ",".join(compiled.stdout.split("\n")).rstrip(",")


@given(st.binary(max_size=1400), st.integers(0, 10), st.integers(0, 10))
def test_ipv4_segments_without_payload_match(payload: bytes, options: int, tcp_options: int) -> None:
    """A segment matches exactly when it has no payload, whatever the options of both headers."""
    segment = tcp(payload, options=bytes(4 * tcp_options))
    assert matches(4, ip(6, segment, options=bytes(4 * options))) == (not payload)


@given(st.binary(max_size=1400), st.integers(0, 10))
def test_ipv6_segments_without_payload_match(payload: bytes, tcp_options: int) -> None:
    """The same over IPv6."""
    assert matches(6, ip(6, tcp(payload, options=bytes(4 * tcp_options)), CLIENT6, SERVER6)) == (not payload)


@pytest.mark.parametrize(
    ("family", "packet"),
    [
        (4, ip(17, udp())),
        (4, ip(6, tcp(), fragment=1)),
        (4, ip(6, tcp())[:30]),
        (4, ip(6, tcp(), CLIENT6, SERVER6)),
        (6, ip(6, tcp(), CLIENT6, SERVER6, chain=[(60, bytes(7))])),
        (6, ip(6, tcp(), CLIENT6, SERVER6, chain=[(0, bytes(7)), (60, bytes(7))])),
        (6, ip(17, udp(), CLIENT6, SERVER6)),
        (6, ip(6, tcp(), CLIENT6, SERVER6)[:50]),
        (6, b""),
    ],
)
def test_what_the_program_cannot_read_counts_as_payload(family: Family, packet: bytes) -> None:
    """Other protocols, fragments, extension headers and torn packets do not match, and so are queued."""
    assert not matches(family, packet)


def test_every_number_is_masked() -> None:
    """No rule reads or writes a mark without our mask."""
    for strict in (True, False):
        for rule in rules(RuleSet(MarkField(0x70), strict=strict)):
            marks = re.findall(r"--(?:mark|set-xmark) (\S+)|--(?:nf|ct)mask (\S+)", rule)
            assert all((masked or bare).endswith("0x70") for masked, bare in marks)
    assert "-m connmark --mark 0x30/0x70" in "\n".join(rules(RuleSet(MarkField(0x70))))


@pytest.mark.parametrize(
    ("ruleset", "options"),
    [
        (RuleSet(), "--queue-num 0 --queue-bypass"),
        (RuleSet(bypass=False), "--queue-num 0"),
        (RuleSet(first_queue=8, queues=4), "--queue-balance 8:11 --queue-bypass"),
    ],
)
def test_queue_options(ruleset: RuleSet, options: str) -> None:
    """One queue is named, several are balanced; bypass only where packets may pass without a listener."""
    queueing = [rule for rule in rules(ruleset) if "NFQUEUE" in rule]
    assert queueing == [f"-A NFQDPI_QUEUE -j NFQUEUE {options}"]


def test_decided_flows_return_before_any_queue() -> None:
    """Whatever the mode, the rules that let decided flows go stand before the first one that queues or drops."""
    for strict in (True, False):
        chain = [rule for rule in rules(RuleSet(strict=strict)) if rule.startswith("-A NFQDPI -")]
        mangle = chain[chain.index(next(rule for rule in chain if "-g NFQDPI_VERDICT" in rule)) :]
        returns = [at for at, rule in enumerate(mangle) if "connmark --mark" in rule and rule.endswith("-j RETURN")]
        acts = [at for at, rule in enumerate(mangle) if rule.endswith(("DROP", "-g NFQDPI_QUEUE"))]
        assert len(returns) == 3
        assert max(returns) < min(acts)


def test_interfaces() -> None:
    """One list: either way over each of its interfaces. Two lists: each pair, both ways."""
    assert RuleSet().interfaces == ()
    assert RuleSet(lan=("a", "b")).interfaces == ("-i a", "-o a", "-i b", "-o b")
    assert RuleSet(wan=("w",)).interfaces == ("-i w", "-o w")
    assert RuleSet(lan=("a",), wan=("w",)).interfaces == ("-i a -o w", "-i w -o a")
    scoped = rules(RuleSet(lan=("a",), wan=("w",)))
    assert "-A NFQDPI_SCOPE -i a -o w -g NFQDPI" in scoped
    assert "-A NFQDPI_QUIC -i w -o a -j REJECT" in scoped
    assert "-I FORWARD 1 -p tcp -m multiport --ports 80,443 -j NFQDPI_SCOPE" in scoped
    assert "-I FORWARD 1 -p tcp -m multiport --ports 80,443 -j NFQDPI" in rules(RuleSet())


def test_the_routers_own_server() -> None:
    """Where servers' datagrams are looked at, the router's own are, and streams to the same port."""
    own = [rule for rule in rules(RuleSet(ports=(80, 53), udp_both=(53, 54))) if re.match("-I (IN|OUT)PUT", rule)]
    streams = [rule for rule in own if "-p tcp" in rule]
    assert len([rule for rule in own if "-p udp" in rule]) == 2
    assert len(streams) == 4
    assert all("! -i lo" in rule or "! -o lo" in rule for rule in streams)
    assert not [rule for rule in streams if "ports 53 " not in rule]
    assert not [rule for rule in rules(RuleSet(udp_both=(53,))) if re.match("-I (IN|OUT)PUT.*-p tcp", rule)]


def test_the_routers_own_server_on_some_interfaces() -> None:
    """Its clients are the LAN's, where that is named; else who comes over one of the WAN's interfaces."""
    def matches(lan: tuple[str, ...] = (), wan: tuple[str, ...] = ()) -> set[str]:
        return {rule.split("LOCAL ")[1] for rule in rules(RuleSet(ports=(80, 53), udp_both=(53,), lan=lan, wan=wan))
                if re.match("-A NFQDPI_(UDP_)?LOCAL ", rule)}

    assert matches() == {"-g NFQDPI", "-g NFQDPI_UDP"}
    for found in (matches(("a",)), matches(wan=("a",)), matches(("a",), ("w",))):
        assert found == {f"{way} a -g {chain}" for way in ("-i", "-o") for chain in ("NFQDPI", "NFQDPI_UDP")}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_gets_its_own_lines_only(family: Family) -> None:
    """The text for one family has no line for the other."""
    other = {4: "-6 ", 6: "-4 "}[family]
    assert not [line for line in rules(RuleSet(), family) if line.startswith(other)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"ports": ()},
        {"ports": (0,)},
        {"ports": tuple(range(1, 17))},
        {"queues": 0},
        {"first_queue": 65535, "queues": 2},
        {"first_queue": -1},
        {"lan": ("a b",)},
        {"lan": ("eth0\n-A FORWARD -j ACCEPT",)},
        {"wan": ("-j",)},
        {"wan": ("",)},
        {"wan": ("sixteen-letters-",)},
    ],
)
def test_what_iptables_could_not_take_is_refused(wrong: dict[str, object]) -> None:
    """A rule set that would not load, or would be more than it says, is not made."""
    with pytest.raises(ValueError, match=r"ports|queues|interface"):
        RuleSet(**wrong)  # type: ignore[arg-type]  # the values are wrong, their types are not
