"""Every command beside a daemon that is up, down or hung, and without privilege: its exit code, and what it says."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, groupby
from struct import pack
from subprocess import CompletedProcess

import pytest

from nfqdpi.cli import main
from nfqdpi.lab.network import Lab
from tests.cli.test_help import leaves
from tests.kernel.daily import Gateway, config, supervisor

STATES = ("up", "down", "hung", "nobody")

# The exit code in each state: up, down, hung, and without privilege beside one that is up. Two digits: either, by what
# the machine is like. "-": it would go on for ever, or change what is not the test's.
COMMANDS = """
run                                     1  -  1  4
status                                  0  3  5  4
reload                                  0  3  5  4
pause --for 1h                          0  0  5  4
resume                                  0  0  5  4
block x.example --for 1h                0  0  5  4
allow x.example --for 1h                0  0  5  4
overrides ls                            0  0  0  4
overrides rm 999                        1  1  1  4
flows                                   0  0  0  4
marks list                              0  0  0  4
marks set block --src 203.0.113.1       0  0  0  4
marks clear --src 203.0.113.1           0  0  0  4
marks flush --src 203.0.113.1           0  0  0  4
marks watch                             -  -  -  4
events                                  0  0  0  4
stats                                   0  3  5  4
top                                     0  3  5  4
explain allowed.example --at {later}    0  0  0  4
explain blocked.example --at {later}    1  1  1  4
replay {here}/none.pcap                 0  0  0  4
replay {here}/missing.pcap              5  5  5  4
lists ls                                0  0  0  0
lists check {here}/ads.txt              0  0  0  0
lists check {here}/missing.txt          2  2  2  2
lists update                            0  0  0  0
lists add ads {here}/ads.txt            0  0  5  4
lists rm ads                            0  0  5  4
config check                            0  0  0  0
config show                             0  0  0  0
import pihole {here}/missing.txt        2  2  2  2
import adguard {here}/missing.txt       2  2  2  2
import opensync {here}/missing.txt      2  2  2  2
plugins ls                              0  0  0  0
plugins info http                       0  0  0  0
plugins bench http                      0  0  0  0
plugins new gopher --in {here}          0  0  0  4
plugins test {here}/nfqdpi-gopher       0  0  0  2
plugins enable ssh                      0  0  5  4
plugins disable ssh                     0  0  5  4
doctor                                 05 05  5 05
support-bundle -o {here}/bundle.tar.gz  0  0  0  4
lab                                     -  -  -  4
lab up                                  -  -  -  4
lab down                                -  -  -  4
rules render                            0  0  0  0
rules check                             0  1  0  4
rules install                           0  0  0  4
rules remove                            1  0  0  4
"""
LATER = "2099-01-01T12:00"  # than the pauses of other rows
NO_CONFIG = ("import", "lab", "plugins new", "plugins test")  # they take none
NOBODY = "import os; os.setgroups([]); os.setgid(65534); os.setuid(65534); from nfqdpi.cli import main; main()"


def table() -> dict[str, dict[str, str]]:
    """Command line -> state -> exit codes."""
    rows = (line.rsplit(maxsplit=len(STATES)) for line in COMMANDS.strip().splitlines())
    return {command: dict(zip(STATES, codes, strict=True)) for command, *codes in rows}


def call(lab: Lab, command: str, state: str) -> CompletedProcess[str]:
    program = ["-c", NOBODY] if state == "nobody" else ["-m", "nfqdpi"]
    words = shlex.split(command.format(here=lab.state, later=LATER))
    options = [] if command.startswith(NO_CONFIG) else ["-c", str(lab.state / "nfqdpi.toml")]
    return lab.gateway.run([sys.executable, *program, *words, *options], check=False, timeout=60)


def wrong(lab: Lab, state: str) -> str:
    """What is not as the table has it, or is no answer for people."""
    wanted = {command: codes[state] for command, codes in table().items() if codes[state] != "-"}
    together = 1 if state == "up" else 10  # beside a daemon that takes them, changes show in what others say

    def in_order(group: list[str]) -> list[CompletedProcess[str]]:
        return [call(lab, command, state) for command in group]

    groups = [list(group) for _, group in groupby(wanted, lambda command: command.split()[0])]
    with ThreadPoolExecutor(together) as pool:
        done = zip(wanted, chain.from_iterable(pool.map(in_order, groups)), strict=True)
    return "\n".join(f"{command}: {one.returncode}, not {wanted[command]}: {one.stdout}{one.stderr}"
                     for command, one in done
                     if str(one.returncode) not in wanted[command] or not answers(one))


def answers(done: CompletedProcess[str]) -> bool:
    """No traceback ever; and a negative exit code has a sentence beside it, on stderr where nothing was looked at."""
    said = done.stderr if done.returncode in (2, 3, 4) else done.stderr + done.stdout
    return "Traceback" not in done.stderr and (done.returncode == 0 or any(" " in line for line in said.splitlines()))


def test_none_is_forgotten() -> None:
    """The table has each command, and no other."""
    names = {leaf for leaf, _ in leaves(main)}
    rows = {max((name for name in names if f"{row} ".startswith(f"{name} ")), key=len, default=row) for row in table()}
    assert rows == names


@pytest.mark.parametrize("state", STATES)
def test_every_command(lab: Lab, gateway: Gateway, python: str, state: str) -> None:
    """Exit codes as documented, a useful sentence, and within a minute."""
    text = config(lab)
    lab.state.chmod(0o755)
    (lab.state / "ads.txt").write_text("ads.example\n")
    (lab.state / "none.pcap").write_bytes(pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
    (lab.state / "state").mkdir(mode=0o700)
    running = gateway(text)
    assert call(lab, "pause --for 1h", "up").returncode == 0
    match state:
        case "down":
            assert running.stop() == 0
        case "hung":
            os.kill(supervisor(running), signal.SIGSTOP)
    try:
        assert wrong(lab, state) == ""
    finally:
        if state == "hung":
            os.kill(supervisor(running), signal.SIGCONT)
